"""The models of a run by name, as its steps left them, and the statistics that they have on the same few images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hamdg.algorithms.base import Step, StepResult
from hamdg.algorithms.mtda.merging import Buffers, merge_targets
from hamdg.algorithms.mtda.training import ADAPT, APART, MIXED, READAPT, SOURCE, STARTS, UNION
from hamdg.config.algorithms.mtda import CompareConfig, MtdaSettings
from hamdg.data.batches import sample_positions
from hamdg.data.module import adaptation_part
from hamdg.models.batchnorm import reestimated
from hamdg.models.network import Weights
from hamdg.stages.context import Context

MERGE, REESTIMATE, MERGED = "merge", "reestimate", "merged"


def models_of(context: Context, compare: CompareConfig, buffers: Buffers = "moments") -> dict[str, Weights]:
    """Return all models but the ensemble by name: `source`, `adapt/<target>`, `union/...`, `starts`, `merged`.

    Args:
        context: The run, or a step after those that made them.
        compare: Which of them there are.
        buffers: What becomes of BatchNorm's statistics where those of different starts are merged; where they are
            measured anew, it does not matter.
    """
    adapted = context.step(ADAPT).history().last
    found: dict[str, Weights] = {SOURCE: context.step(SOURCE).history().last[SOURCE]}
    found |= {f"{ADAPT}/{name}": weights for name, weights in adapted.items()}
    if compare.union:
        union = context.step(UNION).history().last
        found |= {f"{UNION}/{kind}": union[kind] for kind in (MIXED, APART)}
    if compare.starts:
        apart = {context.targets[0]: adapted[context.targets[0]], **context.step(READAPT).history().last}
        found[STARTS] = merge_targets(apart, buffers)
    found[MERGED] = context.step(MERGE).load(MERGED)
    return found


def reestimate_step() -> Step:
    """Return the step that measures all models' statistics anew, on the same unlabeled images of all targets."""

    def run(context: Context) -> StepResult:
        settings = context.settings(MtdaSettings)
        batches = unlabeled_batches(context, settings.reestimate.images)
        network, models = context.network().to(context.device), models_of(context, settings.compare)
        for name, weights in models.items():
            context.files.save(name, reestimated(network, weights, batches))
        count = sum(len(images) for images in batches)
        return StepResult({"images": count}, images_seen=count * len(models))

    sections = frozenset({"mtda.reestimate", "mtda.compare"})
    return Step(REESTIMATE, run, reads=frozenset({"targets"}), sections=sections)


def unlabeled_batches(context: Context, count: int) -> list[Tensor]:
    """Return normalized images of the targets' 80 % part, every batch with as many of each target.

    Args:
        context: The step, or the run in its evaluation.
        count: At most how many of each target.
    """
    recipe, images = context.recipe, []
    for name, domain in context.data(context.targets).items():
        pool, index = adaptation_part(recipe, domain), context.bench.domains.index(name)
        positions = sample_positions(pool, min(count, len(pool)), 0, recipe.seed, index)
        read = domain.evaluation.read(positions)
        # The sizes of images that are evaluated are all the same.
        assert isinstance(read, Tensor)
        images.append(read)
    parts = -(-max(map(len, images)) // recipe.data.batch_size)
    split = [torch.tensor_split(one, parts) for one in images]
    return [context.preprocess(torch.cat(together).to(context.device)) for together in zip(*split, strict=True)]


def names_of(targets: Sequence[str], compare: CompareConfig) -> list[str]:
    """Return the names of `models_of`, before anything has run."""
    union = [f"{UNION}/{MIXED}", f"{UNION}/{APART}"] if compare.union else []
    starts = [STARTS] if compare.starts else []
    return [SOURCE, *(f"{ADAPT}/{name}" for name in targets), *union, *starts, MERGED]
