"""What a run will do, before it does it: steps, models, images, time and place. Nothing is written or opened for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hamdg.algorithms.base import Step
from hamdg.cohort.resume import checkpoint_step
from hamdg.data.counts import SourceCount, image_count, source_count
from hamdg.progress import Progress
from hamdg.runs.manifest import has_records_only
from hamdg.runs.record import EVALUATE, VALIDATE
from hamdg.stages.context import Context
from hamdg.stages.disk import Disk
from hamdg.stages.entries import measured_keys
from hamdg.stages.sharing import likely_twin
from hamdg.stages.step_times import Earlier, earlier_runs

State = Literal["done", "taken", "resumed", "to do"]
# A step forward and back takes as long as three steps forward.
_FORWARD_AND_BACK = 3


@dataclass(frozen=True)
class PlannedStep:
    """One step of a run, and what will become of it.

    Args:
        name: The step's name; `validate` and `evaluate` follow the algorithm's own.
        state: Whether it is done, will be taken from another run, goes on from a checkpoint, or is to do.
        taken_from: The run that it is taken from.
        at: The training step that it goes on after.
        of: How many training steps it has.
        seconds: How long it will take, as earlier runs did; `None` where that is not known.
        work: What it costs, in images through a network.
    """

    name: str
    state: State
    taken_from: Path | None = None
    at: int = 0
    of: int = 0
    seconds: float | None = None
    work: float = 0.0


@dataclass(frozen=True)
class PlannedRun:
    """A run or one of its controls.

    Args:
        label: How tables call its result.
        algorithm: Its algorithm.
        path: Where it is written.
        learners: Names of the models that it trains, where its algorithm says them.
        parameters: How many parameters each of them trains.
        steps: Its steps in their order.
    """

    label: str
    algorithm: str
    path: Path
    learners: tuple[str, ...]
    parameters: int
    steps: tuple[PlannedStep, ...]

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is to do."""
        return all(step.state == "done" for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """What a run and its controls will do.

    Args:
        benchmark: The benchmark.
        held_out: The held-out domains.
        seed: The seed.
        runs: The controls, and last the run itself.
        model: The backbone, and which weights it begins with.
        sources: How many images of each source domain train and validate.
        targets: How many images each held-out domain has; `None` where they are not listed.
        read_by: The steps that read the held-out domains' images, without labels.
        disk: What decoded images and activations will take.
        earlier: How many earlier runs the times are of.
        devices: How many processes of each machine train together.
        nodes: How many machines do.
    """

    benchmark: str
    held_out: str
    seed: int
    runs: tuple[PlannedRun, ...]
    model: str
    sources: Mapping[str, SourceCount]
    targets: Mapping[str, int | None]
    read_by: tuple[str, ...]
    disk: Disk | None
    earlier: int
    devices: int = 1
    nodes: int = 1

    @property
    def parameters(self) -> int:
        """How many parameters each model of the run itself trains."""
        return self.runs[-1].parameters

    @property
    def seconds(self) -> float | None:
        """How long all of it will take; `None` where one of its steps is new."""
        known = [step.seconds for step in self._to_do()]
        return sum(second for second in known if second is not None) if None not in known else None

    def progress(self) -> Progress:
        """Return the progress of all that is to do."""
        measured = self.seconds is not None
        work = {
            part_name(run.label, step.name): (step.seconds or 0.0) if measured else step.work
            for run in self.runs
            for step in run.steps
            if step.state in ("resumed", "to do")
        }
        return Progress(work, measured=measured)

    def _to_do(self) -> Iterator[PlannedStep]:
        return (step for run in self.runs for step in run.steps if step.state in ("resumed", "to do"))


def part_name(label: str, step: str) -> str:
    """Return how the progress calls a step of a run."""
    return f"{step} {label}"


def make_plan(
    contexts: Sequence[Context], *, until: str, force: bool = False, again: bool = False, disk: Disk | None = None
) -> Plan:
    """Look at what is there, and return what a run will do.

    Args:
        contexts: The controls and the run, the run last.
        until: The last step.
        force: Whether the run (not its controls) begins again.
        again: Whether the run (not its controls) is evaluated again.
        disk: What decoded images and activations will take.
    """
    *controls, own = contexts
    sources = {name: source_count(own.recipe, name) for name in own.sources}
    targets = {name: image_count(own.recipe, name) if until == EVALUATE else None for name in own.targets}
    costs = _Costs(sources, targets)
    found = [(control, earlier_runs(control)) for control in controls], (own, earlier_runs(own))
    runs = [_Planner(context, times, costs, until, share=not force).run() for context, times in found[0]]
    runs.append(_Planner(own, found[1][1], costs, until, share=not force, force=force, again=again).run())
    weights = own.recipe.model.weights
    return Plan(
        benchmark=own.recipe.benchmark,
        held_out=own.recipe.held_out,
        seed=own.recipe.seed,
        runs=tuple(runs),
        model=own.recipe.model.name + (f" ({weights})" if weights else ""),
        sources=sources,
        targets=targets,
        read_by=tuple(step.name for step in own.algorithm.steps() if "targets" in step.reads),
        disk=disk,
        earlier=min(times.runs for _, times in [*found[0], found[1]]),
        devices=own.recipe.runtime.devices,
        nodes=own.recipe.runtime.nodes,
    )


def _trained(context: Context) -> int:
    """Return how many parameters a network trains; the linear layer of an image classifier may be one of its layers."""
    model = context.recipe.model
    if model.has_text and not model.trains_text and not model.trains_head:
        return sum(one.numel() for one in context.pretrained.encoder.parameters())
    return sum(one.numel() for one in replace(context, unlearned=True).network().trainable().values())


@dataclass(frozen=True)
class _Costs:
    """The images that steps put through networks."""

    sources: Mapping[str, SourceCount]
    targets: Mapping[str, int | None]

    def of(self, context: Context, name: str, trains: bool) -> float:
        recipe, models = context.recipe, len(measured_keys(context, context.algorithm.keys(context.sources)))
        if trains:
            return float(_FORWARD_AND_BACK * recipe.train.steps * recipe.data.batch_size * len(self.sources))
        if name == VALIDATE:
            return float(models * sum(count.holdout for count in self.sources.values()))
        if name == EVALUATE:
            return float(models * sum(count or 0 for count in self.targets.values()))
        return 0.0


@dataclass(frozen=True)
class _Planner:
    """Plans one run."""

    context: Context
    earlier: Earlier
    costs: _Costs
    until: str
    share: bool
    force: bool = False
    again: bool = False

    def run(self) -> PlannedRun:
        context = self.context
        learners = dict.fromkeys(name for step in context.algorithm.steps() for name in step.learners)
        return PlannedRun(
            context.algorithm.label,
            context.recipe.algorithm,
            context.run.path,
            tuple(learners),
            context.algorithm.trained_parameters(context) or _trained(context),
            tuple(self._steps()),
        )

    def _steps(self) -> Iterator[PlannedStep]:
        steps, run, is_fresh = self.context.algorithm.steps(), self.context.run, self.force
        for step in steps:
            # What follows from a step that is done again is done again, too.
            planned = self._own(step, self.force or (is_fresh and not step.independent))
            is_fresh = is_fresh or planned.state != "done"
            yield planned
            if step.name == self.until:
                return
        yield self._last(VALIDATE, run.validation.exists() and not is_fresh)
        if self.until == EVALUATE:
            yield self._last(EVALUATE, run.record.exists() and not is_fresh and not self.again)

    def _own(self, step: Step, is_fresh: bool) -> PlannedStep:
        files, trains = self.context.step(step.name), "train" in step.sections
        of = self.context.recipe.train.steps if trains else 0
        if (files.is_done or has_records_only(self.context.run)) and not is_fresh:
            return PlannedStep(step.name, "done", of=of)
        cost = self.costs.of(self.context, step.name, trains)
        seconds = self.earlier.seconds.get(step.name)
        if files.resume.exists() and not is_fresh:
            at = checkpoint_step(files.resume)
            rest = 1 - at / of if of else 1.0
            return PlannedStep(step.name, "resumed", None, at, of, None if seconds is None else rest * seconds, cost)
        twin = likely_twin(self.context, step.name) if self.share else None
        if twin is not None:
            return PlannedStep(step.name, "taken", twin.run, of=of)
        return PlannedStep(step.name, "to do", None, 0, of, seconds, cost)

    def _last(self, name: str, is_done: bool) -> PlannedStep:
        if is_done:
            return PlannedStep(name, "done")
        cost = self.costs.of(self.context, name, trains=False)
        return PlannedStep(name, "to do", seconds=self.earlier.seconds.get(name), work=cost)
