"""CoOp (https://arxiv.org/abs/2109.01134): the words before a class name are learned, as vectors, on all sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hamdg.algorithms.base import Entry, Step
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.coop import CoopSettings
from hamdg.data.benchmark import TaskName
from hamdg.data.resolve import words_of
from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError
from hamdg.models.prompted_clip import PromptedClip, embedded, token_embedding
from hamdg.stages.class_features import check_left_out
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.pooled import POOLED, Pooled

# Standard deviation of the vectors at the start.
SPREAD = 0.02


class Coop(Pooled):
    """One context for the prompts of all classes is learned on all sources; image and text tower are frozen."""

    name: ClassVar[str] = "coop"
    title: ClassVar[str] = "CoOp"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the one step, which trains."""
        return [step._replace(check=_check) for step in super().steps()]

    def learner(self, context: Context) -> Learner:
        """Return the learner."""
        return Learner(_network(context), context.sources, context.recipe.train, context.task)

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start and the result."""
        found = context.step("train").history()
        result = Entry(self.name, self.label, "merged", _network(context), found.history[POOLED])
        return [*start_entries(context, context.network()), result]


def fresh_context(vectors: int, width: int, seed: int) -> Tensor:
    """Return context vectors [n, width] of N(0, 0.02), by the seed alone."""
    generator = torch.Generator().manual_seed(seed_hash("context", seed))
    return SPREAD * torch.randn(vectors, width, generator=generator)


def _network(context: Context) -> PromptedClip:
    settings, clip = context.settings(CoopSettings), context.clip
    if settings.init is None:
        start = fresh_context(settings.context, token_embedding(clip).embedding_dim, context.recipe.seed)
    else:
        start = embedded(clip, settings.init)
    if not len(start):
        raise ConfigError(f"`coop.init` is `{settings.init}`, which holds no word; give some words, or leave it out.")
    return PromptedClip(clip, words_of(context.recipe), start, classes=context.bench.classes)


def _check(context: Context) -> None:
    """Refuse what has no prompts to learn, and what would be trained beside them.

    Raises:
        ConfigError: For these reasons, or if a prompt is longer than what the text tower takes.
    """
    reason = "`coop` learns the context of prompts and nothing else"
    check_left_out(context.recipe.model, ("text_head", "text_tower", "head", "statistics"), reason)
    _network(context)
