"""What is trained, saved and tested: a network with plain names for its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.data.preprocess import Preprocess
from hamdg.errors import WeightsError
from hamdg.models.layers import layer_of

Weights = Mapping[str, Tensor]
"""Tensors by their plain names, as histories, merge methods and files know them."""
N = TypeVar("N", bound="Network")
M = TypeVar("M", bound=nn.Module)
# The file that a run's result is exported to.
MERGED = "merged.safetensors"
# And, beside it, a linear layer that it has no place for.
HEAD = "head.safetensors"

# Between a module and the originals and factors of what torch computes its parameter from.
_PARAMETRIZED = "parametrizations."


class Network(nn.Module, ABC):
    """A network whose scores come from features.

    BatchNorm layers stay in evaluation mode unless `live_statistics` is set: running statistics are frozen, scale and
    shift are trained. Otherwise an average of several networks would come with statistics that belong to none of them.

    Attributes:
        preprocess: What it expects of its images.
        live_statistics: Whether BatchNorm's running statistics move in training, and are part of `weights`.
        prefix: What stands before the names of `weights` in files.
    """

    preprocess: Preprocess
    live_statistics: bool = False
    prefix: ClassVar[str] = ""
    _frozen: bool = False

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return features [n, d] or [n, d, h, w] of normalized images [n, 3, h, w]."""

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """Return scores [n, classes] or [n, classes, h, w] of features."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of normalized images."""
        return self.scores(self.features(images))

    @property
    def body(self) -> nn.Module:
        """The module that the names of `weights` start from."""
        return self

    def tower_of(self, name: str) -> str:
        """Return which of several towers a tensor of `weights` is of; empty where there is one."""
        return ""

    @property
    def head_prefix(self) -> str:
        """What the names of trained tensors behind the features begin with; empty where there are none."""
        return ""

    def train(self, mode: bool = True) -> Self:
        """Set training mode for all but frozen networks, and BatchNorm layers whose statistics do not move."""
        super().train(mode and not self._frozen)
        if not self.live_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def layers(self) -> Mapping[str, nn.Module]:
        """Return the layers by name, in the order in which the modules were made, which is that of their depth."""
        names = [name for name, module in self.body.named_modules() if list(module.parameters(recurse=False))]
        return {layer: self.body.get_submodule(layer) for layer in dict.fromkeys(layer_of(n) for n in names if n)}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that require a gradient, factors of adapters included, by their names in `body`."""
        return {name: parameter for name, parameter in self.body.named_parameters() if parameter.requires_grad}

    def weights(self) -> dict[str, Tensor]:
        """Return all that training changes, by plain names: adapters folded in, moving BatchNorm statistics included.

        These are the network's own tensors, which the next step changes: clone what you keep.
        """
        return trained_tensors(self.body) | dict(statistics(self.body) if self.live_statistics else ())

    def state(self) -> dict[str, Tensor]:
        """Return all tensors of the network, trained or not, by plain names."""
        found: dict[str, Tensor] = self.body.state_dict()
        return found

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """Put tensors in by their plain names; what is not named stays as it is.

        Raises:
            WeightsError: A name is unknown, or a tensor has another shape.
        """
        for name, value in weights.items():
            own = _tensor(self.body, name)
            if own.shape != value.shape:
                raise WeightsError(
                    f"Expected the tensor `{name}` to have the shape {tuple(own.shape)}, but got {tuple(value.shape)}; "
                    f"give weights of the same `{type(self).__name__}`."
                )
            if isinstance(own, nn.Parameter) or not own.requires_grad:
                own.copy_(value)
            else:  # computed by a parametrization, which says what becomes of a value that is put in
                path, _, attribute = name.rpartition(".")
                setattr(self.body.get_submodule(path), attribute, value.to(own))

    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path | None:
        """Write the network with these weights to a file that others load without hamdg.

        Returns:
            The file; nothing where no single file can hold the network.
        """
        return None


def frozen(network: N) -> N:
    """Freeze a network, such as a teacher: no gradients, and evaluation mode whatever mode its parent is put in.

    The state of its parent leaves it out, and so does a resumable checkpoint: what never changes is made again. A
    learner that would go on beside another one as readily says in `get_extra_state` which one it was.
    """
    if not network._frozen:
        unsaved(network)
    network._frozen = True
    network.requires_grad_(False)
    return network.eval()


def unsaved(module: M) -> M:
    """Leave a module that never changes out of the state of what it is a part of: it is made again."""
    module.register_state_dict_post_hook(_left_out)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(_kept)  # type: ignore[no-untyped-call]
    return module


@torch.no_grad()
def trained_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of all parameters that require a gradient, by plain names, adapters folded in."""
    found: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            plain = _plain(name)
            found[plain] = parameter.detach() if plain == name else _tensor(module, plain)
    return found


def statistics(module: nn.Module, moving_only: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of the running statistics of all BatchNorm layers (or of those in training mode)."""
    for path, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.training or not moving_only):
            for name, buffer in layer.named_buffers(recurse=False):
                yield f"{path}.{name}" if path else name, buffer


def has_batchnorm(module: nn.Module) -> bool:
    """Return whether a module has BatchNorm layers that keep running statistics."""
    return any(True for _ in statistics(module))


@contextmanager
def unmoved_statistics(module: nn.Module) -> Iterator[None]:
    """Keep what the block puts through a module out of its BatchNorm statistics, which would move in training.

    Layers normalize as they would without this: in training mode, by the batch.
    """
    layers = [one for one in module.modules() if isinstance(one, _BatchNorm) and one.training]
    own = [(layer, dict(layer.named_buffers(recurse=False))) for layer in layers]
    # Copies move in their place: the backward passes of what went through before refuse buffers that were written to.
    for layer, buffers in own:
        for name, buffer in buffers.items():
            setattr(layer, name, buffer.clone())
    try:
        yield
    finally:
        for layer, buffers in own:
            for name, buffer in buffers.items():
                setattr(layer, name, buffer)


def _left_out(module: nn.Module, state: dict[str, object], prefix: str, metadata: object) -> None:
    """Take a module out of the state of what it is a part of; called when that is collected."""
    if prefix:
        for name in [name for name in state if name.startswith(prefix)]:
            del state[name]


def _kept(module: nn.Module, state: dict[str, object], prefix: str, *others: object) -> None:
    """Add a module's own state to one that was collected without it; called when that is loaded."""
    if prefix:
        state.update({f"{prefix}{name}": value for name, value in module.state_dict().items()})


def _plain(name: str) -> str:
    """Return which tensor a parameter belongs to: of `attn.parametrizations.weight.0.factor`, `attn.weight`."""
    path, parametrized, rest = name.partition(_PARAMETRIZED)
    return path + rest.partition(".")[0] if parametrized else name


def _tensor(module: nn.Module, name: str) -> Tensor:
    path, _, attribute = name.rpartition(".")
    try:
        found = getattr(module.get_submodule(path), attribute)
    except AttributeError:
        found = None
    if not isinstance(found, Tensor):
        raise WeightsError(f"The network has no tensor `{name}`; give weights of the network that they are put into.")
    return found
