"""Refuses a run whose decoded images will not fit on the disk, before the first of them is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hamdg.config.data import RENDERED
from hamdg.data.cache.disk import check_fits, compressed_bytes
from hamdg.data.domain import cache_of, held_out_bytes, open_domain
from hamdg.data.listing import Listing
from hamdg.data.module import split_domain, training_part
from hamdg.stages.context import Context
from hamdg.stages.sharing import is_done_somewhere
from hamdg.text import listed


class Disk(NamedTuple):
    """What decoded images will take, and what is free where they are kept; bytes."""

    needed: float
    free: int
    folder: Path


def check_disk(contexts: Sequence[Context], held_out: bool, force: bool) -> Disk | None:
    """Compare all that a run will keep of decoded images, and does not have yet, with what is free.

    Counted are the images of every source domain for training and for validation, and those of held-out domains
    for evaluation; of the latter no file is opened. Controls are trained and tested on the same images.

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
    if recipe.benchmark in RENDERED or not recipe.data.decode_once:
        return None
    need, smaller = _sources(context, trains=force or any(map(_will_train, contexts)))
    names = list(context.sources)
    for name in context.targets if held_out else ():
        own, compressed = held_out_bytes(recipe, name, context.preprocess.side)
        need, smaller = need + own, smaller + compressed
        names.append(name)
    if not need:
        return None
    what = f"the decoded images of this run ({listed(names)})"
    folder = cache_of(recipe) / "pictures"
    free = check_fits(need, what, folder, smaller if recipe.data.store == "uncompressed" else None)
    return Disk(need, free, folder)


def _will_train(context: Context) -> bool:
    """Return whether a step that trains is done neither by the run nor by another."""
    steps = context.algorithm.steps()
    return any("train" in step.sections and not is_done_somewhere(context, step.name) for step in steps)


def _sources(context: Context, trains: bool) -> tuple[float, float]:
    """Return the bytes that the source domains will still take, and would at most if they were compressed."""
    recipe, need, smaller = context.recipe, 0.0, 0.0
    for name in context.sources:
        domain = open_domain(recipe, name, context.preprocess.side)
        train, (_, validation) = training_part(recipe, domain), split_domain(recipe, domain)
        own = domain.training.missing_bytes(train) if trains else 0.0
        need += own
        if trains and (domain.training is domain.evaluation or recipe.data.store == "compressed"):
            need += domain.evaluation.missing_bytes(validation)
        else:
            # Not augmented are also the training images that steps look at.
            looked_at = train[: _examples(context, trains=own > 0)]
            need += domain.evaluation.missing_bytes(np.concatenate([validation, looked_at]))
        assert isinstance(domain.contents, Listing)
        smaller += compressed_bytes(domain.contents)
    return need, smaller


def _examples(context: Context, trains: bool) -> int:
    """Return how many training images of a source steps look at; those of a training are there if its images are."""
    steps = context.algorithm.steps()
    return max((step.examples for step in steps if trains or "train" not in step.sections), default=0)
