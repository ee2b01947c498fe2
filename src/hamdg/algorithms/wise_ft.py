"""WiSE-FT (https://arxiv.org/abs/2109.01903): the result lies between the start and the fine-tuned model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor

from hamdg import console
from hamdg.algorithms.base import Entry, Step, StepResult
from hamdg.config.algorithms.wise_ft import WiseFtSettings
from hamdg.config.recipe import MergeConfig
from hamdg.merge import merge_with
from hamdg.models.network import Weights
from hamdg.runs.figures import Lines, lines, series
from hamdg.runs.record import Reads
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import train_step
from hamdg.stages.holdout_scores import HoldoutScores
from hamdg.stages.merging import merge_histories
from hamdg.stages.pooled import POOLED, Pooled

METHOD = "wise_ft"
FINE_TUNED = "fine_tuned"
GRID = tuple(tenths / 10 for tenths in range(11))
# By alpha, the metric on each source's hold-out set.
Scores = Mapping[float, Mapping[str, float]]


class WiseFt(Pooled):
    """Pooled fine-tuning whose result goes only part of the way from the start, head included."""

    name, title = "wise_ft", "WiSE-FT"

    def steps(self) -> Sequence[Step]:
        """Return the training, and the interpolation, which looks at hold-out sets where these choose alpha."""
        reads: set[Reads] = {"sources"} if cast("WiseFtSettings", self.recipe.settings).alpha is None else set()
        merge = Step("merge", _interpolate, reads=frozenset(reads), sections=frozenset({self.name}))
        return [train_step(self._learners, names=[POOLED]), merge]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the fine-tuned model and the result between them."""
        network, tuned = context.network(), context.step("train").history().history[POOLED]
        return [
            *start_entries(context, network),
            Entry(FINE_TUNED, "fine-tuned (pooled)", "control", network, tuned),
            Entry(self.name, self.label, "merged", network, context.step("merge").load("merged")),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, FINE_TUNED, self.name)


def _interpolate(context: Context) -> StepResult:
    alpha, trained = context.settings(WiseFtSettings).alpha, context.step("train")
    scores: Scores = {}
    if alpha is None:
        holdouts, base, tuned = HoldoutScores(context), context.base(), trained.history().history[POOLED]
        scores = {one: holdouts.by_domain(interpolated(base, tuned, one)) for one in GRID}
        alpha = best(scores)
        console.note(f"alpha {alpha} is the best of 0, 0.1, ..., 1 on the sources' hold-out sets")
    merged = merge_histories(context, MergeConfig(METHOD, {"alpha": alpha}), [trained])
    facts = {**merged.facts, "alpha": alpha, "scores": {str(one): dict(own) for one, own in scores.items()}}
    return merged._replace(facts=facts, figures=[*([_curve(scores, alpha)] if scores else []), *merged.figures])


def interpolated(base: Weights, tuned: Weights, alpha: float) -> Mapping[str, Tensor]:
    """Return `(1 - alpha) base + alpha tuned`, as the merge method `wise_ft` computes it."""
    return merge_with(METHOD, {POOLED: tuned}, base, {"alpha": alpha})


def best(scores: Scores) -> float:
    """Return the alpha of the highest mean over the domains; of equal ones the smallest."""
    return max(sorted(scores), key=lambda alpha: _mean(scores[alpha]))


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _curve(scores: Scores, alpha: float) -> Lines:
    grid = list(scores)
    own = [series(name, grid, [100 * scores[one][name] for one in grid], "faint") for name in scores[alpha]]
    mean = series("mean", grid, [100 * _mean(scores[one]) for one in grid])
    return lines(
        "On the sources' hold-out sets, from the start (0) to the fine-tuned model (1), %",
        [*own, mean],
        x="alpha",
        note=f"The result has the alpha of the highest mean, {alpha}; of equal ones the smallest.",
    )
