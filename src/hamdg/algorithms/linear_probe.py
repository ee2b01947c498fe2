"""A linear probe: the frozen encoder, and a linear classifier of its features by logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamdg.algorithms.base import Algorithm, Entry, Step
from hamdg.config.algorithms.linear_probe import LinearProbeSettings
from hamdg.data.benchmark import TaskName
from hamdg.stages.class_features import check_left_out
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.features import features_step
from hamdg.stages.probe import probe_step, probed_network


class LinearProbe(Algorithm):
    """Only a linear layer is learned, from features that are computed once; its strength is chosen on the sources."""

    name: ClassVar[str] = "linear_probe"
    title: ClassVar[str] = "linear probe"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the features, and the fit."""
        features = features_step()._replace(check=_check)
        return [features, probe_step(lambda context: context.settings(LinearProbeSettings), self.name)]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start and the result."""
        result = Entry(self.name, self.label, "merged", probed_network(context), {})
        return [*start_entries(context, context.network()), result]


def _check(context: Context) -> None:
    """Refuse statistics that would move, since no image passes the encoder in training.

    Raises:
        ConfigError: For this reason.
    """
    reason = f"The algorithm `{context.recipe.algorithm}` leaves the encoder as it is"
    check_left_out(context.recipe.model, ("statistics",), reason)
