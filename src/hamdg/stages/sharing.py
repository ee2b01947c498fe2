"""Steps that several runs have in common are done once: a step is known by the hash of all that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from filelock import FileLock, Timeout

from hamdg import console
from hamdg.algorithms.base import Step
from hamdg.config.recipe import Recipe
from hamdg.errors import RunDirectoryError
from hamdg.files import link
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import encoder_part, hashed, part
from hamdg.runs.steps import check_step, read_start, read_step_summary
from hamdg.stages.context import Context
from hamdg.stages.sources import learned_from_these

_LOCKS = ".steps"


def step_identities(
    recipe: Recipe, steps: Sequence[Step], sources: Sequence[str], targets: Sequence[str]
) -> dict[str, str]:
    """Return the identity of every step by its name.

    It is the hash of what the recipe says of data and model, the algorithm, the step's name, the values of the sections
    that it declares, the domains that it may open, and of the step before it. Of a step that algorithms have in common
    it is the hash of what it depends on alone.
    """
    domains = {"sources": sources, "targets": targets}
    found, before = {}, ""
    for step in steps:
        opens = sorted(name for kind in step.reads for name in domains[kind])
        values: dict[str, object] = {
            "step": step.name,
            "opens": opens,
            "before": "" if step.common else before,
            "recipe": encoder_part(recipe) if step.common else part(recipe, step.sections),
        }
        # The step before it stands for its whole past: a change of an early step is a change of all later ones.
        before = found[step.name] = hashed(values)
    return found


@contextmanager
def step_lock(run: RunDirectory, identity: str) -> Iterator[None]:
    """Keep other processes from doing the same step while the block runs; waits for one that does it already."""
    # By identity and at the root, not in the run: two runs of a sweep may need the very same training, and the second
    # one links it.
    folder = run.path.absolute().parents[3] / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{identity}.lock", is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.note("another run is at the same step; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_done_somewhere(context: Context, name: str) -> bool:
    """Return whether a run, or another one below the same root, has done a step; a begun one goes on itself."""
    own = context.step(name)
    return own.is_done if own.begun() else likely_twin(context, name) is not None


def likely_twin(context: Context, name: str) -> RunDirectory | None:
    """Return another run that has done the same step by its identity; weights and images are not compared."""
    steps = context.algorithm.steps()
    identity = step_identities(context.recipe, steps, context.sources, context.targets)[name]
    step = next(step for step in steps if step.name == name)
    return next((twin for twin in _siblings(context, step) if _identity_at(twin, name) == identity), None)


def twin_of(own: Context, step: Step) -> RunDirectory | None:
    """Return another run below the same root that has done the very step, from the same weights and images."""
    for twin in _siblings(own, step):
        try:
            if _identity_at(twin, step.name) == own.identity and _began_alike(own, twin, step):
                check_step(twin, twin.step(step.name))
                return twin
        except RunDirectoryError as error:
            console.note(f"the step `{step.name}` of `{twin.path}` is not taken: {error}")
    return None


def link_step(source: RunDirectory, target: RunDirectory, name: str) -> None:
    """Link (or copy) what a step left behind; its summary last, since it says that all is there."""
    step = source.step(name)
    target.step(name).reset()
    for file in [*sorted(read_step_summary(step)["wrote"]), step.summary.name]:
        link(source.path / file, target.path / file)


def _siblings(context: Context, step: Step) -> Iterator[RunDirectory]:
    """Yield all other runs of the same benchmark, algorithm and seed that have done a step of that name."""
    recipe, root = context.recipe, context.run.path.parents[3]
    algorithm = "*" if step.common else recipe.algorithm
    for summary in sorted(root.glob(f"{recipe.benchmark}/*/{algorithm}/seed{recipe.seed}-*/{step.name}.json")):
        run = RunDirectory(summary.parent)
        # Runs of before there were steps have other files of these names.
        if run.path != context.run.path and run.start.exists():
            yield run


def _identity_at(run: RunDirectory, name: str) -> str:
    """Return the identity of a step that a run has done; nothing where that cannot be read."""
    try:
        return read_step_summary(run.step(name))["identity"]
    except RunDirectoryError:
        return ""


def _began_alike(own: Context, twin: RunDirectory, step: Step) -> bool:
    """Return whether another run started from the same weights and has the same images and splits."""
    before, now = read_start(twin), read_start(own.run)
    # What algorithms have in common depends on nothing behind the encoder.
    same = before["sha256"] == now["sha256"] and (step.common or before["class_features"] == now["class_features"])
    return same and learned_from_these(own, twin)
