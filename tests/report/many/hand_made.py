"""Tables by hand: accuracies in per cent, by method, held-out domain and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hamdg.report.estimates import estimate, paired_difference
from hamdg.report.tables.model import Cell, Heading, Metric, Table, Trial

ACCURACY = Metric("accuracy", "accuracy")
Values = Mapping[str, Sequence[float]]


def made_table(
    methods: Mapping[str, Values], baseline: str = "", metric: Metric = ACCURACY, tied: Sequence[str] = ()
) -> Table:
    """Return a table with an average; the best of every column is marked, `tied` names what is tied with it."""
    domains = list(dict.fromkeys(domain for values in methods.values() for domain in values))
    rows = [Heading({"label": label}, label, is_baseline=label == baseline) for label in methods]
    cells = [[*(_cell(values, [domain]) for domain in domains), _cell(values, domains)] for values in methods.values()]
    cells = [
        list(column)
        for column in zip(*(_marked(column, rows, tied, metric) for column in zip(*cells, strict=True)), strict=True)
    ]
    columns = [*(Heading({"held_out": one}, one) for one in domains), Heading({}, "average", is_average=True)]
    return Table("mini", metric, ["label"], ["held_out"], rows, columns, cells, "A caption.", baseline=baseline)


def _cell(values: Values, domains: Sequence[str]) -> Cell:
    trials = {
        Trial("mini", domain, seed): value / 100.0
        for domain in domains
        for seed, value in enumerate(values.get(domain, ()))
    }
    seeds = {trial.seed for trial in trials}
    means = {
        seed: math.fsum(found) / len(found)
        for seed in seeds
        if len(found := [value for trial, value in trials.items() if trial.seed == seed]) == len(domains)
    }
    if not means:
        return Cell(missing="not begun")
    one = estimate(list(means.values()))
    return Cell(one.mean, one.standard_error, one.n, trials, means)


def _marked(column: Sequence[Cell], rows: Sequence[Heading], tied: Sequence[str], metric: Metric) -> list[Cell]:
    known = [cell.mean for cell in column if cell.mean is not None]
    best = (min if metric.higher_is_better is False else max)(known, default=None)
    base = next((cell for cell, row in zip(column, rows, strict=True) if row.is_baseline), None)
    found = []
    for cell, row in zip(column, rows, strict=True):
        compared = base is not None and cell is not base and cell.mean is not None
        others = base if compared else None
        difference = paired_difference(cell.values_by_seed, others.values_by_seed) if others else None
        there = cell.values.keys() & others.values.keys() if others else ()
        paired = {trial: cell.values[trial] - others.values[trial] for trial in there} if others else {}
        is_best = cell.mean is not None and cell.mean == best
        found.append(
            replace(cell, is_best=is_best, is_tied=is_best or row.label in tied, difference=difference, paired=paired)
        )
    return found
