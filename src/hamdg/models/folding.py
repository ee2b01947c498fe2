"""BatchNorm with frozen statistics folded into the convolutions before it: the same function in fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from hamdg.errors import ConfigError


class FoldedNorm(nn.Module):
    """What is left of a BatchNorm: the identity under its names, a shift, and what timm's has behind it.

    The shift is added by the convolution before it. As tensors of a BatchNorm, those of this module are the identity
    plus the shift, so a file of them loads into the library's own network and gives the same.

    Args:
        norm: The BatchNorm.
        shift: The shift [c].
    """

    weight: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d, shift: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(shift)
        self.register_buffer("weight", torch.ones_like(shift))
        self.register_buffer("running_mean", torch.zeros_like(shift))
        self.register_buffer("running_var", torch.full_like(shift, 1 - norm.eps))
        self.register_buffer("num_batches_tracked", norm.num_batches_tracked)
        for name, layer in norm.named_children():
            self.add_module(name, layer)

    def forward(self, given: Tensor) -> Tensor:
        """Return what timm's dropout and activation make of it; without them it is returned as it is."""
        for layer in self.children():
            given = layer(given)
        return given


class FoldedConv2d(nn.Conv2d):
    """A convolution without a bias of its own that adds the shift of the folded BatchNorm behind it.

    Args:
        conv: The convolution.
        weight: Its weight, scaled.
        norm: What is left of the BatchNorm.
    """

    def __init__(self, conv: nn.Conv2d, weight: Tensor, norm: FoldedNorm) -> None:
        # Nothing is drawn: torch's own start would move the global random state.
        super().__init__(1, 1, 1, bias=False, device="meta")
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            setattr(self, name, getattr(conv, name))
        self.padding_mode, self._reversed_padding_repeated_twice = (
            conv.padding_mode,
            list(conv._reversed_padding_repeated_twice),
        )
        self.weight = nn.Parameter(weight)
        # In a tuple it is no module of this one: the shift has the BatchNorm's name alone.
        self._norm = (norm,)

    def forward(self, given: Tensor) -> Tensor:
        """Return the convolution plus the shift."""
        found: Tensor = self._conv_forward(given, self.weight, self._norm[0].bias)
        return found


@torch.no_grad()
def fold_batchnorm(network: nn.Module, side: int, name: str) -> None:
    """Fold each BatchNorm into the convolution before it, where that has no bias; names of tensors stay.

    Args:
        network: The network, in evaluation mode; changed in place.
        side: Side of its images.
        name: What `model.name` calls it.

    Raises:
        ConfigError: There is nothing to fold, or the network does not run its layers as it lists them.
    """
    images = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    expected, pairs = copy.deepcopy(network)(images), list(_pairs(network))
    for parent, first, second in pairs:
        conv, norm = parent.get_submodule(first), parent.get_submodule(second)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        left = FoldedNorm(norm, norm.bias - norm.running_mean * scale).eval()
        parent.set_submodule(first, FoldedConv2d(conv, conv.weight * scale.view(-1, 1, 1, 1), left).eval())
        parent.set_submodule(second, left)
    if not pairs or not torch.allclose(network(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise ConfigError(
            f"`model.fold_batchnorm` is `true`, but `{name}` (`model.name`) is not known to have a convolution before "
            "each BatchNorm; leave it out."
        )


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield modules with the names of a convolution and of the BatchNorm behind it, in the order of registration."""
    for parent in network.modules():
        before: str | None = None
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and layer.bias is None:
                before = name
            elif isinstance(layer, nn.Conv2d):
                before = None
            elif type(layer) in (nn.BatchNorm2d, BatchNormAct2d) and before is not None:
                yield parent, before, name
                before = None
