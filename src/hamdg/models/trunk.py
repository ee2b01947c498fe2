"""The trunk of an image classifier: its stem and first stages, which stay as they are while all else trains."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from hamdg.errors import ConfigError
from hamdg.merge.tensors import sha256_tensors
from hamdg.models.network import unsaved

# What networks call the sequence of their stages, and stages that stand on their own.
_SEQUENCES = ("blocks", "stages")
_STAGE = re.compile(r"layer\d+")


class Trunk(nn.Sequential):
    """The low layers of a network, frozen: no gradients, evaluation mode, and no part of a checkpoint.

    Args:
        layers: The layers in the order in which images pass them, by the names that they have in the network.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(*layers.values())
        self.names = tuple(layers)
        self.requires_grad_(False)
        self.eval()
        unsaved(self)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the activations [n, c, h', w'] of normalized images [n, 3, h, w]."""
        # Convolutions are faster so, and the layers behind find their activations in the same layout.
        found = images.contiguous(memory_format=torch.channels_last)
        for layer in self:
            found = layer(found)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by the names that they have in the network."""
        return {
            f"{name}.{own}": tensor
            for name, layer in zip(self.names, self, strict=True)
            for own, tensor in layer.state_dict().items()
        }

    @property
    def identity(self) -> str:
        """The digest of all that activations depend on beside the images: every layer, and every tensor."""
        return sha256_tensors({**self.tensors(), str(self): torch.empty(0)})


def split_trunk(network: nn.Module, blocks: int) -> Trunk:
    """Take the stem and the first stages out of a network, which then goes on from their activations.

    All other tensors keep their names.

    Args:
        network: The network, changed in place; `check_blocks` has accepted it.
        blocks: How many stages.
    """
    names = _trunk_names(network, blocks)
    trunk = Trunk({name: network.get_submodule(name) for name in names})
    for name in names:
        network.set_submodule(name, nn.Identity())
    return trunk


def check_blocks(network: nn.Module, blocks: int, side: int, name: str) -> None:
    """Check that a network is a stem and stages, one after another, of which so many can stay as they are.

    Args:
        network: The network, in evaluation mode.
        blocks: How many stages.
        side: Side of its images.
        name: What `model.name` calls it.

    Raises:
        ConfigError: It is not, or has too few.
    """
    given, count = f"`model.frozen_blocks` is {blocks}, but ", len(_stages(network))
    if count and blocks >= count:
        raise ConfigError(
            f"{given}`{name}` (`model.name`) has {count} stages, of which one must train; use at most {count - 1}."
        )
    if not count or not _runs_in_order(network, blocks, side):
        raise ConfigError(
            f"{given}`{name}` (`model.name`) is not known to be a stem and stages (`blocks`, `stages`, or `layer1`, "
            "`layer2`, ...) that run one after another; leave it out, or choose a ResNet or an EfficientNet."
        )


@torch.no_grad()
def _runs_in_order(network: nn.Module, blocks: int, side: int) -> bool:
    """Return whether a network gives the same when its layers behind these stages are fed with what they give."""
    images = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    whole, rest = network, copy.deepcopy(network)
    trunk = split_trunk(rest, blocks)
    try:
        expected, activations = whole(images), trunk(images)
        # Three channels are images, for which networks compute the frozen layers.
        if activations.ndim != 4 or activations.shape[1] == 3:
            return False
        before = activations.clone()
        found = rest(activations.contiguous(memory_format=torch.channels_last))
        # Layers that write into what they are given would spoil activations that are used again.
        return torch.allclose(found, expected, atol=1e-4) and torch.equal(activations, before)
    except (RuntimeError, ValueError, TypeError, AttributeError):  # what its layers say of each other's tensors
        return False


def _stages(network: nn.Module) -> list[str]:
    """Return the names of a network's stages, in their order; empty where they are not known."""
    children = dict(network.named_children())
    for name in _SEQUENCES:
        if isinstance(found := children.get(name), nn.Sequential):
            return [f"{name}.{number}" for number, _ in found.named_children()]
    return [name for name in children if _STAGE.fullmatch(name)]


def _trunk_names(network: nn.Module, blocks: int) -> Sequence[str]:
    stages = _stages(network)
    children = [name for name, _ in network.named_children()]
    stem = children[: children.index(stages[0].partition(".")[0])]
    return [*stem, *stages[:blocks]]
