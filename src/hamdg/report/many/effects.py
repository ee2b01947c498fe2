"""Effects of single keys: methods whose recipes differ from a reference's in one key, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.report.collection import FoundRun
from hamdg.report.estimates import paired_difference
from hamdg.report.many.differences import Differences, drawn, paired
from hamdg.report.many.headline import main_cells
from hamdg.report.tables.model import Cell, Heading, Table
from hamdg.report.tables.options import MODEL
from hamdg.runs.settings import is_aside, is_used, settings, text_of

# Keys of a recipe that name a run, or say what it is tested on.
_NAMES = ("held_out", "seed", "label", "excluded")
_DEFAULT, _ALGORITHM = "default", "algorithm"


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
    keys = {row: found for row, cell in enumerate(cells) if (found := _made_by(table.rows[row], cell)) is not None}
    near = {row: {other: key for other in keys if (key := _only_key(keys[row], keys[other]))} for row in keys}
    result: list[Effects] = []
    taken: set[int] = set()
    # The baseline or an earlier row is the reference where several could be.
    for row in sorted(near, key=lambda row: (-len(near[row]), not table.rows[row].is_baseline, row)):
        own = {other: key for other, key in near[row].items() if other not in taken}
        if row in taken or not own:
            continue
        taken |= {row, *own}
        if (one := _effects(table, cells, row, own, keys)) is not None:
            result.append(one)
    return result


def recipe_keys(runs: Sequence[FoundRun]) -> dict[str, str]:
    """Return the keys of a recipe that define some runs and have the same value in all, dotted, as text."""
    found = [_keys(run) for run in runs]
    return {key: value for key, value in found[0].items() if all(one.get(key) == value for one in found)}


def _made_by(head: Heading, cell: Cell) -> dict[str, str] | None:
    """Return what a row's runs are made by; `None` if the row is not what its runs were made for."""
    runs = list(cell.runs)
    if cell.mean is None or not runs or any(head.values.get(MODEL, one) != one for one in _results(runs)):
        return None
    return recipe_keys(runs)


def _results(runs: Sequence[FoundRun]) -> set[str]:
    """Return the keys of the models that runs were made for."""
    return {run.summary.result["key"] for run in runs}


def _keys(run: FoundRun) -> dict[str, str]:
    algorithm = run.summary.algorithm
    found = {
        key: text_of(value)
        for key, value in settings(run.summary.config, algorithm).items()
        if is_used(key, algorithm) and key not in _NAMES and not is_aside(key)
    }
    return found | {_ALGORITHM: algorithm}


def _only_key(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    """Return the only key in which two recipes differ; empty if there is none, or there are several."""
    keys = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    # Another algorithm is another method, not a change of one.
    return keys.pop() if len(keys) == 1 and keys != {_ALGORITHM} else ""


def _effects(
    table: Table,
    cells: Sequence[Cell],
    row: int,
    others: Mapping[int, str],
    keys: Mapping[int, Mapping[str, str]],
) -> Effects | None:
    sign = -1.0 if table.metric.higher_is_better is False else 1.0
    reference = cells[row].values
    found = []
    for other, key in others.items():
        own = cells[other].values
        if (one := paired_difference(own, reference)) is not None:
            change = Change(key, keys[row].get(key, _DEFAULT), keys[other].get(key, _DEFAULT))
            found.append((change, (table.rows[other].label, one, paired(own, reference))))
    found.sort(key=lambda pair: -sign * pair[1][1].mean)
    lines = drawn([line for _, line in found], table.metric)
    return None if lines is None else Effects(table.rows[row].label, [change for change, _ in found], lines)
