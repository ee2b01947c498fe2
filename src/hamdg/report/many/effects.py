"""Effects of single keys: methods whose recipes differ from a reference's in one key, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.report.collection import FoundRun
from hamdg.report.estimates import paired_difference
from hamdg.report.many.differences import Differences, drawn, paired_by_seed
from hamdg.report.many.headline import main_cells
from hamdg.report.tables.model import Cell, Table, Trial

# Sections and keys of a recipe that name a run or say where and how it is made, not what it is.
_ASIDE = (
    "held_out",
    "seed",
    "label",
    "excluded",
    "runtime",
    "tracking",
    "controls",
    "evaluate",
    "data.root",
    "data.cache",
)
_DEFAULT = "default"


@dataclass(frozen=True)
class Change:
    """What differs between a method and its reference.

    Args:
        key: The key of the recipe.
        before: Its value in the reference.
        after: Its value here.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True)
class Effects:
    """All single changes of one reference, from the one that helps most to the one that harms most.

    Args:
        reference: The reference's label.
        changes: What was changed, one a line of `drawn`.
        drawn: The effects; a line's label is that of the method.
    """

    reference: str
    changes: Sequence[Change]
    drawn: Differences


def effects(table: Table) -> list[Effects]:
    """Return the effects of single keys, by reference; empty where no two methods differ in one key alone.

    A reference is the method from which most others differ in one key; methods that differ from it in several, or that
    are another model of the same runs, are left out.
    """
    cells = main_cells(table)
    settings = {row: found for row, cell in enumerate(cells) if (found := _settings(cell)) is not None}
    near = {
        row: {other: key for other in settings if (key := _only_key(settings[row], settings[other]))}
        for row in settings
    }
    result: list[Effects] = []
    taken: set[int] = set()
    # The baseline or an earlier row is the reference where several could be.
    for row in sorted(near, key=lambda row: (-len(near[row]), not table.rows[row].is_baseline, row)):
        own = {other: key for other, key in near[row].items() if other not in taken}
        if row in taken or not own:
            continue
        taken |= {row, *own}
        if (one := _effects(table, cells, row, own, settings)) is not None:
            result.append(one)
    return result


def recipe_keys(runs: Sequence[FoundRun]) -> dict[str, str]:
    """Return the keys of a recipe that all runs have in common, dotted, with their values as text."""
    flat = [_flat(run.summary.config) for run in runs]
    return {key: value for key, value in flat[0].items() if all(one.get(key) == value for one in flat)} if flat else {}


def _settings(cell: Cell) -> dict[str, str] | None:
    """Return what a row's runs are made by; `None` if the row is not what its runs were made for."""
    runs = list(cell.runs)
    if cell.mean is None or not runs:
        return None
    own = {Trial(run.summary.benchmark, run.summary.held_out, run.summary.seed): run.summary.result for run in runs}
    if any((found := own.get(trial)) is None or not _has(found, value) for trial, value in cell.values.items()):
        return None
    return recipe_keys(runs)


def _has(row: Mapping[str, object], value: float) -> bool:
    """Return whether a record's row has a value among its figures."""
    targets = row["targets"]
    figures = [row["held_out"], row["held_out_in80"], row["validation"]]
    if isinstance(targets, Mapping):
        figures += [figure for one in targets.values() for figure in one.values()]
        if len(targets) > 1:
            return True  # an average of several targets' figures is not among them
    return value in figures


def _flat(config: Mapping[str, object], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in config.items():
        key = f"{before}{name}"
        if key in _ASIDE or key.partition(".")[0] in _ASIDE:
            continue
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{key}.")
        else:
            found[key] = _written(value)
    return found


def _written(value: object) -> str:
    """Return a value as a recipe writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else str(value)


def _only_key(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    """Return the only key in which two recipes differ; empty if there is none, or there are several."""
    keys = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    # Another algorithm is another method, not a change of one.
    return keys.pop() if len(keys) == 1 and keys != {"algorithm"} else ""


def _effects(
    table: Table,
    cells: Sequence[Cell],
    row: int,
    others: Mapping[int, str],
    settings: Mapping[int, Mapping[str, str]],
) -> Effects | None:
    sign = -1.0 if table.metric.higher_is_better is False else 1.0
    reference = cells[row].values_by_seed
    found = []
    for other, key in others.items():
        own = cells[other].values_by_seed
        if (one := paired_difference(own, reference)) is not None:
            change = Change(key, settings[row].get(key, _DEFAULT), settings[other].get(key, _DEFAULT))
            found.append((change, (table.rows[other].label, one, paired_by_seed(own, reference))))
    found.sort(key=lambda pair: -sign * pair[1][1].mean)
    lines = drawn([line for _, line in found], table.metric)
    return None if lines is None else Effects(table.rows[row].label, [change for change, _ in found], lines)
