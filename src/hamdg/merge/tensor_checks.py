"""A first look at every tensor: are all its values numbers, did any model move it, and how far."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hamdg.errors import Argument, Worded
from hamdg.merge.compatibility import problems_error
from hamdg.merge.model_set import TensorSet
from hamdg.merge.tensors import Tensors

# Fine-tuned models lie within a few hundredths of their start's norm; unrelated ones at about 1.4 times it.
FAR = 0.7
BASE = "the base"


class CommonStartWarning(Worded, UserWarning):
    """The base does not look like the start that the sources have in common."""


@dataclass(frozen=True)
class TensorCheck:
    """What was found in one tensor.

    Args:
        moves: Whether any model differs anywhere from the reference, which is the base or else the first source; of
            changes those with a weight of 0 do not count.
        squares: Squared distance of every source to the reference.
        base_square: Squared norm of the reference.
        faults: What is wrong with which model: `NaN` or `infinite values` by the model's name.
    """

    moves: bool
    squares: Mapping[str, float] = field(default_factory=dict)
    base_square: float = 0.0
    faults: Mapping[str, str] = field(default_factory=dict)


def check_tensor(tensor_set: TensorSet, changes: bool, anchored: bool) -> TensorCheck:
    """Check one tensor of all models, in one pass.

    Args:
        tensor_set: The tensor.
        changes: Whether the tensor set holds changes from the base.
        anchored: Whether the base is the reference (it is looked at too, then).
    """
    squares = dict.fromkeys(tensor_set.tensors, 0.0)
    base_square = 0.0
    for piece in tensor_set.pieces():
        start = piece.base if anchored and piece.base is not None else piece.tensors[next(iter(squares))]
        base_square += _square(start)
        for source in squares:
            tensor = piece.tensors[source]
            squares[source] += _square(tensor if changes else tensor - start)
    faults = {} if math.isfinite(base_square + sum(squares.values())) else _faults(tensor_set, anchored)
    voters = [source for source in squares if tensor_set.weight(source) or not changes] or list(squares)
    moves = any(squares[source] for source in voters) or _moves(tensor_set, voters, changes, anchored)
    return TensorCheck(moves, squares, base_square, faults)


def check_finite(checks: Mapping[str, TensorCheck], *, avoidable: bool = True) -> None:
    """Raise a `WeightsError` that names all non-finite values, by model and tensor.

    Args:
        checks: What was found in every tensor.
        avoidable: Whether `allow_nonfinite` would let them through.
    """
    found: dict[str, list[str]] = {}
    for name, check in checks.items():
        for model, what in check.faults.items():
            found.setdefault(f"{model}:", []).append(f"`{name}` ({what})")
    if found:
        otherwise = (" (", Argument("allow_nonfinite"), " merges all the same)") if avoidable else ()
        end = ("Leave such a model out or train it again", *otherwise, ".")
        raise problems_error("There are non-finite values.", dict(sorted(found.items())), *end)


def check_buffer(models: Mapping[str, Tensors], name: str) -> TensorCheck:
    """Check a tensor of models, by what messages call them, for non-finite values, which a mixture would spread."""
    return TensorCheck(True, faults={model: what for model, own in models.items() if (what := _fault(own[name]))})


def _square(tensor: Tensor) -> float:
    flat = tensor.reshape(-1)
    return float(torch.dot(flat, flat))


def _moves(tensor_set: TensorSet, sources: list[str], changes: bool, anchored: bool) -> bool:
    # Squares of differences below 1e-23 are zero in fp32; such a tensor has moved nevertheless.
    if changes:
        return any(bool(tensor_set.tensors[source].any()) for source in sources)
    first = tensor_set.base if anchored and tensor_set.base is not None else next(iter(tensor_set.tensors.values()))
    return any(not torch.equal(first, tensor_set.tensors[source]) for source in sources)


def _faults(tensor_set: TensorSet, anchored: bool) -> dict[str, str]:
    faults = {}
    if anchored and tensor_set.base is not None and (what := _fault(tensor_set.base)):
        # What starts from such a base is faulty too; it is the base that has to be mended first.
        return {BASE: what}
    for source, tensor in tensor_set.tensors.items():
        if what := _fault(tensor):
            faults[f"`{source}`"] = what
    return faults


def _fault(tensor: Tensor) -> str:
    if bool(torch.isnan(tensor).any()):
        return "NaN"
    return "infinite values" if bool(torch.isinf(tensor).any()) else ""


def warn_of_far_base(checks: Mapping[str, TensorCheck]) -> None:
    """Warn where sources lie so far from the base that it can hardly be their common start."""
    length = math.sqrt(sum(check.base_square for check in checks.values()))
    far = {}
    for source in next(iter(checks.values())).squares if checks and length > 0 else ():
        distance = math.sqrt(sum(check.squares[source] for check in checks.values())) / length
        if distance > FAR:
            far[source] = distance
    if far:
        measured = ", ".join(f"`{source}` {distance:.2f}" for source, distance in far.items())
        warning = CommonStartWarning(
            f"The base may not be the start that the sources have in common: measured in its own norm, the distance to "
            f"them is {measured}; fine-tuned models usually stay below {FAR}. Check ",
            Argument("base"),
            ".",
        )
        warnings.warn(warning, stacklevel=4)
