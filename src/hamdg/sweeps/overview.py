"""What `hamdg sweep --dry-run` and `--status` print: the runs of a sweep, how far they are and what is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hamdg import console
from hamdg.sweeps.live import summary
from hamdg.sweeps.plan import Todo
from hamdg.sweeps.status import State, counts, seconds_left
from hamdg.text import counted, duration


def show_plan(name: str, ledger: Path, todos: Sequence[Todo]) -> None:
    """Print the runs of a sweep and what would be done for each."""
    states = [todo.state for todo in todos]
    rows = [(*_cells(todo.state), todo.state.kind, todo.text or "\N{EN DASH}") for todo in todos]
    console.table((*_head(), "state", "to do"), rows, title=f"{name}: {counted(len(todos), 'run')}; ledger {ledger}")
    trainings = sum(todo.trains for todo in todos)
    controls = sum(len(todo.controls) for todo in todos)
    console.result(f"\n{summary(states, None, None)}; {trainings} to train, and {counted(controls, 'control')}")
    console.result_json(
        {
            "sweep": name,
            "ledger": ledger,
            "counts": counts(states),
            "trainings": trainings,
            "controls": controls,
            "runs": [
                {
                    **facts(todo.state),
                    "steps": todo.steps,
                    "trained_by": todo.trained_by,
                    "controls": todo.controls,
                    "processes": todo.processes,
                    "command": todo.state.job.command,
                }
                for todo in todos
            ],
        }
    )


def show_status(name: str, ledger: Path, states: Sequence[State]) -> None:
    """Print how far the runs of a sweep are, whoever makes them."""
    at_work = [state for state in states if state.kind == "running"]
    left = seconds_left([state for state in states if state.kind != "failed"], max(1, len(at_work)))
    console.result(f"{name}: {counted(len(states), 'run')}: {summary(states, None, left)}; ledger {ledger}")
    if at_work:
        now = time.time()
        rows = [(*_cells(state), duration(now - (state.since or now)), state.who) for state in at_work]
        console.table((*_head(), "for", "by"), rows, title="\nrunning")
    for state in states:
        if state.kind == "failed":
            where = f"; its traceback is in {state.traceback}" if state.traceback else ""
            console.result(f"failed: {state.job}: {state.reason}{where}")
    console.result_json(
        {
            "sweep": name,
            "ledger": ledger,
            "counts": counts(states),
            "seconds_left": left,
            "runs": [facts(state) for state in states],
        }
    )


def facts(state: State) -> dict[str, object]:
    """Return the state of a run as plain data, for programs."""
    job, path = state.job, state.job.directory
    return {
        "run": path,
        "hash": path.name.rpartition("-")[2],
        "variant": job.variant,
        "family": job.family,
        "draw": job.draw,
        "condition": job.condition,
        "held_out": job.recipe.held_out,
        "seed": job.recipe.seed,
        "state": state.kind,
        "error": state.reason,
        "traceback": state.traceback,
        "by": state.who,
        "since": state.since,
        "seconds": state.seconds,
    }


def _head() -> tuple[str, ...]:
    return ("run", "variant", "condition", "held out", "seed")


def _cells(state: State) -> tuple[str, ...]:
    job = state.job
    name = job.directory.name
    return (name, job.variant, job.condition, job.recipe.held_out, str(job.recipe.seed))
