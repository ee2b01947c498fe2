"""An image classifier as a network that is fine-tuned: an encoder, and a new linear layer for the run's classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hamdg.data.splits import seed_hash
from hamdg.models.classifier import LoadedClassifier
from hamdg.models.depthwise import speed_up_small_maps
from hamdg.models.export import write_network
from hamdg.models.metadata import facts_of_network
from hamdg.models.network import MERGED, Network, Weights
from hamdg.models.trunk import split_trunk

# Of images.
_CHANNELS = 3


class ImageClassifier(Network):
    """A copy of a classifier of timm or torchvision, or of a small one of ours, with a new linear layer.

    The linear layer is trained with all else, unless its parameters require no gradient. Names of tensors are the
    library's own, so that an exported file loads strictly into its model (`timm.create_model(name, num_classes=C)`).

    Args:
        loaded: The network without its linear layer.
        head: What the weight [classes, d] of the new one starts from.
        classes: Names of the classes, for exported files.
        frozen_blocks: How many of its stages stay as they are, behind the stem, which does then, too. What they give
            for images, their activations, can be given to the network in place of images.
        bias: What its bias [classes] starts from; `None` for 0.
    """

    def __init__(
        self,
        loaded: LoadedClassifier,
        head: Tensor,
        classes: Sequence[str] = (),
        frozen_blocks: int = 0,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.name = loaded.name
        self.preprocess = loaded.preprocess
        self.classes = tuple(classes)
        self.encoder = copy.deepcopy(loaded.encoder)
        self.trunk = split_trunk(self.encoder, frozen_blocks) if frozen_blocks else None
        speed_up_small_maps(self.encoder)
        self._path = loaded.head.name
        self.encoder.set_submodule(self._path, _Head(head, bias))

    @property
    def body(self) -> nn.Module:
        """The library's own module, classifier included, but for what is frozen."""
        return self.encoder

    @property
    def head_prefix(self) -> str:
        """The name of the linear layer, and a point; empty where the layer is frozen."""
        return f"{self._path}." if self.head.weight.requires_grad else ""

    @property
    def head(self) -> nn.Linear:
        """The linear layer."""
        return cast("_Head", self.encoder.get_submodule(self._path))

    def features(self, images: Tensor) -> Tensor:
        """Return what goes into the linear layer [n, d]; its length is the network's own.

        Args:
            images: Normalized images [n, 3, h, w], or what the frozen layers give for them [n, c, h', w'].
        """
        head = cast("_Head", self.head)
        if self.trunk is not None and images.shape[1] == _CHANNELS:
            images = self.trunk(images)
        # Convolutions are faster so (docs/devices.md); the weights' own layout makes no difference.
        self.encoder(images.contiguous(memory_format=torch.channels_last))
        return head.take()

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores [n, classes] of the linear layer."""
        head = self.head
        # As exact as those of a CLIP, for losses and thresholds.
        with torch.autocast(features.device.type, enabled=False):
            return linear(features.float(), head.weight, head.bias)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors of the network, frozen ones included, by plain names."""
        return super().state() | (self.trunk.tensors() if self.trunk is not None else {})

    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path:
        """Write the whole network with these weights; the metadata say what builds it, and its classes."""
        path = folder / MERGED
        facts = facts_of_network(self.name, self.classes, self.preprocess)
        write_network(path, self.state(), weights, {**metadata, **facts})
        return path


def fresh_head(classes: int, width: int, seed: int) -> Tensor:
    """Return the weight [classes, d] of a linear layer as torch draws it, by the seed alone: alike for all learners."""
    generator = torch.Generator().manual_seed(seed_hash("head", seed))
    bound = 1 / math.sqrt(width)
    return torch.empty(classes, width).uniform_(-bound, bound, generator=generator)


class _Head(nn.Linear):
    """A linear layer that keeps what it was given until it is taken: the features, whatever network is around it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        # Nothing is drawn: torch's own start would move the global random state.
        super().__init__(weight.shape[1], weight.shape[0], device="meta")
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias.detach().clone())
        self._given: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        self._given = features
        return super().forward(features)

    def take(self) -> Tensor:
        given, self._given = self._given, None
        assert given is not None, "the network runs through its linear layer"
        return given
