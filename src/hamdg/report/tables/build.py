"""Tables of records: numbers sorted into rows and columns, averaged over seeds, compared with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hamdg.errors import ConfigError, DataError
from hamdg.report.collection import FoundRun
from hamdg.report.estimates import estimate
from hamdg.report.tables.columns import Column, averaged_key, columns_of
from hamdg.report.tables.comparing import Place, baselines, compared, marked
from hamdg.report.tables.cosines import EXPLAINED, cosines_of, note_of
from hamdg.report.tables.costs import Numbers, costs_of, explained
from hamdg.report.tables.filling import Filled, fill
from hamdg.report.tables.headings import Headings, Values, rank
from hamdg.report.tables.means import seed_means
from hamdg.report.tables.measured import Measured, measure, passes
from hamdg.report.tables.metrics import LEAVE_ONE_OUT, find_metric, is_per_class
from hamdg.report.tables.missing import fits, why_incomplete, why_missing
from hamdg.report.tables.mixing import describe, differences, is_hyper_parameter, is_of_benchmark
from hamdg.report.tables.model import Cell, Heading, Metric, Table
from hamdg.report.tables.options import CLASS, MODEL, RESULT, TARGET, Absent, TableOptions
from hamdg.report.tables.problems import gaps, left_out, no_whole_seed, unequal, without_numbers
from hamdg.report.tables.selection import Pairs, scored, without_pairs
from hamdg.report.tables.wording import caption, notes_of, title
from hamdg.text import counted, listed, listed_in_words, shortened

# One table each, unless they make its rows or columns: numbers of several are not averaged.
APART = ("benchmark", "condition")
NO_MODEL = "no such model"


def tabulate(runs: Sequence[FoundRun], options: TableOptions, absent: Sequence[Absent] = ()) -> list[Table]:
    """Return tables of runs: one for each benchmark and condition, unless these are keys of its rows or columns.

    Args:
        runs: Finished runs.
        options: What is asked for.
        absent: Runs that are not there, and why; they explain missing cells.

    Raises:
        ConfigError: No run has a key, value, metric, model or baseline that is asked for.
        DataError: Runs of one cell differ in more than their seed, or contradict each other.
    """
    metric = find_metric(options.metric, (run.summary for run in runs))
    rows, columns = _axes(options, any(is_per_class(metric, run.summary.result["targets"]) for run in runs))
    if (options.costs or options.cosines) and (key := averaged_key(rows, columns)) in rows:
        what = "Costs" if options.costs else "Cosines"
        raise ConfigError(f"{what} are columns beside rows of methods, but `{key}` makes the rows; make it a column.")
    is_scored = metric.name == LEAVE_ONE_OUT
    measured = find_metric(None, (run.summary for run in runs)) if is_scored else metric
    numbers, unmeasured = measure(runs, measured, [*rows, *columns, *APART], options)
    if is_scored:
        numbers, lacking = scored(numbers, options)
        unmeasured += lacking
        absent = [one for one in absent if not any(_is_of(one, number) for number in numbers)]
        if not numbers:
            raise DataError(
                "No run has all runs with a second domain held out; a sweep with `leave_out: pairs` makes them."
            )
    if not numbers:
        reasons = listed_in_words(list(dict.fromkeys(one.reason for one in unmeasured)))
        why = f": {reasons}." if unmeasured else "; ask for less with `--where`."
        raise DataError(f"None of {counted(len(runs), 'run')} has a number to show{why}")
    gone = [one for one in (*absent, *unmeasured) if passes(one.values, options.where)]
    tables = arrange(numbers, metric, replace(options, rows=rows, columns=columns), gone)
    if options.baseline and options.needs_baseline and not any(table.baseline for table in tables):
        turned = averaged_key(rows, columns) in rows
        heads = [head for table in tables for head in (table.columns if turned else table.rows)]
        labels = list(dict.fromkeys(head.label for head in heads if not head.is_average))
        raise ConfigError(
            f"There is no row `{options.baseline}` to compare with; `--baseline` can be {listed(labels)}."
        )
    return tables


def arrange(
    numbers: Sequence[Measured], metric: Metric, options: TableOptions, absent: Sequence[Absent]
) -> list[Table]:
    """Return tables of numbers that say what they are sorted by.

    Args:
        numbers: The numbers, one or more.
        metric: What they are.
        options: What is asked for, with the keys of rows and columns.
        absent: Runs that are not there.

    Raises:
        DataError: Runs of one cell differ in more than their seed, or contradict each other.
    """
    rows, columns = tuple(options.rows), tuple(options.columns or ())
    apart = [key for key in APART if key not in (*rows, *columns)]
    groups: dict[Values, list[Measured]] = {}
    for one in numbers:
        groups.setdefault(tuple(one.values[key] for key in apart), []).append(one)
    tables = []
    for values, own in sorted(groups.items(), key=lambda group: rank(group[0], apart, options.order)):
        place = dict(zip(apart, values, strict=True))
        builder = _Builder(own, metric, options, [one for one in absent if fits(one, place)])
        tables.append(builder.table(rows, columns, place))
    tables[-1] = replace(tables[-1], problems=[*tables[-1].problems, *without_numbers(absent, apart, list(groups))])
    return tables


def _axes(options: TableOptions, per_class: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of rows and columns: those that are asked for, and what they need to tell numbers apart."""
    rows = tuple(options.rows)
    if options.columns is not None:
        columns = tuple(options.columns)
    elif per_class:
        columns = (CLASS,)
    else:
        columns = ("algorithm",) if "held_out" in rows else ("held_out",)
    if per_class and CLASS not in (*rows, *columns):
        columns = (*columns, CLASS)
    if tuple(options.models) != (RESULT,) and MODEL not in (*rows, *columns):
        rows = (*rows, MODEL)
    if twice := [key for key in rows if key in columns]:
        raise ConfigError(f"`{twice[0]}` makes both rows and columns; leave it out of one of them.")
    if CLASS in (*rows, *columns) and not per_class:
        raise ConfigError(
            "Only `--metric per_class_accuracy` (of label maps `per_class_IoU`) has a number for each `class`."
        )
    return rows, columns


class _Builder:
    """Makes one table.

    Args:
        numbers: Its numbers.
        metric: What they are.
        options: What is asked for.
        absent: Runs that are not there.
    """

    def __init__(
        self, numbers: Sequence[Measured], metric: Metric, options: TableOptions, absent: Sequence[Absent]
    ) -> None:
        self._metric, self._options, self._absent = metric, options, absent
        self._problems: list[str] = []
        self._pairs = Pairs(numbers if options.select == "leave_one_out" else ())
        self._numbers = without_pairs(numbers, options)
        self._problems += left_out(numbers, self._numbers, options.select)
        self._seeds = {one.trial.seed for one in self._numbers}
        self._headings = Headings(self._numbers, absent, options.order)

    def table(self, row_keys: Sequence[str], column_keys: Sequence[str], place: Mapping[str, str]) -> Table:
        """Return the table.

        Args:
            row_keys: What makes a row.
            column_keys: What makes a column.
            place: Benchmark and condition, where they are not among these.
        """
        averaged = averaged_key(row_keys, column_keys)
        if averaged in row_keys:
            # Averages are taken along a row, comparisons made along a column.
            return transposed(self._table(column_keys, row_keys, averaged, place))
        return self._table(row_keys, column_keys, averaged, place)

    def _table(
        self, row_keys: Sequence[str], column_keys: Sequence[str], averaged: str, place: Mapping[str, str]
    ) -> Table:
        rows = self._headings.of(row_keys)
        heads = [self._headings.heading(values, row_keys, own) for values, own in rows.items()]
        lines = columns_of(self._headings, column_keys, averaged)
        filled = {values: self._fill(row_keys, values, own, column_keys) for values, own in rows.items()}
        cells = [
            [self._cell(head, filled[values], line) for line in lines] for values, head in zip(rows, heads, strict=True)
        ]
        places = [place_of(head) for head in heads]
        bases = baselines(
            [self._names(head, own) for head, own in zip(heads, rows.values(), strict=True)],
            places,
            self._options.baseline,
        )
        cells = marked(compared(cells, bases), places, self._metric)
        heads = [replace(head, is_baseline=number in bases) for number, head in enumerate(heads)]
        chosen = sorted({key for row in filled.values() for one in row.values() for key in one.keys})
        self._problems += [text for row in filled.values() for one in row.values() for text in one.problems]
        self._problems += unequal(list(zip(heads, rows.values(), strict=True)), places, row_keys)
        self._problems += gaps(heads, [line.heading for line in lines], cells)
        table = Table(
            title=title(self._metric, place),
            place=dict(place),
            metric=self._metric,
            row_keys=list(row_keys),
            column_keys=list(column_keys),
            rows=heads,
            columns=[line.heading for line in lines],
            cells=cells,
            caption="",
            notes=[
                *notes_of(self._numbers, any(head.target_data for head in heads)),
                *_choices(heads, filled.values()),
            ],
            problems=self._problems,
            baseline=self._baseline(heads, bases),
            error=self._options.error,
        )
        said = caption(table, self._options.select, chosen)
        return self._with_columns(replace(table, caption=said), [_numbers_of(filled[values]) for values in rows], bases)

    def _baseline(self, heads: Sequence[Heading], bases: Sequence[int | None]) -> str:
        """Return what the baseline is called; of several, one for each benchmark or condition, as it was asked for."""
        labels = list(dict.fromkeys(heads[base].label for base in bases if base is not None))
        return labels[0] if len(labels) == 1 else self._options.baseline if labels else ""

    def _with_columns(self, table: Table, numbers: Sequence[Numbers], bases: Sequence[int | None]) -> Table:
        """Add the columns beside the numbers that are asked for."""
        if self._options.costs:
            said = f"{table.caption} {explained(numbers, bases, table.baseline)}"
            table = replace(table, caption=said, costs=costs_of(numbers, bases, table.baseline))
        if self._options.cosines:
            column, said = cosines_of(numbers), f"{table.caption} {EXPLAINED}"
            notes = [*table.notes, *note_of(table.rows, column)]
            table = replace(table, caption=said, costs=[*table.costs, column], notes=notes)
        return table

    def _fill(
        self, row_keys: Sequence[str], values: Values, numbers: Sequence[Measured], column_keys: Sequence[str]
    ) -> dict[Values, Filled]:
        """Return what the cells of a row hold, by what their columns say."""
        own: dict[Values, list[Measured]] = {}
        for one in numbers:
            own.setdefault(tuple(one.values[key] for key in column_keys), []).append(one)
        said = dict(zip(row_keys, values, strict=True))
        label = self._headings.label(said, numbers)
        filled = {}
        for column, inside in own.items():
            where = ", ".join(f"`{value}`" for value in column if value)
            filled[column] = fill(inside, f"`{label}` on {where}", self._options.select, self._pairs)
        return filled

    def _cell(self, head: Heading, filled: Mapping[Values, Filled], line: Column) -> Cell:
        """Return the cell of a row in a column, or its average over several."""
        parts = [filled[values] for values in line.values if values in filled]
        numbers = {trial: one for part in parts for trial, one in part.numbers.items()}
        said = {**head.values, **line.heading.values}
        # Domains of other benchmarks are no part of a row that is of one.
        units = [unit for unit in line.units if said.get("benchmark", unit[0]) in ("", unit[0])]
        if not numbers:
            reasons = {reason for part in parts for reason in part.reasons.values()}
            return Cell(missing="; ".join(sorted(reasons)) or self._why_missing(said))
        if line.heading.is_average and (mixed := self._mixed_average(parts)):
            if len({benchmark for benchmark, _ in units}) == 1:
                return Cell(missing=f"its runs differ in {mixed}")
            # Every benchmark has its own number of steps; that is said, not refused.
            self._problems.append(f"The average of {head.label} is over runs that differ in {mixed}.")
        values = {trial: one.value for trial, one in numbers.items()}
        means = seed_means(values, units)
        reasons_by_seed = {trial.seed: reason for part in parts for trial, reason in part.reasons.items()}
        if not means:
            return Cell(missing=no_whole_seed(numbers.values(), units))
        expected = {
            *self._seeds,
            *(int(seed) for one in self._absent if fits(one, said) and (seed := one.values.get("seed"))),
        }
        # Where seeds are told apart, no number is of several.
        lacking = [] if "seed" in said else sorted(expected - means.keys())
        found = estimate(list(means.values()), self._options.error)
        return Cell(
            mean=found.mean,
            standard_error=found.standard_error,
            n=found.n,
            values={trial: value for trial, value in sorted(values.items()) if trial.seed in means},
            values_by_seed=means,
            incomplete=why_incomplete(said, lacking, reasons_by_seed, self._absent),
            runs=[one.run for trial, one in sorted(numbers.items()) if trial.seed in means],
            chosen={trial: text for part in parts for trial, text in part.chosen.items()},
        )

    def _why_missing(self, said: Mapping[str, str]) -> str:
        there = any(
            all(one.values[key] == value for key, value in said.items() if key != MODEL) for one in self._numbers
        )
        return NO_MODEL if MODEL in said and there else why_missing(said, self._absent)

    def _mixed_average(self, parts: Sequence[Filled]) -> str:
        """Return in words what the runs of several columns differ in that should be the same; empty for nothing."""
        numbers = [one for part in parts for one in part.numbers.values()]
        found = differences(numbers)
        if self._options.select is not None:
            found = {key: values for key, values in found.items() if not is_hyper_parameter(key)}
        if len({one.trial.benchmark for one in numbers}) > 1:
            found = {key: values for key, values in found.items() if not is_of_benchmark(key)}
        return describe(found) if found else ""

    def _names(self, head: Heading, numbers: Sequence[Measured]) -> list[str]:
        """Return what a row can be called as a baseline, the surest name first."""
        method = {key: value for key, value in head.values.items() if not _is_place(key)}
        names = [head.label, self._headings.label(method, numbers)]
        if numbers and all(one.is_result for one in numbers):
            said = [(one.run.summary.variant, one.run.summary.label, one.run.summary.algorithm) for one in numbers]
            # A name that only some of a row's runs have is another row's, or no row's.
            names += [alike[0] for alike in zip(*said, strict=True) if len(set(alike)) == 1]
        return [*names, names[1].partition(" (")[0]]


def transposed(table: Table) -> Table:
    """Return a table with its rows as columns."""
    return replace(
        table,
        row_keys=table.column_keys,
        column_keys=table.row_keys,
        rows=table.columns,
        columns=table.rows,
        cells=[list(column) for column in zip(*table.cells, strict=True)],
    )


def _numbers_of(filled: Mapping[Values, Filled]) -> Numbers:
    """Return the numbers of a row by what tells them apart."""
    return {(column, trial): one for column, own in filled.items() for trial, one in own.numbers.items()}


def _is_of(absent: Absent, number: Measured) -> bool:
    """Return whether a number is of the very run that is absent, as a score by other runs is."""
    said = {**number.values, "benchmark": number.trial.benchmark, "held_out": number.trial.held_out}
    said["seed"] = str(number.trial.seed)
    return all(said.get(key, value) == value for key, value in absent.values.items())


def _is_place(key: str) -> bool:
    """Return whether a key says where methods are tested, not which method it is."""
    known = (*APART, "held_out", TARGET, "seed", CLASS)
    return key in known or (key.startswith("data.") and not is_hyper_parameter(key))


def place_of(head: Heading) -> Place:
    """Return what a row has in common with those that it is compared with."""
    return tuple(value for key, value in head.values.items() if _is_place(key))


def _choices(heads: Sequence[Heading], rows: Iterable[Mapping[Values, Filled]]) -> list[str]:
    """Return a sentence for each row whose settings were chosen: which, the most frequent ones first."""
    sentences = []
    for head, filled in zip(heads, rows, strict=True):
        counts = Counter(text for one in filled.values() for text in one.chosen.values())
        total = sum(counts.values())
        parts = [f"`{text}` ({count} of {total})" for text, count in counts.most_common()]
        if parts:
            sentences.append(f"Chosen for {head.label}: {shortened(parts, 4)}.")
    return sentences
