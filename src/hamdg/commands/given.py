"""The runs that commands are given: run directories, folders of them, and sweep files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg.config.shipped import find_file
from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import RECORD, FoundRun, Problem, collect
from hamdg.report.tables.missing import absent_of
from hamdg.report.tables.options import Absent, Rule
from hamdg.runs.record import EVALUATE
from hamdg.runs.summary import read_summary
from hamdg.text import excerpt

if TYPE_CHECKING:
    from hamdg.sweeps.jobs import Job
    from hamdg.sweeps.status import State


@dataclass
class Given:
    """What the paths of a command lead to.

    Args:
        runs: Finished runs; those of a sweep with their variant and condition.
        absent: Runs that are not there, and why.
        problems: Records that are left out.
        unfinished: How many directories of runs have no record.
        order: In which order values of a key come.
        is_sweep: Whether all runs are of sweeps.
    """

    runs: list[FoundRun] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unfinished: int = 0
    order: dict[str, list[str]] = field(default_factory=dict)
    is_sweep: bool = False

    def sentences(self) -> list[str]:
        """Return what is left out, in sentences."""
        found = [f"Left out: {problem.reason}" for problem in self.problems]
        runs = "1 run is" if self.unfinished == 1 else f"{self.unfinished} runs are"
        return found + [f"{runs} not finished."] * (self.unfinished > 0)


def given(paths: Sequence[str], select: Rule | None = None, *, pairs: bool = False) -> Given:
    """Return the runs that some paths lead to.

    Args:
        paths: Run directories, folders of them, paths of a `record.json`, sweep files, names of sweeps that come with
            hamdg.
        select: The rule that chooses among the draws of a sweep, which are one variant then; `None` for none.
        pairs: Whether the runs of a sweep with a second domain held out are wanted, too.

    Raises:
        ConfigError: A path is empty, or a sweep file or one of its recipes is wrong.
        DataError: A path is missing, or there is no readable record.
    """
    if not all(paths):
        raise ConfigError(
            "A path is empty; give run directories, folders of them, or sweep files (`.` for this folder)."
        )
    folders = [Path(path) for path in paths if Path(path).is_dir() or Path(path).suffix == ".json"]
    found = Given(is_sweep=not folders)
    if folders:
        collected = collect(folders)
        found.runs += collected.runs
        found.absent += absent_of(collected)
        found.problems += collected.problems
        found.unfinished = len(collected.unfinished)
    sweeps = [path for path in paths if Path(path) not in folders]
    for sweep in sweeps:
        _add_sweep(found, sweep, select, pairs=pairs or select == "leave_one_out")
    if not found.runs:
        name = sweeps[0]
        more = f": {found.problems[0].reason}" if found.problems else f"; start them with `hamdg sweep {name}`."
        raise DataError(f"No run of `{name}` has a readable record{more}")
    return found


def _add_sweep(found: Given, name: str, select: Rule | None, *, pairs: bool) -> None:
    from hamdg.runs.identity import run_directory
    from hamdg.sweeps.jobs import jobs_of
    from hamdg.sweeps.status import states_of
    from hamdg.sweeps.sweep_file import read_sweep

    file = find_file(name, "sweep file", "folder of runs")
    sweep = read_sweep(file)
    if sweep.until != EVALUATE:
        raise DataError(
            f"The runs of `{name}` end with `{sweep.until}` and have no record; `hamdg sweep {name}` prints what they "
            "say of source validation."
        )
    for state in states_of(sweep, file, jobs_of(sweep, file)):
        job = state.job
        if job.is_pair and not pairs:
            continue
        said = _said(job, select)
        if not job.is_pair:
            _note(found.order, {key: said[key] for key in ("variant", "condition", "held_out")})
        path = run_directory(job.recipe)
        if not (path / RECORD).is_file():
            if job.is_pair and select is None:  # what lacks it says so
                continue
            found.absent.append(Absent(said, _reason(state), state.traceback))
            continue
        try:
            summary = read_summary(path)
        except DataError as error:
            found.absent.append(Absent(said, f"damaged record: `{path}`"))
            found.problems.append(Problem(path, str(error)))
            continue
        found.runs.append(FoundRun(path, replace(summary, variant=said["variant"], condition=job.condition)))


def _reason(state: State) -> str:
    """Return why a run is not there, in words."""
    if state.kind == "failed":
        return f"failed: {excerpt(state.reason, 200)}"
    words = {"running": f"running ({state.who})", "waiting": "not begun", "done": "without a record"}
    return words.get(state.kind, "not finished")


def _said(job: Job, select: Rule | None) -> dict[str, str]:
    """Return what tables sort a job by, as text."""
    recipe = job.recipe
    return {
        "benchmark": recipe.benchmark,
        "held_out": recipe.held_out,
        "algorithm": recipe.algorithm,
        "seed": str(recipe.seed),
        "variant": job.variant if select is None else job.family,
        "condition": job.condition,
    }


def _note(order: dict[str, list[str]], said: dict[str, str]) -> None:
    for key, value in said.items():
        if value not in order.setdefault(key, []):
            order[key].append(value)
