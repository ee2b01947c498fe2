"""The image tower as it is fine-tuned: normalized features, frozen BatchNorm statistics, the encoder's own names."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _BatchNorm

from hamdg.models.clip import LoadedClip

# What the names of a tower's tensors begin with in a whole CLIP; a text tower that is no module of its own has nothing.
_TOWERS = ("visual", "text")


class ImageTower(nn.Module):
    """CLIP's image encoder with unit-length features.

    The encoder is shared with the CLIP it was taken from until one of them is copied (`copy.deepcopy`).
    BatchNorm layers stay in evaluation mode: running statistics are frozen, scale and shift are trained. Otherwise
    an average of several towers' parameters would come with statistics that belong to none of them.

    Args:
        loaded: The CLIP whose image encoder is taken.
    """

    def __init__(self, loaded: LoadedClip) -> None:
        super().__init__()
        self.visual: nn.Module = loaded.model.visual
        self.train(self.visual.training)

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalized images.

        Args:
            images: Float images [B, 3, H, W], mean and standard deviation already applied.

        Returns:
            Features [B, D] of length 1.
        """
        return normalize(self.visual(images), dim=-1)

    def train(self, mode: bool = True) -> Self:
        """Set training mode for everything but BatchNorm, whose running statistics stay frozen."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that an optimizer changes, by their name in `clip.visual` and in its order."""
        return {name: parameter for name, parameter in self.visual.named_parameters() if parameter.requires_grad}


def layer_of(parameter_name: str) -> str:
    """Return the layer that a parameter of a network belongs to.

    Numbered blocks keep their number (`layer1.0`, `transformer.resblocks.3`); all else has its first word as its layer
    (`conv1`, `attnpool`, `class_embedding`), behind that of the tower in a whole CLIP (`visual.conv1`).
    """
    words = parameter_name.split(".")
    for position, word in enumerate(words):
        if word.isdigit():
            return ".".join(words[: position + 1])
    return ".".join(words[:2]) if words[0] in _TOWERS else words[0]
