"""The runs of a sweep for tables: those that are finished, and what became of the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hamdg.config.shipped import find_file
from hamdg.errors import DataError
from hamdg.files import user_path
from hamdg.report.collection import RECORD, FoundRun
from hamdg.report.tables.options import Absent
from hamdg.runs.identity import run_directory
from hamdg.runs.summary import read_summary
from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.sweep_file import read_sweep
from hamdg.text import excerpt


@dataclass(frozen=True)
class SweepRuns:
    """The runs of a sweep.

    Args:
        runs: Finished ones, with their variant and condition.
        absent: The others, and why they are not there.
        problems: Damaged records, a sentence each.
        order: In which order the sweep names variants, conditions and held-out domains.
    """

    runs: Sequence[FoundRun]
    absent: Sequence[Absent]
    problems: Sequence[str]
    order: dict[str, list[str]]


def sweep_runs(name: str, select: str | None) -> SweepRuns:
    """Return the runs of a sweep.

    Args:
        name: The sweep file, or the name of one that comes with hamdg.
        select: The rule that chooses among its draws, which are one variant then; `None` for none.

    Raises:
        ConfigError: The sweep file or one of its recipes is wrong.
    """
    file = find_file(name, "sweep file")
    sweep = read_sweep(file)
    failures = _failures(user_path(sweep.root, "root") / "sweeps", file.stem)
    runs, absent, problems, order = [], [], [], dict[str, list[str]]()
    for job in jobs_of(sweep, file, threads=0):
        if job.is_pair and select != "leave_one_out":
            continue
        said = _said(job, select)
        if not job.is_pair:
            _note(order, {key: said[key] for key in ("variant", "condition", "held_out")})
        path = run_directory(job.recipe)
        if not (path / RECORD).is_file():
            failure = failures.get((job.condition, job.variant, job.recipe.held_out, job.recipe.seed), "")
            absent.append(Absent(said, _state(path, failure)))
            continue
        try:
            found = read_summary(path)
        except DataError as error:
            absent.append(Absent(said, f"damaged record: `{path}`"))
            problems.append(f"Left out: {error}")
            continue
        runs.append(FoundRun(path, replace(found, variant=said["variant"], condition=job.condition)))
    return SweepRuns(runs, absent, problems, order)


def _state(run: Path, failure: str) -> str:
    if failure:
        return f"failed: {excerpt(failure, 200)}"
    return "not finished" if run.is_dir() else "not begun"


def _said(job: Job, select: str | None) -> dict[str, str]:
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


def _failures(ledgers: Path, stem: str) -> dict[tuple[object, ...], str]:
    """Return why runs failed, by condition, variant, held-out domain and seed; of several tries the last one counts."""
    found: dict[tuple[object, ...], str] = {}
    for ledger in sorted(ledgers.glob(f"{stem}-*.jsonl"), key=lambda path: path.stat().st_mtime):
        for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
            # The last line may be cut off where the process was killed.
            with suppress(ValueError):
                entry = json.loads(line)
                found[tuple(entry.get(name) for name in _KEYS)] = entry.get("error", "")
    return found


_KEYS = ("condition", "variant", "held_out", "seed")
