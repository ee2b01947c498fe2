"""Tables of a sweep's methods: models of its variants, under their own labels or those of the sweep file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hamdg.errors import DataError
from hamdg.report.collection import FoundRun
from hamdg.report.table import footnote_names, qualified
from hamdg.report.tables.build import APART, NO_MODEL, arrange
from hamdg.report.tables.measured import Measured, measure
from hamdg.report.tables.metrics import find_metric, is_of_training
from hamdg.report.tables.model import Metric, Table, Trial
from hamdg.report.tables.options import METHOD, TARGET, Absent, TableOptions

# (condition, variant, key of the model) -> what it is called, in the order of the rows.
Methods = Mapping[tuple[str, str, str], str]
REFERENCE = "ERM + SMA"


@dataclass
class _Row:
    """A model of a variant.

    Args:
        label: What it is called in its runs, or in the sweep file.
        is_renamed: Whether that is the sweep file's word.
        is_result: Whether it is what the runs were made for.
        figures: Its accuracies, by condition and trial.
    """

    label: str
    is_renamed: bool
    is_result: bool = False
    figures: dict[tuple[str, Trial], float] = field(default_factory=dict)


def tabulate_methods(
    runs: Sequence[FoundRun],
    methods: Methods,
    baseline: str = "",
    metric: str | None = None,
    costs: bool = False,
) -> list[Table]:
    """Return a table for each benchmark and condition: a row a method, a column a held-out domain.

    Domains that are held out at once have a column each and one for their mean, where they are the same in all runs of
    a condition.

    Args:
        runs: Finished runs, with their variant and condition.
        methods: Which of their models are shown, and under which labels (`choose_methods`).
        baseline: Which label the others are compared with, where there is one; empty for none.
        metric: What is shown; `None` for the primary metric.
        costs: Whether there are columns of what training and inference cost.

    Raises:
        ConfigError: No run has the metric, or one of the models.
        DataError: Runs of one cell differ in more than their seed, or contradict each other.
    """
    found = find_metric(metric, (run.summary for run in runs))
    conditions = dict.fromkeys(condition for condition, *_ in methods)
    columns = _columns(runs, found)
    options = TableOptions(
        rows=(METHOD,),
        columns=columns,
        baseline=baseline and qualified(baseline, footnote_names(run.summary.footnote for run in runs)),
        order={METHOD: _in_order(methods), "condition": list(conditions)},
        costs=costs,
    )
    numbers = _measured(runs, found, [model for *_, model in methods], columns)
    own = list(_of_methods(numbers, methods))
    return arrange(own, found, options, list(_absent(runs, methods, found, numbers))) if own else []


def _columns(runs: Sequence[FoundRun], metric: Metric) -> tuple[str, ...]:
    """Return the key of the columns: single targets, where each condition has one choice of several at once."""
    chosen: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        chosen.setdefault((run.summary.benchmark, run.summary.condition), set()).add(run.summary.held_out)
    several = all(len(run.summary.targets) > 1 for run in runs) and all(len(own) == 1 for own in chosen.values())
    return (TARGET,) if several and not is_of_training(metric) else ("held_out",)


def choose_methods(runs: Sequence[FoundRun], selected: Mapping[str, Mapping[str, str] | None]) -> Methods:
    """Return the models that enter a sweep's tables: all under their own label, or those that the sweep file selects.

    Where variants have models of the same label, they are shown once if they are the same in all runs (as zero-shot
    is), and with the variant's name otherwise; what the runs were made for is never taken for another's.

    Args:
        runs: Finished runs, with their variant and condition.
        selected: Labels by key, for each variant; `None` for all models.

    Raises:
        DataError: Two variants whose numbers differ have one label in the sweep file.
    """
    rows: dict[tuple[str, str, str], _Row] = {}
    order: dict[tuple[str, str], list[str]] = {}
    names = footnote_names(run.summary.footnote for run in runs)
    for run in runs:
        summary = run.summary
        own = selected.get(summary.variant)
        labels = own if own is not None else {row["key"]: row["label"] for row in summary.rows}
        _insert(order.setdefault((summary.condition, summary.variant), []), list(labels))
        for key, label in labels.items():
            row = _Row(qualified(label, names), own is not None)
            row = rows.setdefault((summary.condition, summary.variant, key), row)
            row.is_result |= key == summary.result["key"]
    metric = find_metric(None, (run.summary for run in runs))
    for one in _measured(runs, metric, [key for _, _, key in rows]):
        summary = one.run.summary
        if (shown := rows.get((summary.condition, summary.variant, one.model))) is not None:
            shown.figures[summary.condition, one.trial] = one.value
    ambiguous = _ambiguous(rows)
    named = {
        place: _with_variant(place[1], row.label, names) if row.label in ambiguous and not row.is_renamed else row.label
        for place, row in rows.items()
    }
    _check_labels(rows, named)
    return {(*place, key): named[*place, key] for place, keys in order.items() for key in keys}


def _measured(
    runs: Sequence[FoundRun], metric: Metric, models: Sequence[str], columns: Sequence[str] = ()
) -> list[Measured]:
    options = TableOptions(models=list(dict.fromkeys(models)))
    return measure(runs, metric, list(dict.fromkeys((*APART, "held_out", *columns))), options)[0]


def _of_methods(numbers: Iterable[Measured], methods: Methods) -> Iterator[Measured]:
    """Yield the numbers of methods, with their labels; of variants that share one, those of the first in each cell."""
    variants: dict[tuple[str, ...], str] = {}
    for one in numbers:
        summary = one.run.summary
        if (label := methods.get((summary.condition, summary.variant, one.model))) is not None:
            place = (label, summary.condition, summary.benchmark, summary.held_out)
            if variants.setdefault(place, summary.variant) == summary.variant:
                yield replace(one, values={**one.values, METHOD: label})


def _absent(
    runs: Iterable[FoundRun], methods: Methods, metric: Metric, numbers: Iterable[Measured]
) -> Iterator[Absent]:
    """Yield the models that a run has not: a source model where its own domain is held out, for instance."""
    there = {(one.run.path, one.model) for one in numbers}
    models: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for (condition, variant, model), label in methods.items():
        models.setdefault((condition, variant), []).append((model, label))
    for run in runs:
        summary = run.summary
        place = {key: str(getattr(summary, key)) for key in (*APART, "held_out", "seed")}
        for model, label in models.get((summary.condition, summary.variant), ()):
            if (run.path, model) not in there:
                is_known = any(row["key"] == model for row in summary.rows)
                yield Absent({METHOD: label, **place}, f"{metric.label} was not measured" if is_known else NO_MODEL)


def _in_order(methods: Methods) -> list[str]:
    """Return all labels, variant by variant, with those that only some conditions have where these have them."""
    own: dict[str, dict[str, list[str]]] = {}
    for (condition, variant, _), label in methods.items():
        own.setdefault(variant, {}).setdefault(condition, []).append(label)
    found: list[str] = []
    for of_conditions in own.values():
        labels: list[str] = []
        for one in of_conditions.values():
            _insert(labels, one)
        found += labels
    return list(dict.fromkeys(found))


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


def _check_labels(rows: Mapping[tuple[str, str, str], _Row], named: Mapping[tuple[str, str, str], str]) -> None:
    first: dict[tuple[str, str, Trial], float] = {}
    for place, row in rows.items():
        for (condition, trial), value in row.figures.items():
            other = first.setdefault((named[place], condition, trial), value)
            if other != value:
                raise DataError(
                    f"Two variants call a row `{named[place]}`, but it is {other:.4f} for one and {value:.4f} for the "
                    f"other on `{trial.held_out}` with seed {trial.seed} under `{condition}`; give one of them another "
                    "label under `rows` of the sweep file."
                )


def _with_variant(variant: str, label: str, names: Sequence[str]) -> str:
    """Return a label that says whose row it is; variants called as a footnote calls them are qualified as it does."""
    name = qualified(variant, names)
    if label in names and name.startswith(label):
        return name
    return name if name == label else f"{variant}: {label}"
