"""`hamdg report`: the page of every run, or one page over many runs."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hamdg import console
from hamdg.commands.table import RULES, read_keys, read_where
from hamdg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hamdg.commands.given import Given
    from hamdg.report.collection import FoundRun
    from hamdg.report.tables.model import Table
    from hamdg.report.tables.options import Absent, TableOptions

SUMMARY = "write the report of one run or of several, or one page over many"
_TABLE_OPTIONS = ("title", "baseline", "metric", "rows", "models", "where", "select")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    what = "run directories or folders of them; with --out sweep files and names of sweeps, too"
    parser.add_argument("paths", nargs="+", metavar="RUNS", help=what)
    out = "write one page over all runs into this file, and no page of a single run"
    parser.add_argument("--out", metavar="FILE", help=out)
    parser.add_argument("--title", metavar="TEXT", help="with --out: the page's heading")
    baseline = "with --out: the row that the others are compared with (default: pooled fine-tuning, or the first row)"
    parser.add_argument("--baseline", metavar="ROW", help=baseline)
    parser.add_argument("--metric", metavar="METRIC", help="with --out: what is shown, as `hamdg table` takes it")
    rows = "with --out: what makes a row, as `hamdg table` takes it (default: variant, which is the label of a run)"
    parser.add_argument("--rows", metavar="KEYS", help=rows)
    models = "with --out: which models of each run are shown (default: zero_shot,result)"
    parser.add_argument("--models", metavar="KEYS", help=models)
    where = "with --out: leave out runs that say something else; can be repeated"
    parser.add_argument("--where", metavar="KEY=VALUE", action="append", help=where)
    select = f"with --out: choose among runs that differ in hyper-parameters: {', '.join(RULES)}"
    parser.add_argument("--select", metavar="RULE", choices=RULES, help=select)
    parser.epilog = "Example: hamdg report lightning_logs --out page.html"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the pages that the arguments ask for and return the exit code."""
    if arguments.out is not None:
        return _write_page(arguments)
    for name in _TABLE_OPTIONS:
        if getattr(arguments, name) is not None:
            raise ConfigError(f"`--{name}` is of the page over many runs; add `--out FILE` to write it.")
    runs = [run for path in arguments.paths for run in _finished_runs(Path(path))]

    from hamdg import report

    pages, left_out = [], []
    for run in runs:
        try:
            pages.append(report.build([run]))
        except DataError as error:
            if len(runs) == 1:
                raise
            console.warning(f"No page: {error}")
            left_out.append(run)
    console.result("\n".join(map(str, pages)))
    console.result_json({"pages": pages, "left_out": left_out})
    return 1 if left_out else 0


def _finished_runs(path: Path) -> list[Path]:
    """Return `path` if it is a run itself, else all finished runs below it."""
    from hamdg.files import every_folder

    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"`{path}` is no run; add `--out FILE` to write one page over the runs of a sweep file.")
    if not path.is_dir() or (path / "config.yaml").is_file():
        return [path]
    found = sorted(Path(folder) for folder, names in every_folder(path) if "record.json" in names)
    if not found:
        raise DataError(f"There is no finished run below `{path}`; start one with `hamdg run RECIPE`.")
    return found


def _write_page(arguments: argparse.Namespace) -> int:
    from hamdg.commands.given import given as read
    from hamdg.files import user_path, write_text
    from hamdg.report.many.page import Study, many_html, runs_of

    out = user_path(arguments.out, "--out")
    _check_place(out)
    given = read(arguments.paths, arguments.select)
    remarks = given.sentences()[len(given.problems) :]
    tables = _tables(arguments, given)
    images, undrawn = _images(arguments.paths)
    html = many_html(
        Study(
            title=_title(arguments) if given.is_sweep else arguments.title or "",
            tables=tables,
            problems=given.problems,
            absent=given.absent if given.is_sweep else (),
            remarks=[*remarks, *undrawn],
            images=images,
            pages=_pages(given.runs, out),
            command=_command(arguments),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, html)
    if count := len(given.problems):
        console.warning(f"{count} record{' is' if count == 1 else 's are'} left out; the page names them.")
    console.result(str(out))
    console.result_json({"page": out, "runs": len(runs_of(tables)), "left_out": [one.path for one in given.problems]})
    return 0


def _title(arguments: argparse.Namespace) -> str:
    """Return the heading that is asked for, or that of the only sweep file."""
    from hamdg.config.shipped import find_file
    from hamdg.sweeps.sweep_file import read_sweep

    if arguments.title or len(arguments.paths) > 1:
        return arguments.title or ""
    return read_sweep(find_file(arguments.paths[0], "sweep file")).title


def _images(paths: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the figures of those paths that are sweeps with one, by their titles, and why others are not drawn."""
    from hamdg.config.shipped import find_file
    from hamdg.sweeps.jobs import jobs_of
    from hamdg.sweeps.results import figure
    from hamdg.sweeps.sweep_file import read_sweep

    images, undrawn = {}, []
    for path in paths:
        if Path(path).is_dir() or Path(path).suffix == ".json":
            continue
        file = find_file(path, "sweep file")
        sweep = read_sweep(file)
        if sweep.figure is None:
            continue
        try:
            images[sweep.title or file.stem] = figure(file, sweep, jobs_of(sweep, file))
        except (ConfigError, DataError) as error:
            undrawn.append(f"The figure of `{path}` is not drawn: {error}")
    return images, undrawn


def _check_place(out: Path) -> None:
    """Raise if the page cannot be written, before thousands of records are read."""
    if out.is_dir():
        raise ConfigError(f"`--out {out}` is a folder; name the page itself, such as `{out / 'page.html'}`.")
    if out.suffix not in (".html", ".htm"):
        # Anything else may be a sweep file or a record, which the page would replace.
        raise ConfigError(f"`--out {out}` is not an HTML page; end its name in `.html`.")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"`--out {out}` cannot be written: `{above}` is a file; choose another place.")


def _tables(arguments: argparse.Namespace, given: Given) -> list[Table]:
    from dataclasses import replace

    from hamdg.report.tables.build import tabulate
    from hamdg.report.tables.measured import ZERO_SHOT
    from hamdg.report.tables.options import MODEL

    options = _options(arguments, given)
    absent = _with_models(given)
    tables = tabulate(given.runs, options, absent)
    if any(table.baseline for table in tables):
        return tables
    # A method without any number is nothing to compare with.
    rows = [
        head
        for table in tables
        for head, cells in zip(table.rows, table.cells, strict=True)
        if any(cell.mean is not None for cell in cells)
    ]
    trained = [head.label for head in rows if head.values.get(MODEL) != ZERO_SHOT]
    labels = [head.label for head in rows]
    if len(set(labels)) < 2:
        return tables
    first = (trained if len(set(trained)) > 1 else labels)[0]
    return tabulate(given.runs, replace(options, baseline=first), absent)


def _with_models(given: Given) -> list[Absent]:
    """Return the runs that are not there with the model that they would be made for, so that they have rows, too."""
    from dataclasses import replace

    from hamdg.report.tables.options import MODEL

    results = {run.summary.algorithm: run.summary.result["key"] for run in given.runs}
    results |= {run.summary.variant: run.summary.result["key"] for run in given.runs}
    found = []
    for one in given.absent:
        algorithm = one.values.get("algorithm", "")
        model = results.get(one.values.get("variant", ""), results.get(algorithm, algorithm))
        found.append(replace(one, values={**one.values, MODEL: model}))
    return found


def _options(arguments: argparse.Namespace, given: Given) -> TableOptions:
    from hamdg.report.tables.measured import ZERO_SHOT
    from hamdg.report.tables.options import RESULT, TableOptions

    has_start = any(row["key"] == ZERO_SHOT for run in given.runs for row in run.summary.rows)
    return TableOptions(
        rows=read_keys(arguments.rows, "--rows") or ("variant",),
        columns=("held_out",),
        metric=arguments.metric,
        models=read_keys(arguments.models, "--models") or ((ZERO_SHOT, RESULT) if has_start else (RESULT,)),
        where=read_where(arguments.where or ()),
        select=arguments.select,
        baseline=arguments.baseline or _control(given.runs),
        # The control may be none of the rows that are asked for.
        needs_baseline=bool(arguments.baseline),
        order=given.order,
    )


def _control(runs: Sequence[FoundRun]) -> str:
    """Return what the control's row is called; empty if it is not among the runs, or there is nothing else."""
    from hamdg.config.controls import CONTROL

    names = [run.summary.variant for run in runs if run.summary.algorithm == CONTROL]
    return names[0] if names and len({run.summary.variant for run in runs}) > 1 else ""


def _pages(runs: Sequence[FoundRun], out: Path) -> dict[Path, str]:
    """Return the addresses of the runs' own pages, as seen from the page over all of them."""
    here = out.absolute().parent
    pages = {run.path: run.path / "report.html" for run in runs}
    return {path: quote(os.path.relpath(page.absolute(), here)) for path, page in pages.items() if page.is_file()}


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that writes the page."""
    words = ["hamdg", "report", *arguments.paths]
    for name in ("out", *_TABLE_OPTIONS):
        value = getattr(arguments, name)
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}={one}" for one in values if one is not None]
    return shlex.join(words)
