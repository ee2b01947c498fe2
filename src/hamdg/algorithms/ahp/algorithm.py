"""AHP (https://arxiv.org/abs/2412.07226): a CLIP's attention heads, adapted to the task and gated for all domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamdg.algorithms.ahp.learner import AhpLearner
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.ahp import AhpSettings
from hamdg.data.benchmark import TaskName
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import SelfAttention, has_class_token
from hamdg.models.adapters.gates import add_gates, check_gates, head_gates
from hamdg.models.adapters.low_rank import add_low_rank, check_low_rank
from hamdg.runs.figures import Figure, curve, curves, heat_map
from hamdg.stages.adapting import network_to_adapt, pretrained_attentions
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


class Ahp(Pooled):
    """One model learns low-rank updates and gates of its attention heads from all source domains."""

    name: ClassVar[str] = "ahp"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def check(self, context: Context) -> None:
        """Refuse networks without attention as adapters know it, and settings that contradict each other.

        Raises:
            ConfigError: For these reasons.
        """
        settings, attentions = context.settings(AhpSettings), pretrained_attentions(context)
        if settings.lora == "none" and not settings.gates:
            raise ConfigError("`ahp.lora` is `none` and `ahp.gates` is `false`, so nothing is trained; choose one.")
        missing = {"gates": not settings.gates, "lora": settings.lora == "none", "all": False}[settings.mmd.to]
        if missing and settings.mmd.weight:
            raise ConfigError(
                f"`ahp.mmd.to` is `{settings.mmd.to}`, which this recipe does not have, so the discrepancy would teach "
                "nothing; set `ahp.mmd.weight` to 0 or change `ahp.mmd.to`."
            )
        if settings.lora != "none":
            ranks, per_head = ranks_of(settings, len(attentions)), settings.lora == "head_aware"
            check_low_rank(attentions, ranks, settings.dropout, self.name, per_head=per_head)
        if settings.gates:
            check_gates(attentions)

    def learner(self, context: Context) -> AhpLearner:
        """Return the learner."""
        recipe, settings = context.recipe, context.settings(AhpSettings)
        network, attentions = network_to_adapt(context)
        adapt(attentions, settings, recipe.seed)
        blocks = [one.block for one in attentions]
        return AhpLearner(network, context.sources, recipe.train, settings, blocks, has_class_token(network.visual))

    def figures(self, learner: Learner) -> Sequence[Figure]:
        """Return the gates of all heads, and the discrepancy between the domains."""
        gates = [found.factors().tolist() for found in head_gates(learner.network)]
        figures: list[Figure] = [curves("Discrepancy (MMD) between the source domains", [curve("penalty")])]
        if not gates:
            return figures
        layers = [f"layer {number}" for number in range(1, len(gates) + 1)]
        heads = {f"head {head + 1}": [layer[head] - 1 for layer in gates] for head in range(len(gates[0]))}
        largest = max(abs(value) for values in heads.values() for value in values)
        note = "What each head's output was multiplied by, less 1: above 0 it counts more than in CLIP, below 0 less."
        return [heat_map("Gates of the heads", layers, heads, note=note, limits=(0.0, largest)), *figures]


def ranks_of(settings: AhpSettings, layers: int) -> list[int]:
    """Return the rank of every layer: the last ones have those that are given, all before have the first of them."""
    ranks = settings.ranks
    return [ranks[0]] * (layers - len(ranks)) + ranks[-layers:]


def adapt(attentions: Sequence[SelfAttention], settings: AhpSettings, seed: int) -> None:
    """Give attention layers their low-rank updates and gates, with which they do at first what they did before."""
    if settings.lora != "none":
        add_low_rank(
            attentions,
            ranks_of(settings, len(attentions)),
            settings.projections,
            per_head=settings.lora == "head_aware",
            alpha=settings.alpha,
            dropped=settings.dropout,
            seed=seed,
        )
    if settings.gates:
        add_gates(attentions, settings.gate_std, seed)
