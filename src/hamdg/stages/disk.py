"""Refuses a run whose decoded images and activations will not fit on the disk, before the first of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from hamdg.config.data import RENDERED
from hamdg.data.activations import evaluation_views, missing_bytes
from hamdg.data.cache.disk import check_activations_fit, check_fits, compressed_bytes
from hamdg.data.domain import Domain, cache_of, held_out_bytes, open_domain
from hamdg.data.listing import Listing
from hamdg.data.module import SourceData, split_domain, training_part
from hamdg.data.splits import Indices
from hamdg.stages.context import Context
from hamdg.stages.sharing import is_done_somewhere
from hamdg.text import listed


class Disk(NamedTuple):
    """What decoded images and activations will take, these alone, and what is free where they are kept; bytes."""

    needed: float
    free: int
    folder: Path
    activations: float = 0.0


class _Need(NamedTuple):
    """What source domains will take, and what their decoded images would at most if they were compressed; bytes."""

    images: float
    compressed: float
    activations: float


def check_disk(contexts: Sequence[Context], held_out: bool, force: bool) -> Disk | None:
    """Compare all that a run will keep of decoded images and activations, and does not have yet, with what is free.

    Counted are the images of every source domain for training and for validation, and those of held-out domains
    for evaluation; of the latter no file is opened, so that their activations, of one view, are not counted. Controls
    are trained and tested on the same images.

    Args:
        contexts: The controls and the run, the run last; nothing of it has been written yet.
        held_out: Whether it will evaluate.
        force: Whether it repeats what is done.

    Returns:
        What they take; `None` where none are kept, or all are there.

    Raises:
        StorageError: If they do not fit.
    """
    context = contexts[-1]
    recipe = context.recipe
    decodes = recipe.benchmark not in RENDERED and recipe.data.decode_once
    if not decodes and recipe.data.views is None:
        return None
    need, smaller, activations = _sources(context, decodes, trains=force or any(map(_will_train, contexts)))
    names = list(context.sources)
    for name in context.targets if held_out and decodes else ():
        own, compressed = held_out_bytes(recipe, name, context.preprocess.side)
        need, smaller = need + own, smaller + compressed
        names.append(name)
    if not need and not activations:
        return None
    what = f"the decoded images of this run ({listed(names)})"
    folder = cache_of(recipe) / "pictures"
    free = check_fits(need, what, folder, smaller if recipe.data.store == "uncompressed" else None)
    if activations:
        what = f"the activations of frozen layers of this run ({listed(context.sources)})"
        folder = cache_of(recipe)
        free = check_activations_fit(activations, what, folder, need)
    return Disk(need + activations, free, folder, activations)


def _will_train(context: Context) -> bool:
    """Return whether a step that trains is done neither by the run nor by another."""
    steps = context.algorithm.steps()
    return any("train" in step.sections and not is_done_somewhere(context, step.name) for step in steps)


def _sources(context: Context, decodes: bool, trains: bool) -> _Need:
    recipe, need, smaller, activations = context.recipe, 0.0, 0.0, 0.0
    side = context.preprocess.side
    for name in context.sources:
        domain = open_domain(recipe, name, side)
        train, (_, validation) = training_part(recipe, domain), split_domain(recipe, domain)
        looks = trains
        if trains and recipe.data.views is not None:
            of_training, of_tests = _activations(context, domain, train, recipe.data.views)
            activations, looks = activations + of_training + of_tests, of_training > 0
        if not decodes:
            continue
        own = domain.training.missing_bytes(train) if looks else 0.0
        need += own
        if trains and (domain.training is domain.evaluation or recipe.data.store == "compressed"):
            need += domain.evaluation.missing_bytes(validation)
        else:
            # Not augmented are also the training images that steps look at.
            looked_at = train[: _examples(context, trains=own > 0)]
            need += domain.evaluation.missing_bytes(np.concatenate([validation, looked_at]))
        assert isinstance(domain.contents, Listing)
        smaller += compressed_bytes(domain.contents)
    return _Need(need, smaller, activations)


def _activations(context: Context, domain: Domain, train: Indices, views: int) -> tuple[int, int]:
    """Return the bytes that a source domain's activations will still take: of views to train on, and for tests."""
    recipe, layers, preprocess = context.recipe, context.trunk, context.preprocess
    assert layers is not None, "checked with the recipe"
    image = torch.zeros(1, 3, preprocess.side, preprocess.side, device=context.device)
    to_train = SourceData(recipe, preprocess).training_views(domain, views)
    tested = evaluation_views(recipe, domain, preprocess)
    cache, everything = cache_of(recipe), np.arange(len(domain))
    return (
        missing_bytes(cache, domain, train, to_train, layers, image),
        missing_bytes(cache, domain, everything, tested, layers, image),
    )


def _examples(context: Context, trains: bool) -> int:
    """Return how many training images of a source steps look at; those of a training are there if its images are."""
    steps = context.algorithm.steps()
    return max((step.examples for step in steps if trains or "train" not in step.sections), default=0)
