"""What the memory layout of images is worth to a classifier: `python -m hamdg.tools.bench layout`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor

from hamdg import console
from hamdg.config.recipe import ModelConfig
from hamdg.models.classifier import load_classifier
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


def _seconds(compute: Callable[[], Tensor], training: bool) -> float:
    """Return the processor time of a pass, which other processes of the machine do not lengthen much."""
    began = time.process_time()
    with torch.set_grad_enabled(training):
        scores = compute()
        if training:
            torch.autograd.backward(scores.sum())
    return time.process_time() - began
