"""Many runs in one table: means and standard errors over seeds, differences seed by seed, enrichment under noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.errors import DataError
from hamdg.report.contract import Record, known
from hamdg.report.table import ham_label

# (algorithm, variant) -> which rows of such a record enter the table, and under which label.
RowChoice = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
EVERY_SOURCE = "source/*"
REFERENCE = "ERM + SMA"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: The mean.
        standard_error: Sample standard deviation (n - 1) over the square root of n; `None` for a single seed.
        n: Number of seeds.
    """

    mean: float
    standard_error: float | None
    n: int


@dataclass(frozen=True)
class SweepRow:
    """One method under one condition.

    Args:
        condition: What the data were like (`clean`, `label noise 20 %`, ...).
        label: The method.
        by_domain: Accuracy on each held-out domain, over seeds.
        average: Mean over the held-out domains, taken in each seed first; `None` unless some seed has them all.
        difference: Seed by seed, `average` minus the reference method's; `None` where no seed has both.
        train_seconds: Time of the training stage, over all runs.
    """

    condition: str
    label: str
    by_domain: dict[str, Estimate]
    average: Estimate | None
    difference: Estimate | None
    train_seconds: Estimate | None


@dataclass(frozen=True)
class NoiseRow:
    """How well enrichment kept wrong labels out, over seeds; shares are fractions of 1.

    Args:
        condition: What the data were like.
        label: The method.
        held_out: The held-out domain.
        offered: Wrong labels among the candidates.
        added: Wrong labels among what was let in.
        rate: Share of the candidates that was let in.
    """

    condition: str
    label: str
    held_out: str
    offered: Estimate
    added: Estimate
    rate: Estimate


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean, standard error and count of at least one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, math.sqrt(variance / n), n)


def sweep_table(records: Sequence[Record], chosen: RowChoice, reference: str = REFERENCE) -> list[SweepRow]:
    """Return one row for each condition and method, in the order of `chosen`.

    Args:
        records: Finished runs; `condition` and `variant` default to `clean` and the algorithm's name.
        chosen: Which rows of which records enter, and their labels; `source/*` is the mean of the source models.
        reference: The label that the others are compared with.

    Raises:
        DataError: Two runs give different figures for one cell, or a record lacks a chosen row.
    """
    scores = _scores(records, chosen)
    seconds = _seconds(records, chosen)
    conditions = list(dict.fromkeys(condition for condition, _ in scores))
    labels = list(dict.fromkeys(ham_label(label) for rows in chosen.values() for _, label in rows))
    table = []
    for condition in conditions:
        own = {label: scores[condition, label] for label in labels if (condition, label) in scores}
        domains = sorted({domain for cells in own.values() for domain, _ in cells})
        baseline = _seed_means(own.get(ham_label(reference), {}), domains)
        for label, cells in own.items():
            averages = _seed_means(cells, domains)
            both = [averages[seed] - baseline[seed] for seed in sorted(averages.keys() & baseline.keys())]
            table.append(
                SweepRow(
                    condition=condition,
                    label=label,
                    by_domain={domain: estimate(found) for domain in domains if (found := _over_seeds(cells, domain))},
                    average=estimate(list(averages.values())) if averages else None,
                    difference=estimate(both) if both and label != ham_label(reference) else None,
                    train_seconds=estimate(found) if (found := seconds.get((condition, label), [])) else None,
                )
            )
    return table


def noise_table(records: Sequence[Record]) -> list[NoiseRow]:
    """Return the share of wrong labels that enrichment was offered and let in, for all runs in which it met any."""
    shares: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    for record in records:
        found = _noise_shares(record)
        if found is not None:
            key = (_condition(record), ham_label(_variant(record)), record["held_out"])
            shares.setdefault(key, []).append(found)
    rows = []
    for (condition, label, held_out), values in sorted(shares.items()):
        offered, added, rate = (estimate(list(column)) for column in zip(*values, strict=True))
        rows.append(NoiseRow(condition, label, held_out, offered, added, rate))
    return rows


def _condition(record: Record) -> str:
    return record.get("condition", "clean")


def _variant(record: Record) -> str:
    return record.get("variant") or record["label"] or record["algorithm"]


def _scores(records: Sequence[Record], chosen: RowChoice) -> dict[tuple[str, str], dict[tuple[str, int], float]]:
    """Return the accuracy of each (condition, label) in each (held-out domain, seed)."""
    scores: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for record in records:
        cell = (record["held_out"], record["seed"])
        for key, label in chosen.get((record["algorithm"], _variant(record)), ()):
            cells = scores.setdefault((_condition(record), ham_label(label)), {})
            value = _accuracy(record, key)
            if cells.setdefault(cell, value) != value:
                raise DataError(
                    f"Two runs give `{ham_label(label)}` on `{cell[0]}` with seed {cell[1]} under "
                    f"`{_condition(record)}`: {cells[cell]:.4f} and {value:.4f}. "
                    "Remove the older run, or choose the row from one kind of run only."
                )
    return scores


def _accuracy(record: Record, key: str) -> float:
    if key == EVERY_SOURCE:
        found = [row["held_out"] for row in record["rows"] if row["group"] == "source"]
    else:
        found = [row["held_out"] for row in record["rows"] if row["key"] == key]
    if not found:
        keys = ", ".join(f"`{row['key']}`" for row in record["rows"])
        raise DataError(
            f"The record of run `{record['identity']}` (`{_variant(record)}`, held out `{record['held_out']}`) has no "
            f"row `{key}`, only {keys}. Choose one of these under `rows` of the sweep file."
        )
    return math.fsum(found) / len(found)


def _seconds(records: Sequence[Record], chosen: RowChoice) -> dict[tuple[str, str], list[float]]:
    seconds: dict[tuple[str, str], list[float]] = {}
    for record in records:
        for key, label in chosen.get((record["algorithm"], _variant(record)), ()):
            # Zero-shot trains nothing.
            if key != "zero_shot" and known(record["timings"].get("train")):
                seconds.setdefault((_condition(record), ham_label(label)), []).append(record["timings"]["train"])
    return seconds


def _over_seeds(cells: Mapping[tuple[str, int], float], domain: str) -> list[float]:
    return [value for (own, _), value in sorted(cells.items()) if own == domain]


def _seed_means(cells: Mapping[tuple[str, int], float], domains: Sequence[str]) -> dict[int, float]:
    """Return each seed's mean over the domains, for the seeds that have them all."""
    seeds = sorted({seed for _, seed in cells})
    return {
        seed: math.fsum(cells[domain, seed] for domain in domains) / len(domains)
        for seed in seeds
        if all((domain, seed) in cells for domain in domains)
    }


def _noise_shares(record: Record) -> tuple[float, float, float] | None:
    counts = list((record["enrichment"] or {}).values())
    offered = sum(count["noisy_candidates"] or 0 for count in counts)
    let_in = sum(count["noisy_added"] or 0 for count in counts)
    candidates, added = sum(count["candidates"] for count in counts), sum(count["added"] for count in counts)
    if offered == 0 or added == 0:
        return None
    return offered / candidates, let_in / added, added / candidates
