"""`hamdg table`: many runs in one table, from run directories or from a sweep file."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.commands.given import Given
    from hamdg.report.tables.model import Table
    from hamdg.report.tables.options import TableOptions

SUMMARY = "tabulate many runs: means over seeds, differences, what is missing"
FORMATS = ("text", "md", "latex", "csv", "json")
RULES = ("validation", "leave_one_out", "oracle")
ERRORS = ("sample", "population")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    what = "run directories, folders of them, sweep files, or names of sweeps that come with hamdg"
    parser.add_argument("paths", nargs="+", metavar="RUNS", help=what)
    keys = "`algorithm`, `label`, `variant`, `held_out`, `seed`, `benchmark`, `condition`, `model`, or keys of a recipe"
    parser.add_argument("--rows", metavar="KEYS", help=f"what makes a row: {keys}, joined by commas")
    parser.add_argument("--columns", metavar="KEYS", help="what makes a column (default: held_out)")
    metric = "`accuracy` (the default), `accuracy_in80`, `per_class_accuracy`, `validation`, `leave_one_out`, ..."
    parser.add_argument("--metric", metavar="METRIC", help=f"what is shown: {metric}")
    models = "models of each run, by the keys of its table: `result` (the default), `all`, `zero_shot`, `source/*`, ..."
    parser.add_argument("--models", metavar="KEYS", default="result", help=models)
    where = "leave out runs that say something else; several values of one key by repeating it"
    parser.add_argument("--where", metavar="KEY=VALUE", action="append", default=[], help=where)
    select = f"choose among runs that differ in hyper-parameters, for each seed: {', '.join(RULES)}"
    parser.add_argument("--select", metavar="RULE", choices=RULES, help=select)
    parser.add_argument("--baseline", metavar="ROW", default="", help="compare the rows with this one, pair by pair")
    costs = "add columns of what rows cost: training (time, images; over that of --baseline), passes for a test image"
    parser.add_argument("--costs", action="store_true", help=costs)
    cosines = "add a column of how alike the merged source models are: the mean cosine of their changes since the start"
    parser.add_argument("--cosines", action="store_true", help=cosines)
    error = "standard error: of a sample (n - 1), or population as DomainBed has it (n) (default: sample)"
    parser.add_argument("--error", metavar="ERROR", choices=ERRORS, default="sample", help=error)
    parser.add_argument(
        "--format", metavar="FORMAT", choices=FORMATS, default="text", help=f"{', '.join(FORMATS)} (default: text)"
    )
    parser.epilog = "Example: hamdg table lightning_logs --rows algorithm --columns held_out --format md"
    parser.set_defaults(handler=run)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Look for no garbage: thousands of records that live until the end are not looked through again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collector()
def run(arguments: argparse.Namespace) -> int:
    """Print the tables that the arguments ask for and return the exit code."""
    from hamdg.commands.given import given as read
    from hamdg.report.tables.build import tabulate
    from hamdg.report.tables.metrics import LEAVE_ONE_OUT

    given = read(arguments.paths, arguments.select, pairs=arguments.metric == LEAVE_ONE_OUT)
    tables = tabulate(given.runs, _options(arguments, given), given.absent)
    # What is wrong with the input as a whole stands below the last table.
    tables[-1] = replace(tables[-1], problems=[*tables[-1].problems, *given.sentences()])
    console.result(_writer(arguments.format)(tables))
    if console.wants_json():
        from hamdg.report.tables.long import as_data

        console.result_json(as_data(tables))
    return 0


def _options(arguments: argparse.Namespace, given: Given) -> TableOptions:
    from hamdg.report.tables.options import TableOptions

    rows = ("variant",) if given.is_sweep else ("algorithm",)
    return TableOptions(
        rows=read_keys(arguments.rows, "--rows") or rows,
        columns=read_keys(arguments.columns, "--columns"),
        metric=arguments.metric,
        models=read_keys(arguments.models, "--models") or ("result",),
        where=read_where(arguments.where),
        select=arguments.select,
        baseline=arguments.baseline,
        error=arguments.error,
        order=given.order,
        costs=arguments.costs,
        cosines=arguments.cosines,
    )


def read_keys(text: str | None, option: str) -> tuple[str, ...] | None:
    """Return the keys that an option is given, joined by commas; `None` where it is left out."""
    if text is None:
        return None
    keys = tuple(key.strip() for key in text.split(","))
    if "" in keys:
        raise ConfigError(f"A key of `{option} {text}` is empty; give keys joined by commas.")
    if twice := [key for number, key in enumerate(keys) if key in keys[:number]]:
        raise ConfigError(f"`{option} {text}` has `{twice[0]}` twice; give it once.")
    return keys


def read_where(given: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return what runs have to say, from `KEY=VALUE` texts."""
    found: dict[str, list[str]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"`--where {text}` is not `KEY=VALUE`, such as `--where benchmark=pacs`.")
        found.setdefault(key.strip(), []).append(value)
    return found


def _writer(name: str) -> Callable[[Sequence[Table]], str]:
    if name == "text":
        from hamdg.report.tables.plain import text

        return text
    if name in ("md", "latex"):
        from hamdg.report.tables import markup

        return markup.markdown if name == "md" else markup.latex
    from hamdg.report.tables import long

    return long.as_csv if name == "csv" else long.as_json
