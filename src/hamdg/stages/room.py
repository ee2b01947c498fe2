"""Refuses a run whose decoded images will not fit on the disk, before the first of them is decoded."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from hamdg.algorithms.erm import control_of
from hamdg.algorithms.ham.sample_log import MOMENTS, PER_KIND
from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.merge_section import method_of
from hamdg.config.recipe import Recipe
from hamdg.data.cache.disk import check_fits, compressed_bytes
from hamdg.data.domain import cache_of, held_out_bytes, open_domain
from hamdg.data.listing import Listing
from hamdg.data.module import split_domain, training_part
from hamdg.errors import RunDirectoryError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory, training_identity
from hamdg.stages.context import Context
from hamdg.stages.summaries import read_train
from hamdg.text import listed


def check_room(context: Context, held_out: bool, afresh: bool) -> None:
    """Compare all that a run will keep of decoded images, and does not have yet, with what is free.

    Counted are the images of every source domain for training and for validation, and those of the held-out domain
    for evaluation; of the latter no file is opened. The control is trained and tested on the same images.

    Args:
        context: The run, of which nothing has been written yet.
        held_out: Whether it will evaluate.
        afresh: Whether it repeats what is done.

    Raises:
        StorageError: If they do not fit.
    """
    recipe = context.recipe
    if recipe.benchmark == "mini" or not recipe.data.decode_once:
        return
    trains = afresh or not all(_is_trained(one) for one in _runs(recipe))
    need, smaller = _sources(context, trains)
    names = list(context.sources)
    if held_out:
        own, compressed = held_out_bytes(recipe, context.preprocess.side)
        need, smaller = need + own, smaller + compressed
        names.append(recipe.held_out)
    if need:
        what = f"the decoded images of this run ({listed(names)})"
        folder = cache_of(recipe) / "pictures"
        check_fits(need, what, folder, smaller if recipe.data.store == "uncompressed" else None)


def _runs(recipe: Recipe) -> list[Recipe]:
    return [recipe, control_of(recipe)] if recipe.algorithm == "ham" and recipe.controls.erm else [recipe]


def _is_trained(recipe: Recipe) -> bool:
    """Return whether a run has trained, or another run has that differs in the merge alone."""
    run = RunDirectory(run_directory(recipe))
    if run.train.exists() or run.resume.exists():
        return run.train.exists()
    for summary in run.path.parent.glob(f"seed{recipe.seed}-*/{run.train.name}"):
        with suppress(RunDirectoryError):  # it will not be taken, and says why then
            if read_train(RunDirectory(summary.parent)).get("training") == training_identity(recipe):
                return True
    return False


def _sources(context: Context, trains: bool) -> tuple[float, float]:
    """Return the bytes that the source domains will still take, and would at most if they were compressed."""
    recipe, need, smaller = context.recipe, 0.0, 0.0
    examples = recipe.merge.examples if context.plan.merges and method_of(context.merge_config).needs else 0
    shown = (
        2 * MOMENTS * PER_KIND if isinstance(recipe.settings, HamSettings) and recipe.settings.enrichment.enabled else 0
    )
    for name in context.sources:
        domain = open_domain(recipe, name, context.preprocess.side)
        train, (_, validation) = training_part(recipe, domain), split_domain(recipe, domain)
        own = domain.training.missing_bytes(train) if trains else 0.0
        need += own
        if trains and (domain.training is domain.evaluation or recipe.data.store == "compressed"):
            need += domain.evaluation.missing_bytes(validation)
        else:
            # Not augmented are also the training images that a merge method looks at, and those of the report.
            looked_at = max(examples, shown if own else 0)
            need += domain.evaluation.missing_bytes(np.concatenate([validation, train[:looked_at]]))
        assert isinstance(domain.contents, Listing)
        smaller += compressed_bytes(domain.contents)
    return need, smaller
