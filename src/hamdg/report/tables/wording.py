"""What a table says of itself in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamdg.report.estimates import ErrorKind
from hamdg.report.table import TARGET_MARK, TARGET_NOTE, average_notes, batchnorm_notes, metric_title
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.metrics import part_of
from hamdg.report.tables.model import Metric, Table
from hamdg.report.tables.options import TARGET, Rule
from hamdg.text import listed

_ERRORS: Mapping[ErrorKind, str] = {
    "sample": "standard error (sample standard deviation, n - 1, over √n)",
    "population": "standard error as DomainBed computes it (population standard deviation, n, over √n)",
}
_RULES: Mapping[Rule, str] = {
    "validation": "training-domain validation (the mean accuracy on the sources' hold-out sets)",
    "leave_one_out": "leave-one-domain-out cross-validation (the mean accuracy on the 80 % part of each source domain, "
    "held out beside the target)",
    "oracle": "the ORACLE: the target's own 20 % part, which no method may see",
}
_PUBLISHED = (
    "Published rows differ in the part of the held-out domain: DomainBed's are on its 80 % part (`accuracy_in80`), "
    "CLIPood's on its 20 % part (`accuracy_in20`)."
)
TEST = (
    "not distinguishable from it at the level of 5 % (two-sided paired t-test over seeds and held-out domains, Welch's "
    "where fewer than two are paired; not corrected for the number of rows)"
)


def title(metric: Metric, place: Mapping[str, str]) -> str:
    """Return which benchmark, condition and metric a table is of."""
    where = [place.get("benchmark", ""), "" if place.get("condition") == "clean" else place.get("condition", "")]
    part = part_of(metric)
    unit = ", %" if metric.is_share else ""
    what = f"{metric.label} on {part}{unit}" if part else metric.label
    return ": ".join([*([", ".join(one for one in where if one)] if any(where) else []), what])


def caption(table: Table, rule: Rule | None, keys: Sequence[str]) -> str:
    """Return how the numbers of a table are to be read.

    Args:
        table: The table.
        rule: How settings were chosen.
        keys: What the runs differ in that were chosen among; empty where there was no choice.
    """
    part = part_of(table.metric)
    what = f"{metric_title(table.metric.label)}{f' on {part}' if part else ''}"
    unit = ", in per cent" if table.metric.is_share else ""
    sentences = [f"{what}{unit}: mean over seeds ± {_ERRORS[table.error]}."]
    if part.endswith("held-out domain") and table.metric.name.startswith("accuracy"):
        sentences.append(_PUBLISHED)
    keys_shown = {*table.row_keys, *table.column_keys}
    if TARGET in keys_shown:
        sentences.append("Domains that a run holds out at once have a column each; the mean is taken within each seed.")
    elif "held_out" not in keys_shown:
        sentences.append("Each number is a mean over held-out domains, taken within each seed first.")
    if any(head.is_average and TARGET not in head.values for head in (*table.rows, *table.columns)):
        sentences.append("Averages are taken within each seed first, and of seeds that have all parts.")
    if rule is not None and keys:
        sentences.append(f"For each held-out domain and seed, {listed(keys)} chosen by {_RULES[rule]}.")
    elif rule is not None:
        sentences.append("The runs of a cell differ in nothing that could be chosen.")
    if table.baseline:
        sentences.append(
            f"Differences to {table.baseline} are means over pairs of the same seed and held-out domain, with 95 % "
            "intervals (Student's t)."
        )
    if any(cell.is_of_benchmarks for row in table.cells for cell in row):
        sentences.append("Averages over benchmarks are compared by their seeds alone.")
    return " ".join(sentences)


def legend(table: Table, best: str, tied: str) -> str:
    """Return what a format's marks mean; empty where nothing is marked.

    Args:
        table: The table.
        best: How the best is marked.
        tied: How those are marked that are tied with it.
    """
    cells = [cell for row in table.cells for cell in row]
    if not any(cell.is_best for cell in cells):
        return ""
    means = "best" if table.metric.higher_is_better else "best (lowest)"
    others = f" {tied}: {TEST}." if any(cell.is_tied for cell in cells) else ""
    return f"{best}: {means}.{others}"


def notes_of(numbers: Sequence[Measured], target_data: bool) -> list[str]:
    """Return what every table with these numbers must say.

    Args:
        numbers: The numbers.
        target_data: Whether a row is of runs that opened the held-out domain before the evaluation.
    """
    footnotes = dict.fromkeys(one.run.summary.footnote for one in numbers if not one.is_start)
    means = average_notes((one.run.summary.label, one.run.summary.average) for one in numbers)
    statistics = batchnorm_notes((one.run.summary.label, one.run.summary.batchnorm) for one in numbers)
    return [TARGET_NOTE] * target_data + means + statistics + [text for text in footnotes if text]


def marked_label(label: str, target_data: bool) -> str:
    """Return a row's label with the mark of runs that read target data."""
    return f"{label} {TARGET_MARK}" if target_data else label
