"""What the memory layout of images, and our gradient on small maps, are worth: `python -m hamdg.tools.bench layout`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor, nn

from hamdg import console
from hamdg.config.recipe import ModelConfig
from hamdg.models.classifier import load_classifier
from hamdg.models.depthwise import SmallMapConv2d
from hamdg.models.image_classifier import ImageClassifier, fresh_head

NAMES = ("timm/efficientnet_lite0", "torchvision/resnet50")
_CLASSES = 7


def contiguous(network: ImageClassifier, images: Tensor) -> Tensor:
    """Return the scores of images that lie in memory channel by channel, as torch has them by default."""
    scores: Tensor = network.encoder(images)
    return scores


def main(pairs: int, side: int = 128, batch: int = 16) -> None:
    """Time both layouts in turn, on one thread of a CPU, and print medians.

    Args:
        pairs: How often each is timed.
        side: Side of the images.
        batch: How many there are.
    """
    torch.set_num_threads(1)
    rows = []
    for name in NAMES:
        loaded = load_classifier(ModelConfig(name, "random", image_size=side))
        network = ImageClassifier(loaded, fresh_head(_CLASSES, loaded.width, 0)).train()
        images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
        ways: Mapping[str, Callable[[], Tensor]] = {
            "channels_last": lambda: network(images),  # noqa: B023
            "contiguous": lambda: contiguous(network, images),  # noqa: B023
        }
        seconds = {(way, training): [0.0] * pairs for way in ways for training in (True, False)}
        for number in range(-1, pairs):
            for way, training in seconds:
                # The first round only warms up.
                seconds[way, training][max(number, 0)] = _seconds(ways[way], training)
        rows += [
            [name, way, *(f"{batch / median(seconds[way, training]):.0f}" for training in (True, False))]
            for way in ways
        ]
    head = ["network", "layout", "forward and backward", "forward"]
    console.table(head, rows, title=f"Images of {side} px per CPU second, one thread, {pairs} times")
    _small_maps(pairs, side, batch)


def _small_maps(pairs: int, side: int, batch: int) -> None:
    """Time training with both gradients of depthwise convolutions in turn, and print the ratios of processor time."""
    loaded = load_classifier(ModelConfig(NAMES[0], "random", image_size=side))
    rows = []
    for frozen in (0, 4):
        ours = ImageClassifier(loaded, fresh_head(_CLASSES, loaded.width, 0), frozen_blocks=frozen).train()
        torchs = _with_torchs_gradients(copy.deepcopy(ours))
        images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
        given = images if ours.trunk is None else ours.trunk(images)
        ratios = [
            _seconds(lambda: torchs(given), True) / _seconds(lambda: ours(given), True)  # noqa: B023
            for _ in range(pairs + 1)
        ][1:]  # the first pair warms up
        rows.append([f"{frozen}", *(f"{of(ratios):.2f}" for of in (median, min, max))])
    head = ["frozen stages", "ratio, median", "least", "most"]
    title = f"CPU time of a training step of {NAMES[0]} with torch's gradients over that with ours, {pairs} pairs"
    console.table(head, rows, title=title)


def _with_torchs_gradients(network: ImageClassifier) -> ImageClassifier:
    """Make the depthwise convolutions of a network torch's own again, in place, and return it."""
    modules: list[nn.Module] = [module for module in network.modules() if isinstance(module, SmallMapConv2d)]
    for module in modules:
        module.__class__ = nn.Conv2d
    return network


def _seconds(compute: Callable[[], Tensor], training: bool) -> float:
    """Return the processor time of a pass, which other processes of the machine do not lengthen much."""
    began = time.process_time()
    with torch.set_grad_enabled(training):
        scores = compute()
        if training:
            torch.autograd.backward(scores.sum())
    return time.process_time() - began
