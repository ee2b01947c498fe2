"""The page over many runs: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hamdg.report.collection import FoundRun, Problem
from hamdg.report.many.group import Group, group
from hamdg.report.rendering import render, source, style
from hamdg.report.table import percent
from hamdg.report.tables.measured import ZERO_SHOT
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import MODEL, Absent
from hamdg.text import counted, listed_in_words

# How the reason of a run begins that failed; all others have not been made, or not to their end.
FAILED = "failed"


@dataclass(frozen=True)
class Study:
    """What a page over many runs is made of.

    Args:
        title: Its heading; empty for one that says how many methods there are.
        tables: A table a benchmark and condition, with held-out domains as columns.
        problems: Records that are left out.
        absent: Runs that are not there, and why.
        remarks: What else is to be said of the runs, a sentence each.
        images: Images (SVG) of sweeps, by their titles.
        pages: Addresses of single runs' pages, by run directory.
        command: The command that writes the page.
    """

    title: str
    tables: Sequence[Table]
    problems: Sequence[Problem] = ()
    absent: Sequence[Absent] = ()
    remarks: Sequence[str] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[Path, str] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class _Run:
    label: str
    held_out: str
    seed: int
    result: str
    order: str
    path: Path
    link: str


@dataclass(frozen=True)
class _Gone:
    run: str
    reason: str
    details: str


def many_html(study: Study) -> str:
    """Return the whole page; parts without data are left out."""
    groups = [group(table, number) for number, table in enumerate(study.tables, 1)]
    runs = runs_of(study.tables)
    absent = sorted(study.absent, key=lambda one: not _is_failure(one))
    return render(
        "many.html",
        style=f"{style()}\n{source('many.css')}",
        script=source("many.js"),
        title=study.title or _title(study.tables, runs),
        eyebrow=_eyebrow(runs),
        groups=groups,
        images={title: _address(image) for title, image in study.images.items()},
        summary=_summary(study, groups),
        absent=[_Gone(_named(one), one.reason, one.details) for one in absent],
        problems=study.problems,
        remarks=_remarks(study, groups),
        facts=_facts(runs),
        runs=[_run(run, study.pages) for run in runs],
        command=study.command,
    )


def _address(image: str) -> str:
    """Return an image as an address that stands inside the page, where its style touches nothing else."""
    return f"data:image/svg+xml;base64,{base64.b64encode(image.encode()).decode()}"


def _title(tables: Sequence[Table], runs: Sequence[FoundRun]) -> str:
    trained = {row.label for table in tables for row in table.rows if row.values.get(MODEL) != ZERO_SHOT}
    where = listed_in_words(sorted({run.summary.benchmark for run in runs}))
    return f"{counted(len(trained), 'method')} on {where}"


def runs_of(tables: Sequence[Table]) -> list[FoundRun]:
    """Return every run of the tables once, by their paths in order."""
    found = {run.path: run for table in tables for row in table.cells for cell in row for run in cell.runs}
    return [found[path] for path in sorted(found)]


def _run(run: FoundRun, pages: Mapping[Path, str]) -> _Run:
    one = run.summary
    value = one.result["held_out"]
    label = one.variant or one.label or one.algorithm
    return _Run(label, one.held_out, one.seed, percent(value), f"{value:.9g}", run.path, pages.get(run.path, ""))


def _eyebrow(runs: Sequence[FoundRun]) -> str:
    benchmarks = sorted({run.summary.benchmark for run in runs})
    seeds = sorted({run.summary.seed for run in runs})
    counts = f"{counted(len(runs), 'run')} · seed{'s' * (len(seeds) > 1)} {_numbers(seeds)}"
    return f"hamdg · {', '.join(benchmarks)} · {counts}"


def _summary(study: Study, groups: Sequence[Group]) -> list[str]:
    """Return what is missing, in a few sentences for the top of the page."""
    failed = sum(map(_is_failure, study.absent))
    other = len(study.absent) - failed
    found = [f"{counted(failed, 'run')} failed."] if failed else []
    found += [f"{counted(other, 'run')} {'is' if other == 1 else 'are'} not there yet."] if other else []
    left = len(study.problems)
    found += [f"{counted(left, 'record')} {'is' if left == 1 else 'are'} left out."] if left else []
    several = len(groups) > 1
    return found + [f"{one.name}: {one.gaps}" if several else one.gaps for one in groups if one.gaps]


def _remarks(study: Study, groups: Sequence[Group]) -> list[str]:
    several = len(groups) > 1
    own = [f"{one.name}: {text}" if several else text for one in groups for text in one.table.problems]
    return list(dict.fromkeys([*own, *study.remarks]))


def _is_failure(one: Absent) -> bool:
    return one.reason.startswith(FAILED)


def _named(one: Absent) -> str:
    """Return which run is not there."""
    said = one.values
    parts = [said.get("variant") or said.get("algorithm", ""), said.get("held_out", "")]
    parts += [f"seed {said['seed']}"] if "seed" in said else []
    parts += [said["condition"]] if said.get("condition", "clean") != "clean" else []
    return ", ".join(part for part in parts if part) or "a run"


def _facts(runs: Sequence[FoundRun]) -> dict[str, str]:
    """Return what is needed to read the numbers and to repeat them."""
    images: dict[str, set[int]] = {}
    versions: dict[str, set[str]] = {}
    for run in runs:
        images.setdefault(run.summary.held_out, set()).add(run.summary.n_held_out)
        for name, version in run.summary.versions.items():
            versions.setdefault(name, set()).add(version)
    tested = [
        f"{domain} {' or '.join(f'{count:,}' for count in sorted(counts))}" for domain, counts in sorted(images.items())
    ]
    return {
        "Seeds": _numbers(sorted({run.summary.seed for run in runs})),
        "Images tested on": ", ".join(tested),
        "Versions": ", ".join(f"{name} {listed_in_words(sorted(found))}" for name, found in versions.items()),
    }


def _numbers(found: Sequence[int]) -> str:
    if len(found) > 3 and list(found) == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))
