"""Runs up to their records, and the images that these are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from hamdg.data.domain import open_domain
from hamdg.runs.directory import RunDirectory
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context

if TYPE_CHECKING:
    from hamdg.config.recipe import Recipe


def evaluated(recipe: Recipe) -> Context:
    """Run a recipe to its end, and return the run as it is now."""
    return open_context(recipe, RunDirectory(pipeline.run(recipe).parent))


def images_of(context: Context, domain: str, positions: Sequence[int]) -> Tensor:
    """Return images of a domain as the run's model takes them."""
    images = open_domain(context.recipe, domain, context.preprocess.side).evaluation.read(np.array(positions))
    assert isinstance(images, Tensor)
    return context.preprocess(images)
