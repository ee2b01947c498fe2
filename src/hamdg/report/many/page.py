"""The page over many runs: a single HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamdg.report.collection import FoundRun, Problem
from hamdg.report.many.group import group
from hamdg.report.rendering import render, source, style
from hamdg.report.tables.model import Table
from hamdg.text import listed_in_words


@dataclass(frozen=True)
class Failure:
    """A run that failed, or has not been made.

    Args:
        run: Which one.
        reason: Why, as a sentence.
        traceback: The file with its traceback; empty for none.
    """

    run: str
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class Study:
    """What a page over many runs is made of.

    Args:
        title: Its heading.
        tables: A table a benchmark and condition, with held-out domains as columns.
        problems: Records that are left out.
        failures: Runs that failed, if that is known.
        pages: Addresses of single runs' pages, by run directory.
    """

    title: str
    tables: Sequence[Table]
    problems: Sequence[Problem] = ()
    failures: Sequence[Failure] = ()
    pages: Mapping[Path, str] | None = None


@dataclass(frozen=True)
class _Run:
    label: str
    held_out: str
    seed: int
    result: str
    order: str
    path: Path
    link: str


def many_html(study: Study) -> str:
    """Return the whole page; parts without data are left out."""
    groups = [group(table, number) for number, table in enumerate(study.tables, 1)]
    runs = _all_runs(study)
    return render(
        "many.html",
        style=style() + "\n" + source("many.css"),
        script=source("many.js"),
        title=study.title,
        eyebrow=_eyebrow(runs),
        groups=groups,
        warnings=_warnings(study),
        failures=study.failures,
        problems=study.problems,
        failed_caption="Runs of the sweep that failed; the same command tries them again.",
        left_out_caption="Records that could not be read or would count twice; no number on this page is of them.",
        facts=_facts(runs),
        runs=[_run(run, study) for run in runs],
        runs_caption="Each run's own result on its held-out domain, in per cent.",
    )


def _all_runs(study: Study) -> list[FoundRun]:
    """Return every run of the tables once, in their order."""
    found = {run.path: run for table in study.tables for row in table.cells for cell in row for run in cell.runs}
    return [found[path] for path in sorted(found)]


def _run(run: FoundRun, study: Study) -> _Run:
    one = run.summary
    value = one.result["held_out"]
    return _Run(
        one.label or one.algorithm,
        one.held_out,
        one.seed,
        f"{100.0 * value:.1f}",
        f"{value:.9g}",
        run.path,
        (study.pages or {}).get(run.path, ""),
    )


def _eyebrow(runs: Sequence[FoundRun]) -> str:
    benchmarks = sorted({run.summary.benchmark for run in runs})
    seeds = sorted({run.summary.seed for run in runs})
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return f"hamdg · {', '.join(benchmarks)} · {count} · seed{'' if len(seeds) == 1 else 's'} {_numbers(seeds)}"


def _numbers(found: Sequence[int]) -> str:
    if len(found) > 3 and list(found) == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def _warnings(study: Study) -> list[tuple[str, str]]:
    found = []
    if study.failures:
        count = len(study.failures)
        found.append((f"{count} run{'' if count == 1 else 's'} failed.", "failed"))
    if study.problems:
        count = len(study.problems)
        found.append((f"{count} record{' is' if count == 1 else 's are'} left out.", "failed"))
    return found + [(text, "") for text in dict.fromkeys(text for table in study.tables for text in table.problems)]


def _facts(runs: Sequence[FoundRun]) -> dict[str, str]:
    """Return what is needed to read the numbers and to repeat them."""
    images: dict[str, set[int]] = {}
    versions: dict[str, set[str]] = {}
    for run in runs:
        images.setdefault(run.summary.held_out, set()).add(run.summary.n_held_out)
        for name, version in run.summary.versions.items():
            versions.setdefault(name, set()).add(version)
    tested = ", ".join(
        f"{domain} {' or '.join(f'{count:,}' for count in sorted(counts))}" for domain, counts in sorted(images.items())
    )
    return {
        "Seeds": _numbers(sorted({run.summary.seed for run in runs})),
        "Images tested on": tested,
        "Versions": ", ".join(f"{name} {listed_in_words(sorted(found))}" for name, found in versions.items()),
    }
