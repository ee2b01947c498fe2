"""What is missing from a table, or not the same in all of its rows, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hamdg.report.tables.headings import Values
from hamdg.report.tables.means import Unit
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.missing import why_missing
from hamdg.report.tables.mixing import describe, differences
from hamdg.report.tables.model import Cell, Heading
from hamdg.report.tables.options import Absent, Rule
from hamdg.text import capitalized, counted, listed


def no_whole_seed(numbers: Iterable[Measured], units: Iterable[Unit]) -> str:
    """Return why no seed can be averaged: what it would need to have, and no seed has."""
    there = {(one.trial.benchmark, one.trial.held_out) for one in numbers}
    lacking = sorted(held_out for benchmark, held_out in set(units) - there)
    return f"no run on {listed(lacking, 3)}" if lacking else "no seed has all held-out domains"


def without_numbers(absent: Sequence[Absent], keys: Sequence[str], places: Collection[Values]) -> list[str]:
    """Return a sentence for each benchmark and condition that has no table, because none of its runs is there.

    Args:
        absent: Runs that are not there.
        keys: What makes tables of their own.
        places: What those say that have one.
    """
    found: dict[Values, list[Absent]] = {}
    for one in absent:
        if all(key in one.values for key in keys):
            found.setdefault(tuple(one.values[key] for key in keys), []).append(one)
    return [
        f"No run of {', '.join(f'`{value}`' for value in place)}: {why_missing({}, own)}."
        for place, own in found.items()
        if place not in places
    ]


def left_out(numbers: Sequence[Measured], kept: Sequence[Measured], rule: Rule | None) -> list[str]:
    """Return a sentence for each reason why runs with a second domain held out are not shown.

    Args:
        numbers: All numbers of a table.
        kept: Those that are shown.
        rule: How runs are chosen; `None` where they are not.
    """
    shown = {one.run.path for one in kept}
    gone = {one.run.path: len(one.run.summary.targets) for one in numbers if one.run.path not in shown}
    joint = sum(count > 1 for count in gone.values()) if rule is None else 0
    sentences = []
    if others := len(gone) - joint:
        sentences.append(
            f"{counted(others, 'run')} with a second domain held out {'is' if others == 1 else 'are'} for "
            f"leave-one-domain-out cross-validation; {'it is' if others == 1 else 'they are'} not shown."
        )
    if joint:
        sentences.append(
            f"{counted(joint, 'run')} with several domains held out at once {'is' if joint == 1 else 'are'} no part of "
            "means over single ones, and not shown."
        )
    return sentences


def unequal(
    rows: Sequence[tuple[Heading, Sequence[Measured]]], places: Sequence[tuple[str, ...]], keys: Sequence[str]
) -> list[str]:
    """Return a sentence about what rows that are compared differ in beside their names: images, model, steps, ..."""
    sentences = []
    for place in dict.fromkeys(places):
        own = [numbers for (_, numbers), one in zip(rows, places, strict=True) if one == place]
        # The model that training started from has no training to differ in.
        flat = [one for numbers in own for one in numbers if not one.is_start]
        if len(own) < 2 or not flat:
            continue
        found = {key: values for key, values in differences(flat, keys).items() if key in _FIXED}
        if found:
            where = f"{', '.join(place)}: " if any(place) else ""
            sentences.append(f"{where}The rows differ in {describe(found)}.")
    return sentences


# What methods are expected to have in common when they are compared.
_FIXED = (
    *("model.name", "model.weights", "model.normalization", "model.image_size", "model.statistics", "model.text_head"),
    *("model.text_tower", "model.head"),
    *("prompts", "classes", "images"),
    *("data.subset", "data.shots", "data.validation_fraction", "data.truncated", "data.store", "data.domains"),
    *("train.steps", "data.batch_size", "data.augment", "evaluate.average"),
)


def gaps(heads: Sequence[Heading], columns: Sequence[Heading], cells: Sequence[Sequence[Cell]]) -> list[str]:
    """Return a sentence for every reason why numbers are missing or of fewer seeds; averages follow their columns."""
    found: dict[str, list[str]] = {}
    for head, row in zip(heads, cells, strict=True):
        for column, cell in zip(columns, row, strict=True):
            where = f"{head.label} on {column.label}"
            if cell.missing and not (column.is_average and any(one.missing for one in row if one is not cell)):
                found.setdefault(f"missing: {cell.missing}", []).append(where)
            elif cell.incomplete and not column.is_average:
                found.setdefault(f"fewer seeds: {cell.incomplete}", []).append(where)
    return [f"{capitalized(reason)}: {_few(places)}." for reason, places in found.items()]


def _few(places: Sequence[str]) -> str:
    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
    return ", ".join(places[:4]) + more
