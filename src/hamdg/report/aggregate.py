"""The numbers of a sweep's own tables: methods by held-out domain, source validation, enrichment under wrong labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamdg.errors import DataError
from hamdg.report.estimates import Estimate, estimate
from hamdg.report.table import footnote_names, qualified
from hamdg.report.tables.means import seed_means
from hamdg.report.tables.model import Trial
from hamdg.report.tables.options import EVERY_SOURCE
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import Record, known, read_before, selection_counts
from hamdg.runs.steps import read_validation
from hamdg.text import listed

# (condition, variant) -> which rows of such records enter the table, by key, and under which label.
RowChoice = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
REFERENCE = "ERM + SMA"


@dataclass(frozen=True)
class SweepRow:
    """One method under one condition.

    Args:
        condition: What the data were like (`clean`, `label noise 20 %`, ...).
        label: The method.
        by_domain: Accuracy on each held-out domain, over seeds.
        average: Mean over the held-out domains, taken in each seed first; `None` unless some seed has them all.
        difference: Seed by seed, `average` minus the reference method's; `None` where no seed has both.
        train_seconds: Time of the training step, over all runs.
        target_data: Whether one of its steps opened the held-out domain.
    """

    condition: str
    label: str
    by_domain: dict[str, Estimate]
    average: Estimate | None
    difference: Estimate | None
    train_seconds: Estimate | None
    target_data: bool


@dataclass(frozen=True)
class NoiseRow:
    """How many wrong labels enrichment was offered and accepted, over seeds; shares are fractions of 1.

    Args:
        condition: What the data were like.
        label: The method.
        held_out: The held-out domain.
        offered: Wrong labels among the candidates.
        added: Wrong labels among the accepted.
        rate: Share of the candidates that was accepted.
    """

    condition: str
    label: str
    held_out: str
    offered: Estimate
    added: Estimate
    rate: Estimate


@dataclass(frozen=True)
class Selection:
    """A variant's accuracy on the source hold-out sets, for one row of its table.

    Args:
        condition: What the data were like.
        variant: The variant's name.
        row: Key of the row.
        accuracy: Mean over all runs of the variant under this condition: held-out domains and seeds alike.
    """

    condition: str
    variant: str
    row: str
    accuracy: Estimate


def sweep_table(records: Sequence[Record], chosen: RowChoice, reference: str = REFERENCE) -> list[SweepRow]:
    """Return one row for each condition and method, in the order of `chosen`.

    Args:
        records: Finished runs; `condition` and `variant` default to `clean` and the algorithm's name.
        chosen: Which rows of which records enter, and their labels (`hamdg.report.rows` chooses them).
        reference: The label that the others are compared with.

    Raises:
        DataError: Two runs give different figures for one cell, or no record has a chosen row.
    """
    _check_rows(records, chosen)
    scores = _scores(records, chosen)
    adapted = _adapted(records, chosen)
    seconds = _seconds(records, chosen)
    names = footnote_names(records)
    conditions = list(dict.fromkeys(condition for condition, _ in scores))
    labels = list(dict.fromkeys(qualified(label, names) for rows in chosen.values() for _, label in rows))
    reference = qualified(reference, names)
    table = []
    for condition in conditions:
        own = {label: scores[condition, label] for label in labels if (condition, label) in scores}
        units = sorted({(trial.benchmark, trial.held_out) for numbers in own.values() for trial in numbers})
        baseline = seed_means(own.get(reference, {}), units)
        for label, numbers in own.items():
            averages = seed_means(numbers, units)
            both = [averages[seed] - baseline[seed] for seed in sorted(averages.keys() & baseline.keys())]
            table.append(
                SweepRow(
                    condition=condition,
                    label=label,
                    by_domain={
                        unit[1]: estimate(list(means.values()))
                        for unit in units
                        if (means := seed_means(numbers, [unit]))
                    },
                    average=estimate(list(averages.values())) if averages else None,
                    difference=estimate(both) if both and label != reference else None,
                    train_seconds=estimate(found) if (found := seconds.get((condition, label), [])) else None,
                    target_data=(condition, label) in adapted,
                )
            )
    return table


def noise_table(records: Sequence[Record]) -> list[NoiseRow]:
    """Return the share of wrong labels that enrichment was offered and accepted, for all runs in which it met any."""
    shares: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    names = footnote_names(records)
    for record in records:
        found = _noise_shares(record)
        if found is not None:
            key = (condition_of(record), qualified(variant_of(record), names), record["held_out"])
            shares.setdefault(key, []).append(found)
    rows = []
    for (condition, label, held_out), values in sorted(shares.items()):
        offered, added, rate = (estimate(list(column)) for column in zip(*values, strict=True))
        rows.append(NoiseRow(condition, label, held_out, offered, added, rate))
    return rows


def select(runs: Sequence[tuple[str, str, Path]]) -> list[Selection]:
    """Average the source-validation scores that runs wrote.

    Args:
        runs: Condition, variant and run directory of every run.

    Returns:
        One entry per condition, variant and row of its table that is a whole model (source models are left out).
    """
    scores: dict[tuple[str, str, str], list[float]] = {}
    for condition, variant, run in runs:
        for row, accuracy in read_validation(RunDirectory(run)).items():
            if "/" not in row and row != "zero_shot":
                scores.setdefault((condition, variant, row), []).append(accuracy)
    return [Selection(*key, estimate(values)) for key, values in scores.items()]


def condition_of(record: Record) -> str:
    """Return what the data of a run were like."""
    return record.get("condition", "clean")


def variant_of(record: Record) -> str:
    """Return the name of the variant that a run belongs to."""
    return record.get("variant") or record["label"] or record["algorithm"]


def row_accuracy(record: Record, key: str) -> float | None:
    """Return a row's accuracy; `source/*` is the mean of the source models. `None` if the record lacks it."""
    every = key == EVERY_SOURCE
    found = [row["held_out"] for row in record["rows"] if (row["group"] == "source" if every else row["key"] == key)]
    return math.fsum(found) / len(found) if found else None


def _chosen_rows(records: Sequence[Record], chosen: RowChoice) -> Iterator[tuple[Record, tuple[str, str], str, float]]:
    """Yield each record with each of its chosen rows: condition and label, key, accuracy."""
    names = footnote_names(records)
    for record in records:
        for key, label in chosen.get((condition_of(record), variant_of(record)), ()):
            value = row_accuracy(record, key)
            if value is not None:
                yield record, (condition_of(record), qualified(label, names)), key, value


def _scores(records: Sequence[Record], chosen: RowChoice) -> dict[tuple[str, str], dict[Trial, float]]:
    """Return the accuracy of each (condition, label) in each trial."""
    scores: dict[tuple[str, str], dict[Trial, float]] = {}
    for record, place, _, value in _chosen_rows(records, chosen):
        held_out, seed = record["held_out"], record["seed"]
        trial = Trial(record["benchmark"], held_out, seed)
        first = scores.setdefault(place, {}).setdefault(trial, value)
        if first != value:
            raise DataError(
                f"Two runs give `{place[1]}` on `{held_out}` with seed {seed} under `{place[0]}`: {first:.4f} and "
                f"{value:.4f}. Remove the older run, or choose the row from one kind of run only."
            )
    return scores


def _check_rows(records: Sequence[Record], chosen: RowChoice) -> None:
    """Refuse a chosen row that no run has; a source model is missing where its own domain is held out."""
    for (condition, variant), rows in chosen.items():
        own = [one for one in records if (condition_of(one), variant_of(one)) == (condition, variant)]
        known_keys = list(dict.fromkeys(row["key"] for one in own for row in one["rows"]))
        for key, _ in rows:
            if own and all(row_accuracy(one, key) is None for one in own):
                raise DataError(
                    f"No run of the variant `{variant}` under `{condition}` has a row `{key}`, only "
                    f"{listed(known_keys)}. Choose one of these under `rows` of the sweep file."
                )


def _adapted(records: Sequence[Record], chosen: RowChoice) -> set[tuple[str, str]]:
    """Return the (condition, label) of results for which a step opened the held-out domain."""
    return {
        place
        for record, place, key, _ in _chosen_rows(records, chosen)
        if read_before(record) and key == record["rows"][-1]["key"]
    }


def _seconds(records: Sequence[Record], chosen: RowChoice) -> dict[tuple[str, str], list[float]]:
    seconds: dict[tuple[str, str], list[float]] = {}
    for record, place, key, _ in _chosen_rows(records, chosen):
        # Zero-shot trains nothing.
        if key != "zero_shot" and known(record["timings"].get("train")):
            seconds.setdefault(place, []).append(record["timings"]["train"])
    return seconds


def _noise_shares(record: Record) -> tuple[float, float, float] | None:
    counts = list((selection_counts(record) or {}).values())
    offered = sum(count["noisy_candidates"] or 0 for count in counts)
    accepted = sum(count["noisy_added"] or 0 for count in counts)
    candidates, added = sum(count["candidates"] for count in counts), sum(count["added"] for count in counts)
    if offered == 0 or added == 0:
        return None
    return offered / candidates, accepted / added, added / candidates
