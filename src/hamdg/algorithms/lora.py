"""CLIP-LoRA (https://arxiv.org/abs/2405.18541) on pooled source domains, with a frozen text tower."""

from __future__ import annotations

from typing import ClassVar

from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.lora import LoraSettings
from hamdg.data.benchmark import TaskName
from hamdg.models.adapters.low_rank import add_low_rank, check_low_rank
from hamdg.stages.adapting import network_to_adapt, pretrained_attentions
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


class Lora(Pooled):
    """One model learns low-rank updates of its attention from all source domains, and nothing else."""

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "CLIP-LoRA"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def check(self, context: Context) -> None:
        """Refuse networks without attention as adapters know it, and ranks that it cannot have.

        Raises:
            ConfigError: For these reasons.
        """
        settings, attentions = context.settings(LoraSettings), pretrained_attentions(context)
        check_low_rank(attentions, [settings.rank] * len(attentions), settings.dropout, self.name)

    def learner(self, context: Context) -> Learner:
        """Return the learner."""
        recipe, settings = context.recipe, context.settings(LoraSettings)
        network, attentions = network_to_adapt(context)
        add_low_rank(
            attentions,
            [settings.rank] * len(attentions),
            settings.projections,
            alpha=settings.alpha,
            dropped=settings.dropout,
            seed=recipe.seed,
        )
        return Learner(network, context.sources, recipe.train, context.task)
