"""Rows and columns: which there are, in which order, and what people read of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from hamdg.report.table import footnote_names, qualified
from hamdg.report.tables.measured import NOTHING, Measured, mean_name
from hamdg.report.tables.mixing import by_number
from hamdg.report.tables.model import Heading
from hamdg.report.tables.options import EVERY_SOURCE, METHOD, MODEL, TARGET, Absent

Values = tuple[str, ...]
Order = Mapping[str, Sequence[str]]

# Keys whose values name a method, and those whose values speak for themselves.
_NAMES = ("algorithm", "label", "variant", METHOD)
_PLAIN = ("benchmark", "held_out", TARGET, "condition", "class")


class Headings:
    """Heads of rows and columns.

    Args:
        numbers: The numbers of a table.
        absent: Runs that are not there; of those that say enough there are rows and columns, too.
        order: In which order values come, by key; those that are not named follow.
    """

    def __init__(self, numbers: Sequence[Measured], absent: Sequence[Absent], order: Order) -> None:
        self._numbers, self._absent = numbers, absent
        # As the tables of single runs have them; source models, or their mean, before what is made of them.
        models = dict.fromkeys(
            key
            for one in numbers
            for row in one.run.summary.rows
            for key in (*[EVERY_SOURCE] * (row["group"] == "source"), row["key"])
        )
        # Their mean comes after them.
        targets = dict.fromkeys(name for one in numbers for name in one.run.summary.targets)
        self._order = {MODEL: list(models), TARGET: list(targets), **order}
        self._names = footnote_names(one.run.summary.footnote for one in numbers)

    def of(self, keys: Sequence[str]) -> dict[Values, list[Measured]]:
        """Return the numbers by what they say under some keys, in order."""
        found: dict[Values, list[Measured]] = {}
        for one in self._numbers:
            found.setdefault(tuple(one.values[key] for key in keys), []).append(one)
        for gone in self._absent:
            if all(key in gone.values for key in keys):
                found.setdefault(tuple(gone.values[key] for key in keys), [])
        return dict(sorted(found.items(), key=lambda item: rank(item[0], keys, self._order)))

    def heading(self, values: Values, keys: Sequence[str], numbers: Sequence[Measured]) -> Heading:
        """Return the head of a row or column.

        Args:
            values: What its numbers say.
            keys: Under which keys.
            numbers: Its numbers.
        """
        said = dict(zip(keys, values, strict=True))
        adapted = any(one.is_result and one.run.summary.read_before() for one in numbers)
        # Of domains that are held out at once.
        is_mean = any(said.get(TARGET) == mean_name(one.run) for one in numbers)
        return Heading(said, self.label(said, numbers), is_mean, target_data=adapted and not _is_of_a_place(keys))

    def label(self, said: Mapping[str, str], numbers: Iterable[Measured]) -> str:
        """Return what people read of numbers that say the same."""
        own = list(numbers)
        named = [key for key in _NAMES if said.get(key, NOTHING) != NOTHING]
        names = list(dict.fromkeys(self._name(key, said[key], own) for key in named))
        parts = names[:1] if len(names) == 1 else [", ".join(names)] * bool(names)
        if MODEL in said and not (names and all(one.is_result for one in own)):
            model = qualified(own[0].model_label if own else said[MODEL], self._names)
            parts = [f"{parts[0]}: {model}" if parts else model]
        return ", ".join([*parts, *(_part(key, value) for key, value in said.items() if _is_shown(key, value))])

    def _name(self, key: str, value: str, numbers: Sequence[Measured]) -> str:
        """Return how a method is called: by what the labels of all its runs begin with."""
        if key != "algorithm":
            return qualified(value, self._names)
        # Of `ERM, draw 0` and `ERM, draw 1` it is `ERM`.
        labels = {one.run.summary.label for one in numbers}
        alike = takewhile(
            lambda parts: len(set(parts)) == 1, zip(*(label.split(", ") for label in labels), strict=False)
        )
        return qualified(", ".join(parts[0] for parts in alike) or value, self._names)


def rank(values: Values, keys: Sequence[str], order: Order) -> tuple[object, ...]:
    """Return what values are sorted by: their place in a given order, then numbers by size, then words."""
    return tuple(
        (order[key].index(value) if value in order.get(key, ()) else len(order.get(key, ())), by_number(value))
        for key, value in zip(keys, values, strict=True)
    )


def _is_of_a_place(keys: Sequence[str]) -> bool:
    return all(key in (*_PLAIN, "seed") for key in keys)


def _is_shown(key: str, value: str) -> bool:
    return key not in (*_NAMES, MODEL) and value != NOTHING


def _part(key: str, value: str) -> str:
    if key in _PLAIN:
        return value
    return f"seed {value}" if key == "seed" else f"{key}={value}"
