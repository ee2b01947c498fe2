"""Pooled fine-tuning on all source domains (ERM), and an average of its weights: SMA, EMA, Beta, SWAD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from hamdg.algorithms.base import Entry, Step
from hamdg.config.recipe import HistoryKind, MergeConfig
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import train_step
from hamdg.stages.merging import merge_step
from hamdg.stages.pooled import POOLED, Pooled


class _Result(NamedTuple):
    """Key and label of the row of the result."""

    key: str
    label: str


LAST = _Result("erm", "ERM (pooled)")
RESULTS: Mapping[HistoryKind, _Result] = {
    "mean": _Result("erm_sma", "ERM + SMA"),
    "snapshots": _Result("erm_sma", "ERM + SMA"),
    "linear": _Result("erm_sma_linear", "ERM + SMA, late steps weigh more"),
    "validated": _Result("erm_sma_validated", "ERM + SMA, weighted by validation"),
    "ema": _Result("erm_ema", "ERM + EMA"),
    "beta": _Result("erm_beta", "ERM + Beta average"),
    "swad": _Result("erm_swad", "ERM + SWAD"),
    "best": _Result("erm_best", "ERM, best on validation"),
}


class Erm(Pooled):
    """One model learns from all source domains; its result is what its history keeps: an average, or one state."""

    name: ClassVar[str] = "erm"

    @property
    def label(self) -> str:
        """How tables call the result: by its average."""
        return self._result.label

    def steps(self) -> Sequence[Step]:
        """Return the training, and the average of the snapshots or the one average that it kept."""
        return [
            train_step(self._learners, names=[POOLED]),
            merge_step([POOLED], MergeConfig(method="uniform"), section=False),
        ]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the last model and the result, if it is another."""
        network, last = context.network(), context.step("train").history().last[POOLED]
        first = [*start_entries(context, network), Entry(*LAST, "control", network, last)]
        if self._result == LAST:
            return first
        return [*first, Entry(*self._result, "control", network, context.step("merge").load("merged"))]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return tuple(dict.fromkeys((*self.start_keys, LAST.key, self._result.key)))

    @property
    def _result(self) -> _Result:
        return RESULTS.get(self.recipe.history.kind, LAST)
