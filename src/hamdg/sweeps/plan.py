"""What a sweep would do: each run with what is left of it, who trains for whom, and which controls are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamdg.config.recipe import Recipe
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import EVALUATE, VALIDATE
from hamdg.sweeps.jobs import by_training
from hamdg.sweeps.status import State


@dataclass(frozen=True)
class Todo:
    """What is left of a run.

    Args:
        state: How far it is.
        steps: The steps that are left, `evaluate` last.
        trained_by: The directory of the run whose training it takes over; empty if it trains itself, or is trained.
        controls: The directories of the controls that it trains.
    """

    state: State
    steps: tuple[str, ...] = ()
    trained_by: str = ""
    controls: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.state.job.directory

    @property
    def trains(self) -> bool:
        """Whether it trains."""
        return not self.trained_by and bool({*_training(self.state.job.recipe)} & {*self.steps})

    @property
    def processes(self) -> int:
        """How many processes train it together."""
        return self.state.job.recipe.runtime.processes

    @property
    def text(self) -> str:
        """What is left, in words."""
        taken = set(_training(self.state.job.recipe)) if self.trained_by else set()
        parts = [", ".join(step for step in self.steps if step not in taken)]
        parts += [f"{self.processes} processes"] if self.trains and self.processes > 1 else []
        parts += [f"training of {Path(self.trained_by).name}"] if self.trained_by else []
        parts += [f"control {Path(name).parent.name} {Path(name).name}" for name in self.controls]
        return "; ".join(part for part in parts if part)


def todos(states: Sequence[State]) -> list[Todo]:
    """Return what is left of each run of a sweep, in its order."""
    groups = by_training([state.job for state in states])
    trainers = {number: _trainer(states, numbers) for numbers in groups.values() for number in numbers}
    found, controls = [], {str(state.job.directory) for state in states}
    for number, state in enumerate(states):
        if state.kind == "done":
            found.append(Todo(state))
            continue
        recipe = state.job.recipe
        steps = _steps_left(recipe, state.job.until)
        own = [name for name in _controls_left(recipe) if name not in controls]
        controls |= {*own}
        trainer = trainers[number]
        taken = trainer != number and bool({*_training(recipe)} & {*steps})
        by = str(states[trainer].job.directory) if taken else ""
        found.append(Todo(state, steps, by, tuple(own)))
    return found


def _trainer(states: Sequence[State], numbers: Sequence[int]) -> int:
    """Return the number of the run that trains, or has trained, for all that share a training."""
    trained = [one for one in numbers if not {*_training(states[one].job.recipe)} & {*_open(states[one].job.recipe)}]
    # What is done without being trained was unpacked, and has records only.
    left = [one for one in numbers if states[one].kind != "done"]
    return (trained or left or list(numbers))[0]


def _steps_left(recipe: Recipe, until: str) -> tuple[str, ...]:
    """Return the steps that are left, those after the algorithm's own, too."""
    names, open_steps = _names(recipe), _open(recipe)
    if until in names:
        return tuple(name for name in open_steps if names.index(name) <= names.index(until))
    run = RunDirectory(run_directory(recipe))
    if until == VALIDATE:
        return (*open_steps, *(() if run.validation.is_file() else (VALIDATE,)))
    return (*open_steps, EVALUATE)


def _open(recipe: Recipe) -> list[str]:
    run = RunDirectory(run_directory(recipe))
    return [name for name in _names(recipe) if not run.step(name).is_done]


def _names(recipe: Recipe) -> list[str]:
    from hamdg.stages.discovery import algorithm_of

    return [step.name for step in algorithm_of(recipe).steps()]


def _training(recipe: Recipe) -> list[str]:
    """Return the steps that runs share which differ in the merge alone."""
    from hamdg.stages.discovery import algorithm_of

    return [step.name for step in algorithm_of(recipe).steps() if "merge" not in step.sections]


def _controls_left(recipe: Recipe) -> list[str]:
    """Return the directories of a run's controls that are not done."""
    from hamdg.stages.discovery import algorithm_of

    places = [run_directory(control) for control in algorithm_of(recipe).controls()]
    return [str(place) for place in places if not RunDirectory(place).is_done]
