"""Small ResNets for images of 32 to 64 pixels, with torchvision's names of layers: for the embedded benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

# The channels of the three stages, by the name of the network.
WIDTHS: Mapping[str, tuple[int, int, int]] = {"mini-resnet8": (24, 48, 96), "mini-resnet8-16": (16, 32, 64)}
SIDE = 48


class MiniResNet(nn.Module):
    """ResNet-8 (https://arxiv.org/abs/1512.03385): a stem of 3 x 3, three stages of one block each, a linear layer.

    Args:
        widths: Channels of the three stages.
        num_classes: Outputs of the linear layer.
    """

    def __init__(self, widths: tuple[int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        # Half the side already here: three quarters less to compute.
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        for number, (before, width) in enumerate(pairwise((widths[0], *widths)), start=1):
            stage = nn.Sequential(_Block(before, width, stride=1 if number == 1 else 2))
            self.add_module(f"layer{number}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return scores [n, classes] of images [n, 3, h, w]."""
        found = self.relu(self.bn1(self.conv1(images)))
        for number in (1, 2, 3):
            found = self.get_submodule(f"layer{number}")(found)
        scores: Tensor = self.fc(self.avgpool(found).flatten(1))
        return scores


class _Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, which is a convolution of 1 x 1 where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, images: Tensor) -> Tensor:
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))
        sums: Tensor = self.relu(found + self.downsample(images))
        return sums
