"""Runs an algorithm's steps one after another: what is done is skipped, what another run has done is linked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamdg import console
from hamdg.algorithms.base import Step, StepResult
from hamdg.cohort.resume import CheckpointError
from hamdg.data.domain import only_domains, opened_domains
from hamdg.files import write_json
from hamdg.runs.manifest import digests
from hamdg.runs.steps import StepSummary, check_step
from hamdg.stages.context import Context
from hamdg.stages.plan import part_name
from hamdg.stages.sharing import step_identities, step_lock, take_step
from hamdg.stages.tracking import step_results, track_step
from hamdg.tracking.links import take_link


def run_steps(context: Context, steps: Sequence[Step], share: bool) -> None:
    """Run the steps that are not done, in their order.

    Args:
        context: The run.
        steps: The steps.
        share: Whether a step that another run has done is taken from there.

    Raises:
        RunDirectoryError: If a file that an earlier step wrote is missing or is another.
    """
    identities = step_identities(context.recipe, context.algorithm.steps(), context.sources, context.targets)
    for step in steps:
        _run(context.narrowed(step, identities[step.name]), context, step, share)


def _run(own: Context, run: Context, step: Step, share: bool) -> None:
    files = own.files
    kinds = {"sources": run.sources, "targets": run.targets}
    domains = [name for kind, names in kinds.items() if kind in step.reads for name in names]
    console.heading(f"{step.name} {run.algorithm.label}" + (f" on {', '.join(domains)}" if domains else ""))
    if files.is_done:
        check_step(own.run, files)
        # A process that died just before it removed the state.
        files.resume.unlink(missing_ok=True)
        console.skipped("done before")
        return
    own.run.unmark_done()
    _forget_after(run, step)
    # A twin is looked for inside the lock: whoever held it may just have finished this step.
    with step_lock(own.run, own.identity):
        twin = take_step(own, step) if share and not files.begun() else None
        if twin is not None:
            take_link(twin.run, own.run.path, step.name, twin.name)
            console.skipped(f"the same step of `{twin.run}` is taken")
            return
        part = run.progress.part(part_name(run.algorithm.label, step.name))
        with part, track_step(run, step.name, own.identity) as tracker:
            _work(replace(own, tracker=tracker), step)
            tracker.finish(lambda: step_results(run, step.name))


def _work(own: Context, step: Step) -> None:
    """Run a step behind its wall and write its summary, last."""
    files, started = own.files, time.monotonic()
    if not files.resume.exists():
        # A process that died before its first checkpoint may have left files, which belong to no state.
        files.reset()
    else:
        console.note("going on from the last checkpoint of a stopped run")
    # The wall holds for whatever code the step calls, that of other packages included.
    with only_domains(own.readable or ()), opened_domains() as opened:
        try:
            found = step.run(own)
        except CheckpointError as error:
            console.warning(f"`{files.resume}` {error}; the step starts again.")
            files.reset()
            own.spent.clear()
            found = step.run(own)
    seconds = sum(own.spent) + time.monotonic() - started
    write_json(files.summary, _summary(own, step, found, sorted(opened), seconds))
    files.resume.unlink(missing_ok=True)


def _forget_after(run: Context, step: Step) -> None:
    """Delete what followed from a step that is about to be done again, so that all of a run belongs together."""
    steps = list(run.algorithm.steps())
    later = steps[[one.name for one in steps].index(step.name) + 1 :]
    run.run.record.unlink(missing_ok=True)
    run.run.validation.unlink(missing_ok=True)
    for one in reversed(later):
        if not one.independent:
            run.step(one.name).reset()


def _summary(own: Context, step: Step, found: StepResult, opened: list[str], seconds: float) -> Mapping[str, object]:
    return StepSummary(
        identity=own.identity,
        reads=sorted(step.reads),
        opened=opened,
        facts=dict(found.facts),
        figures=list(found.figures),
        images_seen=found.images_seen,
        seconds=seconds,
        wrote=digests(own.run, _written(own.files.folder, own.files.resume)),
    )


def _written(folder: Path, resume: Path) -> list[Path]:
    """Return all that a step wrote, without the state that goes when it is done."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path != resume]
