"""Steps that several runs have in common are done once: a step is known by the hash of all that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hamdg import console
from hamdg.algorithms.base import Origin, Step
from hamdg.config.recipe import Recipe
from hamdg.errors import RunDirectoryError
from hamdg.files import link_if_there, write_json
from hamdg.runs.directory import RunDirectory, StepDirectory
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
    it is the hash of what it depends on alone, and one that is another run's first step has its identity there.
    """
    domains = {"sources": sources, "targets": targets}
    found, before = {}, ""
    for step in steps:
        opens = sorted(name for kind in step.reads for name in domains[kind])
        there = step.origin or Origin(recipe, step.name)
        values: dict[str, object] = {
            "step": there.step,
            "opens": opens,
            "before": "" if step.independent else before,
            "recipe": encoder_part(recipe) if step.common else part(there.recipe, step.sections),
        }
        found[step.name] = own = hashed(values)
        # The step before it stands for its whole past: a change of an early step is a change of all later ones.
        before = hashed({"before": before, "step": own}) if step.origin else own
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


def likely_twin(context: Context, name: str) -> StepDirectory | None:
    """Return the same step of another run by its identity, if it is done; weights and images are not compared."""
    steps = context.algorithm.steps()
    identity = step_identities(context.recipe, steps, context.sources, context.targets)[name]
    step = next(step for step in steps if step.name == name)
    return next((twin for twin in _siblings(context, step) if _identity_of(twin) == identity), None)


def take_step(own: Context, step: Step) -> StepDirectory | None:
    """Take the very step of another run below the same root, done from the same weights and images.

    Returns:
        That run's step; `None` if there is none, or one whose run begins again just now.
    """
    for twin in _siblings(own, step):
        run = RunDirectory(twin.run)
        try:
            if _identity_of(twin) == own.identity and _began_alike(own, run, step):
                check_step(run, twin)
                _link_step(twin, own.files)
                return twin
        except RunDirectoryError as error:
            console.note(f"the step `{twin.name}` of `{twin.run}` is not taken: {error}")
    return None


def _link_step(source: StepDirectory, target: StepDirectory) -> None:
    """Link (or copy) what a step left behind; its summary last, since it says that all is there.

    Raises:
        RunDirectoryError: A file of it has gone meanwhile.
    """
    target.reset()
    summary, wrote = read_step_summary(source), dict[str, str]()
    for file, digest in sorted(summary["wrote"].items()):
        own = (target.folder / (source.run / file).relative_to(source.folder)).relative_to(target.run).as_posix()
        _link(source.run / file, target.run / own)
        wrote[own] = digest
    if source.name == target.name:
        _link(source.summary, target.summary)
    else:
        write_json(target.summary, {**summary, "wrote": wrote})


def _link(source: Path, target: Path) -> None:
    if not link_if_there(source, target):
        raise RunDirectoryError(f"`{source}` has gone meanwhile.")


def _siblings(context: Context, step: Step) -> Iterator[StepDirectory]:
    """Yield the steps of that name of all other runs of the same benchmark, algorithm and seed that have done it."""
    recipe, root = context.recipe, context.run.path.parents[3]
    places = [("*" if step.common else recipe.algorithm, step.name)]
    if step.origin:
        places.append((step.origin.recipe.algorithm, step.origin.step))
    for algorithm, name in places:
        for summary in sorted(root.glob(f"{recipe.benchmark}/*/{algorithm}/seed{recipe.seed}-*/{name}.json")):
            run = RunDirectory(summary.parent)
            # Runs of before there were steps have other files of these names.
            if run.path != context.run.path and run.start.exists():
                yield run.step(name)


def _identity_of(step: StepDirectory) -> str:
    """Return the identity of a step that is done; nothing where that cannot be read."""
    try:
        return read_step_summary(step)["identity"]
    except RunDirectoryError:
        return ""


def _began_alike(own: Context, twin: RunDirectory, step: Step) -> bool:
    """Return whether another run started from the same weights and has the same images and splits."""
    before, now = read_start(twin), read_start(own.run)
    # What algorithms have in common depends on nothing behind the encoder.
    same = before["sha256"] == now["sha256"] and (step.common or before["class_features"] == now["class_features"])
    return same and learned_from_these(own, twin)
