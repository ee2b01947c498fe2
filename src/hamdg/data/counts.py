"""How many images a run has of each domain, without one of them being opened or rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.find_images import list_images, subset_positions
from hamdg.data.module import split_positions, target_positions, training_positions
from hamdg.errors import DataError
from hamdg.mini.rendered import rendered_classes


class SourceCount(NamedTuple):
    """How many images of a source domain are trained on, and how many are held out from training to validate."""

    training: int
    holdout: int


def source_count(recipe: Recipe, name: str) -> SourceCount:
    """Return how many images a source domain has for each purpose."""
    labels = _labels(recipe, name)
    holdout = split_positions(recipe, name, len(labels))[1]
    return SourceCount(len(training_positions(recipe, name, labels)), len(holdout))


def image_count(recipe: Recipe, name: str) -> int:
    """Return how many images a domain has."""
    return len(_labels(recipe, name))


def check_unseen(recipe: Recipe, targets: Sequence[str]) -> None:
    """Refuse targets of which steps would read all images, so that none is left to test on.

    Raises:
        DataError: If there is such a target.
    """
    for name in targets:
        count = image_count(recipe, name)
        if len(target_positions(recipe, name, count)[1]) == 0:
            raise DataError(
                f"domain `{name}` has {count} images, too few to adapt to 80 % of them and to test on the other 20 %: "
                "5 are needed."
            )


def _labels(recipe: Recipe, name: str) -> NDArray[np.int64]:
    if recipe.benchmark not in RENDERED:
        return list_images(recipe, name).labels
    labels = rendered_classes(recipe.benchmark, name, recipe.data)
    kept = subset_positions(recipe, name, labels)
    return labels if kept is None else labels[kept]
