"""Which axes of which tensors can be reordered together without changing what a network computes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.buffers import is_buffer
from hamdg.merge.tensors import Tensors
from hamdg.text import listed

Shapes = Mapping[str, tuple[int, ...]]
Orders = Mapping[str, Tensor]

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Axis:
    """One axis of one tensor along which a group's units lie.

    Args:
        tensor: Name of the tensor.
        axis: Number of the axis.
        parts: How many stretches of units lie behind each other on it (queries, keys and values: 3).
    """

    tensor: str
    axis: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Group:
    """Units that can change places: channels, hidden units, attention heads.

    Args:
        units: How many there are. A unit takes as many entries of an axis as fit (a head many, a channel one).
        axes: Where they lie; reordered alike everywhere, they leave the network's function as it was.
    """

    units: int
    axes: tuple[Axis, ...]


Spec = Mapping[str, Group]


def permute(name: str, tensor: Tensor, spec: Spec, orders: Orders) -> Tensor:
    """Return a tensor with its units in another order: the new unit i is the old unit `order[i]`.

    Args:
        name: The tensor's name.
        tensor: The tensor, which stays as it is.
        spec: What can be reordered.
        orders: The order of every group's units; groups without one stay.
    """
    for group, order in orders.items():
        for axis in spec[group].axes:
            if axis.tensor == name:
                places = torch.arange(tensor.shape[axis.axis], device=tensor.device)
                blocks = places.view(axis.parts, spec[group].units, -1)[:, order.to(tensor.device)]
                tensor = tensor.index_select(axis.axis, blocks.reshape(-1))
    return tensor


def by_unit(tensor: Tensor, axis: Axis, units: int) -> Tensor:
    """Return a tensor as a matrix with a row for every unit."""
    width = tensor.numel() // (axis.parts * units)
    blocks = tensor.movedim(axis.axis, 0).reshape(axis.parts, units, width)
    return blocks.transpose(0, 1).reshape(units, axis.parts * width)


class Permuted(Mapping[str, Tensor]):
    """A model whose tensors are reordered when they are read.

    Args:
        tensors: The model.
        spec: What can be reordered.
        orders: The order of every group's units.
    """

    def __init__(self, tensors: Tensors, spec: Spec, orders: Orders) -> None:
        self._tensors, self._spec, self._orders = tensors, spec, orders

    def __getitem__(self, name: str) -> Tensor:
        return permute(name, self._tensors[name], self._spec, self._orders)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def read_spec(path: Path, shapes: Shapes) -> Spec:
    """Read from a JSON file what can be reordered.

    It holds groups by name, for instance `{"hidden": {"units": 64, "axes": [["fc1.weight", 0], ["fc2.weight", 1]]}}`. A
    third number in an axis is its `parts` (see `Axis`).

    Args:
        path: The file.
        shapes: Shape of every tensor of the model.

    Raises:
        ConfigError: The file is missing, no such JSON, or does not fit the model.
    """
    try:
        groups = json.loads(path.read_text())
        spec = {
            str(name): Group(
                int(group["units"]), tuple(Axis(str(axis[0]), *map(int, axis[1:])) for axis in group["axes"])
            )
            for name, group in groups.items()
        }
    except OSError as error:
        raise ConfigError(f"The file `{path}` that `spec` names cannot be read ({error.strerror}).") from error
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(
            f'Expected `{path}` to hold groups like {{"hidden": {{"units": 64, "axes": [["fc1.weight", 0], ...]}}}}, '
            f"but it does not ({type(error).__name__}: {error})."
        ) from error
    _check(spec, shapes, path)
    return spec


def _check(spec: Spec, shapes: Shapes, path: Path) -> None:
    taken: dict[tuple[str, int], str] = {}
    for name, group in spec.items():
        tensors = [axis.tensor for axis in group.axes]
        for axis in group.axes:
            where = f"axis {axis.axis} of `{axis.tensor}`, in the group `{name}` of `{path}`,"
            shape = shapes.get(axis.tensor)
            if shape is None or not 0 <= axis.axis < len(shape):
                raise ConfigError(f"The model has no {where.rstrip(',')}.")
            length = shape[axis.axis]
            if group.units < 1 or axis.parts < 1 or not length or length % (group.units * axis.parts):
                raise ConfigError(f"Expected {where} to hold {axis.parts} x {group.units} units, but it has {shape}.")
            other = taken.setdefault((axis.tensor, axis.axis), name)
            if other != name or tensors.count(axis.tensor) > 1:
                raise ConfigError(f"Expected {where} once: groups share no axis, and none has two axes of one tensor.")
        layers = {axis.tensor.rpartition(".")[0] for axis in group.axes if len(shapes[axis.tensor]) == 1}
        statistics = [f"{layer}.{kind}" for layer in sorted(layers) for kind in BATCH_NORM[2:]]
        missing = [statistic for statistic in statistics if statistic in shapes and statistic not in tensors]
        if missing:
            raise ConfigError(f"The group `{name}` of `{path}` moves a BatchNorm but not {listed(missing)}; add that.")


def pinned(spec: Spec, models: Mapping[str, Tensors], free: tuple[str, ...]) -> set[str]:
    """Return the groups that must stay: a tensor that cannot be reordered, as all models share it, lies in them.

    A tensor whose units are all alike does not mind.

    Args:
        spec: What can be reordered.
        models: Tensors of every source.
        free: Names of the tensors that can be.
    """
    able = set(free)
    stay = set()
    for name, group in spec.items():
        for axis in group.axes:
            tensors = [model[axis.tensor] for model in models.values()]
            if axis.tensor not in able and not is_buffer(axis.tensor, tensors[0]):
                rows = [by_unit(tensor.detach(), axis, group.units) for tensor in tensors]
                if not all(torch.equal(row, row[:1].expand_as(row)) for row in rows):
                    stay.add(name)
    return stay
