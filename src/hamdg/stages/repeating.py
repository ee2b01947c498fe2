"""Makes a part of a run that is there again: its merge, as another run, or its evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hamdg.cohort.place import joined_place
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, DataError, RunDirectoryError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.manifest import check_not_records_only
from hamdg.runs.record import read_record
from hamdg.runs.steps import check_step
from hamdg.stages import pipeline
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.pipeline import trained_steps
from hamdg.stages.processes import joined
from hamdg.stages.start import check_layout

# Nothing is left to train, so what a run was trained with need not be there.
_ALONE = ("--runtime.devices=1", "--runtime.nodes=1")


def remerge(path: Path, overrides: Sequence[str]) -> Path:
    """Merge the histories of a trained run again, with other merge options, as a run of its own.

    Of several processes that `srun` or `torchrun` started, the first one does, and the others wait for it.

    Args:
        path: The trained run.
        overrides: `--merge.key=value` arguments, and others that make no other run; another `--merge.method` starts
            from its own defaults.

    Returns:
        Path of the new run's `record.json`.
    """
    recipe = _asked(RunDirectory.find(path), overrides)
    with joined(recipe.runtime) as first:
        return _remerged(path, overrides) if first else RunDirectory(run_directory(recipe)).record


def _remerged(path: Path, overrides: Sequence[str]) -> Path:
    with RunDirectory.hold(path) as source:
        own = trained_recipe(source)
        recipe = _asked(source, overrides)
        if run_directory(recipe) == run_directory(own):
            raise ConfigError(f"`{path}` is merged with these very options; give other `--merge.*` ones.")
    command = shlex.join(["hamdg", "merge", str(path), *overrides])
    return pipeline.run(recipe, command=command, trained=RunDirectory(path))


def trained_recipe(run: RunDirectory) -> Recipe:
    """Return the recipe of a run, held, whose histories are there to be merged.

    Raises:
        ConfigError: It is not trained, or merges nothing.
        RunDirectoryError: A file that its training wrote is missing or another.
    """
    own = _recipe_at(run)
    _check_files(run)
    for name in trained_steps(own):
        if not run.step(name).is_done:
            raise ConfigError(f"`{run.path}` is not trained yet; finish it with `hamdg run` first.")
        check_step(run, run.step(name))
    if "merge" not in own.settings.uses:
        raise ConfigError(f"`{run.path}` is a run of `{own.algorithm}`, which merges nothing by the section `merge`.")
    return replace(own, runtime=replace(own.runtime, devices=1, nodes=1))


def reevaluate(path: Path, overrides: Sequence[str] = ()) -> Path:
    """Evaluate a merged run again and write its record and report again.

    Of several processes that `srun` or `torchrun` started, the first one does, and the others wait for it.

    Args:
        path: The run.
        overrides: `--evaluate.key=value` arguments, and others that make no other run.

    Returns:
        Path of the run's `record.json`.
    """
    recipe = _asked(RunDirectory.find(path), overrides)
    with joined(recipe.runtime) as first:
        return _reevaluated(path, overrides) if first else RunDirectory(run_directory(recipe)).record


def _reevaluated(path: Path, overrides: Sequence[str]) -> Path:
    with RunDirectory.hold(path) as found:
        own, recipe = _recipe_at(found), _asked(found, overrides)
        if run_directory(recipe) != run_directory(own):
            raise ConfigError(
                f"`{' '.join(overrides)}` would make another run of `{path}`; an evaluation takes keys of `evaluate`, "
                "`runtime` and `tracking` alone."
            )
        _check_files(found)
        if not found.is_done and not all(found.step(step.name).is_done for step in algorithm_of(recipe).steps()):
            raise ConfigError(f"`{path}` has not done all its steps yet; finish it with `hamdg run` first.")
        command = _command_of(found) or shlex.join(["hamdg", "evaluate", str(path)])
    return pipeline.run(recipe, command=command, again=True)


def _asked(run: RunDirectory, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of a run with overrides, below the root that it lies below now.

    Raises:
        ConfigError: An override is wrong, or names another root.
    """
    if any(override.startswith("--runtime.root") for override in overrides):
        raise ConfigError(
            f"What is made of `{run.path}` lies below the same root; leave `--runtime.root` out, or copy the "
            "whole root and name the run in there."
        )
    alone = () if joined_place() else _ALONE
    return read_recipe(run.config, [*alone, *overrides, f"--runtime.root={_recipe_at(run).runtime.root}"])


def _check_files(run: RunDirectory) -> None:
    """Refuse a run of which parts cannot be made again.

    Raises:
        RunDirectoryError: It has records only, or files of an earlier version.
    """
    check_not_records_only(run, f"`{_command_of(run)}`")
    check_layout(run)


def _command_of(run: RunDirectory) -> str:
    """Return the command in a run's record; nothing if there is none, or one that cannot be read."""
    try:
        return read_record(run.record)["command"]
    except DataError:
        return ""


def _recipe_at(run: RunDirectory) -> Recipe:
    """Return the recipe of a run with the root that it lies below now: folders of runs may be moved.

    Raises:
        RunDirectoryError: If the directory itself was renamed, so that its recipe leads elsewhere.
    """
    recipe, place = run.recipe(), run.path.resolve()
    if run_directory(recipe).resolve() == place:
        return recipe
    moved = replace(recipe, runtime=replace(recipe.runtime, root=str(place.parents[min(3, len(place.parents) - 1)])))
    if run_directory(moved) != place:
        raise RunDirectoryError(
            f"`{run.path}` does not lie where its recipe belongs, which is `{run_directory(moved)}`; "
            "give it back that name, or repeat the run."
        )
    return moved
