"""A run's plan in a few lines, for people who are about to start it."""

from __future__ import annotations

from collections.abc import Iterator

from hamdg.data.cache.disk import amount
from hamdg.runs.record import EVALUATE, VALIDATE
from hamdg.stages.plan import Plan, PlannedRun, PlannedStep
from hamdg.text import duration, listed, listed_in_words

_COLUMN = 10


def title(plan: Plan) -> str:
    """Return what the run is, in a line."""
    return f"{plan.runs[-1].label} on {plan.benchmark}, held out: {plan.held_out}, seed {plan.seed}"


def lines(plan: Plan) -> list[str]:
    """Return what will be done, a line for each question."""
    return [f"{name:<{_COLUMN}}{text}" for name, text in _parts(plan)]


def values(plan: Plan) -> dict[str, object]:
    """Return a plan for programs."""
    return {
        "benchmark": plan.benchmark,
        "held_out": plan.held_out,
        "seed": plan.seed,
        "run": plan.runs[-1].path,
        "runs": plan.runs,
        "model": plan.model,
        "parameters": plan.parameters,
        "devices": plan.devices,
        "nodes": plan.nodes,
        "sources": plan.sources,
        "targets": plan.targets,
        "read_by": plan.read_by,
        "disk": plan.disk,
        "seconds": plan.seconds,
        "earlier_runs": plan.earlier,
    }


def _parts(plan: Plan) -> Iterator[tuple[str, str]]:
    width = max(len(run.label) for run in plan.runs)
    for number, run in enumerate(plan.runs):
        yield "" if number else "steps", f"{run.label:<{width}}  {_steps(run)}"
    yield "models", _models(plan)
    if plan.devices * plan.nodes > 1:
        yield "processes", _processes(plan)
    sources = ", ".join(f"{name} {one.training:,} + {one.holdout:,}" for name, one in plan.sources.items())
    yield "images", f"{sources} (to train + to validate)"
    yield "", _targets(plan)
    for control in plan.runs[:-1]:
        if not control.is_done:
            yield "control", _why(control, plan.runs[-1])
    if plan.disk is not None:
        disk = plan.disk
        kinds = {"decoded images": disk.needed > disk.activations, "activations": disk.activations > 0}
        what = " and ".join(kind for kind, there in kinds.items() if there)
        yield "disk", f"{amount(disk.needed)} of {what}; {amount(disk.free)} are free"
    yield "time", _time(plan)
    yield "writes", str(plan.runs[-1].path)


def _steps(run: PlannedRun) -> str:
    # Exporting and validating belong to the last step, unless they are the end.
    ends_with_validation = run.steps[-1].name == VALIDATE
    return ", ".join(_step(step) for step in run.steps if step.name != VALIDATE or ends_with_validation)


def _step(step: PlannedStep) -> str:
    if step.state == "to do":
        return step.name
    if step.state == "taken" and step.taken_from is not None:
        return f"{step.name} (taken from {step.taken_from.name})"
    if step.state == "resumed":
        return f"{step.name} (goes on after step {step.at:,} of {step.of:,})"
    return f"{step.name} (done)"


def _models(plan: Plan) -> str:
    trained = [run for run in plan.runs if run.learners]
    steps = max((step.of for run in plan.runs for step in run.steps), default=0)
    if not trained and not steps:
        return plan.model
    # Of adapters and learned prompts fewer are trained than of the control.
    alike = len({run.parameters for run in trained}) < 2
    text = plan.model + (f", {plan.parameters:,} trained parameters each" if alike else "")
    own = ("" if alike else f" ({run.parameters:,} trained parameters)" for run in trained)
    counts = [f"{len(run.learners)} for {run.label}{said}" for run, said in zip(trained, own, strict=True)]
    return text + (f": {listed_in_words(counts)}" if counts else "") + (f", {steps:,} steps" if steps else "")


def _processes(plan: Plan) -> str:
    where = f", {plan.devices} on each of {plan.nodes} machines" if plan.nodes > 1 else ""
    return f"{plan.devices * plan.nodes} train together{where}, each on a part of every batch"


def _targets(plan: Plan) -> str:
    images = ", ".join(name + (f" {count:,}" if count is not None else "") for name, count in plan.targets.items())
    if plan.runs[-1].steps[-1].name != EVALUATE:
        return f"{images}: held out, never opened"
    if plan.read_by:
        verb = "reads" if len(plan.read_by) == 1 else "read"
        return f"{images}: held out; {listed(plan.read_by)} {verb} its images, without labels"
    return f"{images}: held out; files are listed, and opened after all training"


def _why(control: PlannedRun, own: PlannedRun) -> str:
    name = control.algorithm
    return (
        f"{control.label} trains on the same images, model and steps, to show what {own.label} adds; "
        f"--controls.{name}=false does without"
    )


def _time(plan: Plan) -> str:
    if all(step.state in ("done", "taken") for run in plan.runs for step in run.steps):
        return "nothing is left to do"
    if plan.seconds is None:
        trains = any(step.of and step.state in ("resumed", "to do") for run in plan.runs for step in run.steps)
        return "an estimate follows the first steps" if trains else "not known; nothing is left to train"
    runs = "an earlier run" if plan.earlier == 1 else f"{plan.earlier} earlier runs"
    return f"about {duration(plan.seconds)}, as in {runs} here"
