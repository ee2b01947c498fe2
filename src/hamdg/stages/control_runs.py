"""The runs that a run is compared with: runs share them, and only one process at a time works on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import sleep

from hamdg import console
from hamdg.errors import RunDirectoryError, RunInUseError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.manifest import check_not_records_only, check_seal
from hamdg.stages.context import Context
from hamdg.stages.tracking import experiment_of

# Seconds between two looks at a control that another process works on.
PAUSE = 1.0


def control_contexts(own: Context) -> list[Context]:
    """Return the contexts of the runs that a run is compared with, their directories not opened."""
    group = own.recipe.tracking.group or experiment_of(own.run)
    found = [replace(one, tracking=replace(one.tracking, group=group)) for one in own.algorithm.controls()]
    return [replace(own, recipe=recipe, run=RunDirectory(run_directory(recipe))) for recipe in found]


def check_sealed(control: Context) -> None:
    """Check that a control that is done has the files that it ended with.

    Raises:
        RunDirectoryError: If a file is missing or is another, or if it has records only.
    """
    if control.run.is_done:
        with _about(control):
            check_not_records_only(control.run)
            check_seal(control.run, f"restore it, or repeat the control by deleting `{control.run.path}`")


@contextmanager
def held(control: Context) -> Iterator[None]:
    """Keep other processes from working on a control while the block runs.

    Raises:
        RunInUseError: If another process works on it.
        RunDirectoryError: If its directory cannot be used.
    """
    with _about(control):
        run = RunDirectory.open(control.recipe)
    with run:
        yield


@contextmanager
def waited_for(control: Context) -> Iterator[None]:
    """Do as `held` does, as soon as no other process works on the control."""
    with ExitStack() as stack:
        announced = False
        while True:
            try:
                stack.enter_context(held(control))
                break
            except RunInUseError as error:
                if not announced:
                    console.note(f"waiting, as runs share their controls: {error}")
                announced = True
                sleep(PAUSE)
        yield


@contextmanager
def _about(control: Context) -> Iterator[None]:
    """Say that an error is a control's, and what does without it."""
    name = control.recipe.algorithm
    try:
        yield
    except RunDirectoryError as error:
        message = f"The {name.upper()} control: {error} `--controls.{name}=false` does without it."
        raise type(error)(message) from error
