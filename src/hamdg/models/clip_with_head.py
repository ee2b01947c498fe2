"""CLIP's image tower with a linear layer for the classes, which is fine-tuned along with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from torch.nn.utils import skip_init

from hamdg.models.clip import LoadedClip
from hamdg.models.clip_classifier import ClipNetwork
from hamdg.models.export import write_linear
from hamdg.models.network import HEAD, Weights


class ClipWithHead(ClipNetwork):
    """A copy of CLIP's image tower, and a linear layer that turns its features into scores.

    Names of weights are those of the whole CLIP (`visual.conv1.weight`), and `head.weight` and `head.bias`. The
    exported file is a plain CLIP; the layer lies beside it.

    Args:
        loaded: The CLIP whose image tower is copied; it completes the tower in exported files.
        weight: What the layer's weight [classes, d] starts from.
        bias: What its bias [classes] starts from; without it there is none.
        normalized: Whether the layer is given features of length 1, or as the tower computes them.
        classes: Names of the classes, for exported files.
    """

    def __init__(
        self,
        loaded: LoadedClip,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        normalized: bool = True,
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__(loaded)
        self.classes = tuple(classes)
        self.normalized = normalized
        self.visual: nn.Module = copy.deepcopy(loaded.model.visual)
        start = {"weight": weight} | ({} if bias is None else {"bias": bias})
        # Nothing is drawn: torch's own start would move the global random state.
        self.head = skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)  # type: ignore[no-untyped-call]
        self.head.load_state_dict(start)

    @property
    def head_prefix(self) -> str:
        """What the names of the linear layer begin with."""
        return "head."

    def features(self, images: Tensor) -> Tensor:
        """Return what goes into the linear layer [n, d]."""
        features: Tensor = self.visual(images)
        return normalize(features, dim=-1) if self.normalized else features

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores [n, classes] of the linear layer."""
        # As exact as those of a CLIP, for losses and thresholds.
        with torch.autocast(features.device.type, enabled=False):
            return linear(features.float(), self.head.weight, self.head.bias)

    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path:
        """Write the whole CLIP with these weights, and the linear layer as torch names its tensors."""
        tower = {name: tensor for name, tensor in weights.items() if not name.startswith(self.head_prefix)}
        own = self.head.state_dict() | {
            name.removeprefix(self.head_prefix): tensor for name, tensor in weights.items() if name not in tower
        }
        write_linear(folder / HEAD, own, self.classes, metadata, normalized=self.normalized)
        return super().export(tower, folder, metadata)
