"""A table in a few sentences: which method is best, which ones may be as good, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from hamdg.report.estimates import differ
from hamdg.report.many.differences import UNKNOWN, comparison_place, reading
from hamdg.report.many.headline import main_cells, main_column, ranked
from hamdg.report.many.strips import shown, unit
from hamdg.report.table import metric_title
from hamdg.report.tables.build import place_of
from hamdg.report.tables.comparing import Place
from hamdg.report.tables.model import Cell, Heading, Table
from hamdg.text import listed_in_words

# How many names a sentence lists, and how many it lists beside other lists.
_NAMED, _FEW = 4, 2
Row = tuple[Heading, Cell]


def answer(table: Table) -> str:
    """Return the answer to the first question: which method is best, and by how much that can be told.

    Of a metric of which neither more nor less is better, it is how far the numbers reach.

    Where conditions, for instance, are rows, there is one answer for each of them.
    """
    places: dict[Place, list[Row]] = {place_of(head): [] for head in table.rows}
    cells = main_cells(table)
    for row in ranked(table):
        if cells[row].mean is not None:
            places[place_of(table.rows[row])].append((table.rows[row], cells[row]))
    if not any(places.values()):
        return f"No method has a result {comparison_place(table)} yet."
    answers = {", ".join(place): _answer(table, known) for place, known in places.items() if known}
    return " ".join(f"{place}: {text}" if len(places) > 1 else text for place, text in answers.items())


def _answer(table: Table, known: Sequence[Row]) -> str:
    """Return the answer for rows with a result that are compared with each other, the best first."""
    if table.metric.higher_is_better is None:
        return _span(table, known)
    if len(known) == 1:
        return _only(table, known[0])
    best = [(head, cell) for head, cell in known if cell.is_best] or list(known[:1])
    tied = [head.label for head, cell in known if cell.is_tied and not cell.is_best]
    beaten = [head.label for head, cell in known if differ(cell.pairs, best[0][1].pairs) and not cell.is_best]
    sentences = [_best(table, best)]
    if tied:
        verb = "is" if len(tied) == 1 else "are"
        than = "it" if len(best) == 1 else "them"
        sentences.append(f"{several(tied)} {verb} not distinguishable from {than}.")
    elif len(beaten) == len(known) - len(best):
        others = len(beaten)
        subject = "The other" if others == 1 else f"All {others} others" if others > 2 else "Both others"
        sentences.append(f"{subject} {'is' if others == 1 else 'are'} distinguishably worse.")
    else:
        sentences.append("The numbers are too few to tell whether the others are worse.")
    if all(cell.n == 1 for _, cell in known):
        sentences.append("With one seed, the spread between trainings is not known.")
    return " ".join(sentences)


def against_baseline(table: Table) -> str:
    """Return how many methods are better and worse than the baseline; empty without one."""
    readings: dict[str, list[str]] = {}
    for head, cell in zip(table.rows, main_cells(table), strict=True):
        if cell.difference is not None:
            readings.setdefault(reading(cell.difference, table.metric), []).append(head.label)
    if not readings.keys() - {UNKNOWN}:
        empty = any(
            head.is_baseline and cell.mean is None for head, cell in zip(table.rows, main_cells(table), strict=True)
        )
        return f"{table.baseline} has no result {comparison_place(table)} to compare with." if empty else ""
    parts = []
    for word in ("better", "worse", "higher", "lower", "not distinguishable", UNKNOWN):
        names = readings.get(word, [])
        subject = several(names) if len(names) <= _FEW else f"{len(names)} methods"
        parts += [f"{subject} {'is' if len(names) == 1 else 'are'} {word}"] if names else []
    return f"Against {table.baseline}, {listed_in_words(parts)}."


def gaps(table: Table) -> str:
    """Return how many numbers are missing or of fewer seeds than others; empty for none."""
    main = main_column(table) if table.columns[main_column(table)].is_average else -1
    cells = [cell for row in table.cells for column, cell in enumerate(row) if column != main]
    missing, partial = sum(bool(cell.missing) for cell in cells), sum(bool(cell.incomplete) for cell in cells)
    parts = [f"{missing} of {len(cells)} numbers {'is' if missing == 1 else 'are'} missing"] if missing else []
    parts += [f"{partial} {'is' if partial == 1 else 'are'} of fewer seeds"] if partial else []
    return f"{' and '.join(parts)}." if parts else ""


def _only(table: Table, row: Row) -> str:
    head, cell = row
    seeds = "one seed" if cell.n == 1 else f"{cell.n} seeds"
    return f"{head.label} reaches {_value(table, cell)} {comparison_place(table)}, over {seeds}."


def _span(table: Table, known: Sequence[Row]) -> str:
    """Return how far the numbers reach of which neither the highest nor the lowest is the best."""
    (high_head, high), (low_head, low) = known[0], known[-1]
    ends = [f"{_value(table, low)} ({low_head.label})", f"{_value(table, high)} ({high_head.label})"]
    said = ends[0] if len(known) == 1 else f"from {ends[0]} to {ends[1]}"
    return f"{metric_title(table.metric.label)} {comparison_place(table)}: {said}."


def _best(table: Table, best: Sequence[Row]) -> str:
    names = several([head.label for head, _ in best])
    verb = "is" if len(best) == 1 else "are"
    return f"{names} {verb} best {comparison_place(table)}: {_value(table, best[0][1])}."


def _value(table: Table, cell: Cell) -> str:
    error = "" if cell.standard_error is None else f" ± {shown(cell.standard_error, table.metric)}"
    value = f"{shown(cell.mean, table.metric)}{error}{unit(table.metric)}".replace(" ", "\N{NO-BREAK SPACE}")
    alone = cell.n == 1 and any(other.n > 1 for other in main_cells(table))
    return f"{value} (one seed)" if alone else value


def several(names: Sequence[str]) -> str:
    """Return names in words, the first few where there are many."""
    if len(names) <= _NAMED + 1:
        return listed_in_words(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} others"
