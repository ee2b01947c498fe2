"""Which rows of a sweep's runs enter its tables, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hamdg.report.aggregate import RowChoice, condition_of, row_accuracy, variant_of
from hamdg.report.table import footnote_names, qualified
from hamdg.runs.record import Record

# (condition, held-out domain, seed) -> accuracy
_Figures = dict[tuple[str, str, int], float]


@dataclass
class _Row:
    """A row of a variant.

    Args:
        label: What it is called in its runs, or in the sweep file.
        is_renamed: Whether that is the sweep file's word.
        is_result: Whether it is what the runs were made for.
        figures: Its accuracies.
    """

    label: str
    is_renamed: bool
    is_result: bool = False
    figures: _Figures = field(default_factory=dict)


def choose_rows(records: Sequence[Record], selected: Mapping[str, Mapping[str, str] | None]) -> RowChoice:
    """Return the rows that enter a sweep's tables: all under their own label, or those that the sweep file selects.

    Where variants have rows of the same label, they are shown once if they are the same in all runs (as zero-shot is),
    and with the variant's name otherwise; what the runs were made for is never taken for another's.

    Args:
        records: Finished runs, with their condition and variant.
        selected: Labels by key, for each variant; `None` for all rows.
    """
    rows: dict[tuple[str, str, str], _Row] = {}
    order: dict[tuple[str, str], list[str]] = {}
    names = footnote_names(records)
    for record in records:
        condition, variant = condition_of(record), variant_of(record)
        own = selected.get(variant)
        labels = own if own is not None else {row["key"]: row["label"] for row in record["rows"]}
        _insert(order.setdefault((condition, variant), []), list(labels))
        for key, label in labels.items():
            row = rows.setdefault((condition, variant, key), _Row(qualified(label, names), own is not None))
            row.is_result |= key == record["rows"][-1]["key"]
            if (accuracy := row_accuracy(record, key)) is not None:
                row.figures[condition, record["held_out"], record["seed"]] = accuracy
    ambiguous = _ambiguous(rows)
    named = {
        place: _with_variant(place[1], row.label, names) if row.label in ambiguous and not row.is_renamed else row.label
        for place, row in rows.items()
    }
    return {place: [(key, named[*place, key]) for key in keys] for place, keys in order.items()}


def _insert(keys: list[str], others: Sequence[str]) -> None:
    """Insert what is missing from a list of keys, each after the one that it follows among the others."""
    place = 0
    for key in others:
        if key not in keys:
            keys.insert(place, key)
        place = keys.index(key) + 1


def _ambiguous(rows: Mapping[tuple[str, str, str], _Row]) -> set[str]:
    """Return the labels under which there are different rows."""
    variants: dict[str, dict[str, _Row]] = {}
    for (_, variant, _), row in rows.items():
        whole = variants.setdefault(row.label, {}).setdefault(variant, _Row(row.label, row.is_renamed))
        whole.is_result |= row.is_result
        whole.figures |= row.figures
    return {
        label
        for label, own in variants.items()
        if sum(one.is_result for one in own.values()) > 1
        or len({frozenset(one.figures.items()) for one in own.values()}) > 1
    }


def _with_variant(variant: str, label: str, names: Sequence[str]) -> str:
    """Return a label that says whose row it is; variants called as a footnote calls them are qualified as it does."""
    name = qualified(variant, names)
    if label in names and name.startswith(label):
        return name
    return name if name == label else f"{variant}: {label}"
