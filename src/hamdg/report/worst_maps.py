"""The images of which the result's label maps are the worst: image, label map and prediction, in classes' colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hamdg.report.samples import data_uri
from hamdg.runs.predictions import Predictions


@dataclass(frozen=True)
class WorstMap:
    """An image, its label map and the result's, as data URIs.

    Args:
        image: The image.
        labels: Its label map in colors; pixels without a class are black.
        predicted: The result's label map in colors.
        iou: The mean IoU of the classes that the image has or the result sees in it.
        target: The domain that it is from.
    """

    image: str
    labels: str
    predicted: str
    iou: float
    target: str


@dataclass(frozen=True)
class Gallery:
    """The worst label maps.

    Args:
        maps: Of each target the worst first.
        colors: The color of every class as CSS writes it, by its name.
    """

    maps: list[WorstMap]
    colors: dict[str, str]


def worst_maps(found: Predictions, key: str, classes: Sequence[str]) -> Gallery | None:
    """Return the worst label maps that were kept; `None` for none.

    Args:
        found: The run's predictions.
        key: The result's row.
        classes: Names of the classes.
    """
    worst = found.worst
    if worst is None:
        return None
    table = np.zeros((256, 3), np.uint8)
    table[: len(worst.colors)] = worst.colors

    def colored(labels: NDArray[np.uint8]) -> str:
        return data_uri(table[labels])

    maps = [
        WorstMap(data_uri(image), colored(own), colored(predicted), float(found.maps[name].mean_iou[key][at]), name)
        for image, own, predicted, name, at in zip(
            worst.images, worst.labels, worst.predicted, worst.targets, worst.positions.tolist(), strict=True
        )
        if key in found.maps[name].mean_iou
    ]
    colors = {name: f"rgb{tuple(color)}" for name, color in zip(classes, worst.colors.tolist(), strict=False)}
    return Gallery(maps, colors) if maps else None
