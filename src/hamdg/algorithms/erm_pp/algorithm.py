"""ERM++: a first training finds its schedule on hold-out sets, and a second one repeats it on all source images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, TypedDict, cast

from hamdg import console
from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.algorithms.erm_pp.learner import ErmPpLearner
from hamdg.config.algorithms.erm_pp import ErmPpSettings
from hamdg.config.recipe import HistoryConfig
from hamdg.data.benchmark import TaskName
from hamdg.data.module import SourceData, without_holdout
from hamdg.errors import ConfigError
from hamdg.runs.figures import Figure, lines, series
from hamdg.runs.record import SAW_HOLDOUTS
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import check_split, fit, trained
from hamdg.stages.pooled import POOLED

SEARCH, TRAIN = "search", "train"
# The result is the learner's own average.
_LAST = HistoryConfig(kind="last")


class Schedule(TypedDict):
    """What the first training found, and the second repeats.

    Attributes:
        steps: How many steps there are.
        falls: After which of them the learning rate falls.
        losses: The average's loss on the hold-out sets, by step.
    """

    steps: int
    falls: list[int]
    losses: dict[str, float]


class ErmPp(Algorithm):
    """One model learns from all source domains, twice; the result is the running average of the second training."""

    name: ClassVar[str] = "erm_pp"
    title: ClassVar[str] = "ERM++"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the training with hold-out sets, and that on all source images."""
        sections = frozenset({"train", self.name})
        return [
            Step(SEARCH, _search, sections=sections, check=_check, learners=[POOLED]),
            Step(TRAIN, _train, sections=sections, learners=[POOLED]),
        ]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the average of the first training, and that of the second."""
        network = context.network()
        first, second = (context.step(name).history().last[POOLED] for name in (SEARCH, TRAIN))
        return [
            *start_entries(context, network),
            Entry("erm_pp_search", f"{self.label}, without the hold-out sets", "control", network, first),
            Entry(self.name, self.label, "merged", network, second, SAW_HOLDOUTS),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, "erm_pp_search", self.name)


def _search(context: Context) -> StepResult:
    learner = ErmPpLearner(context.network(), context.sources, context.recipe.train, context.settings(ErmPpSettings))
    found = trained(context, fit(context, {POOLED: learner}, history=_LAST))
    schedule = Schedule(
        steps=cast("int", found.facts["steps"]),
        falls=learner.schedule,
        losses={str(step): loss for step, loss in learner.losses.items()},
    )
    return found._replace(facts={**found.facts, "schedule": schedule}, figures=[_figure(context, schedule)])


def _train(context: Context) -> StepResult:
    found = cast("Schedule", context.step(SEARCH).read()["facts"]["schedule"])
    console.note(f"repeats {_described(found)}, on all images of {', '.join(context.sources)}")
    recipe, settings = context.recipe, context.settings(ErmPpSettings)
    train = replace(recipe.train, steps=found["steps"])
    learner = ErmPpLearner(context.network(), context.sources, train, settings, found["falls"])
    opened = context.data(context.sources)
    data = SourceData(
        without_holdout(recipe),
        context.preprocess,
        opened,
        steps=train.steps,
        layers=context.trunk,
        device=context.device,
    )
    return trained(context, fit(context, {POOLED: learner}, data=data, history=_LAST))


def _described(found: Schedule) -> str:
    falls = f"a learning rate that falls after {', '.join(map(str, found['falls']))}" if found["falls"] else "no fall"
    return f"{found['steps']} steps with {falls}"


def _figure(context: Context, found: Schedule) -> Figure:
    """Return the chart of the losses that led to the schedule."""
    losses = found["losses"]
    return lines(
        "Loss of the running average on the sources' hold-out sets",
        [series("loss", [float(step) for step in losses], list(losses.values()))],
        note=f"It makes the schedule that the second training repeats: {_described(found)}.",
    )


def _check(context: Context) -> None:
    """Refuse settings with which there is no schedule to find, or no classifier to begin with.

    Raises:
        ConfigError: There are such settings.
    """
    recipe, settings, network = context.recipe, context.settings(ErmPpSettings), context.network()
    train = recipe.train
    if train.schedule != "constant":
        raise ConfigError(
            f"`train.schedule` is `{train.schedule}`, but ERM++ lowers the learning rate where the loss on the "
            "hold-out sets tells; set it to `constant`."
        )
    if settings.classifier_steps and not network.head_prefix:
        remedy = "`model.head` to `linear`" if recipe.model.has_text else "`model.train_head` to `true`"
        raise ConfigError(
            f"`erm_pp.classifier_steps` is {settings.classifier_steps}, but `{recipe.model.name}` has no classifier "
            f"that could be trained before the rest; set it to 0, or {remedy}."
        )
    for name in ("classifier_steps", "average_start"):
        if (value := getattr(settings, name)) >= train.steps:
            raise ConfigError(
                f"`erm_pp.{name}` is {value}, but the training has `train.steps` {train.steps}; lower it or train "
                "longer."
            )
    check_split(context, lambda: {POOLED: ErmPpLearner(network, context.sources, train, settings)})
