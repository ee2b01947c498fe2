"""The table of one run: every control and the run's own result on the held-out domain, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from hamdg.runs.record import BatchNorm, Metrics, Record, Row, RowGroup, known
from hamdg.text import as_title, escaped

# What the column of the primary metric is called, where its name does not say it.
_SHARE = {"accuracy": "% correct"}
ZERO_SHOT = "zero-shot"
# What stands for the classes, by `model.text_head`.
CLASS_FEATURES = {
    "prompts": "text features of the prompts",
    "source_means": "mean image features of the sources' training images",
    "linear_probe": "a linear classifier of the image features of the sources' training images",
    "class_rows": "rows of the pretrained network's own classifier, centered by the sources' mean features",
    "random": "a linear layer that the seed draws",
    "last_layers": "the segmentation network's own last layers",
}
# What is trained from the text features of the prompts on, by what the record says of their use.
_TRAINED_TEXT = {
    "start of a text tower that is trained": "by a text tower that is trained",
    "start of a linear layer": "as the start of a linear layer that is trained",
}
# What becomes of BatchNorm's running statistics, by `model.statistics`.
BATCHNORM: Mapping[BatchNorm, str] = {
    "frozen": "frozen (those of the start)",
    "live": "live (they move in training, and are merged)",
}
MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# Of runs that opened the held-out domain before the evaluation.
TARGET_MARK = "\N{DAGGER}"
TARGET_NOTE = (
    f"{TARGET_MARK} One of its steps read images of the held-out domain, without their labels: test-time adaptation, "
    "not domain generalization."
)

_POSSESSIVE = ("'s", "\N{RIGHT SINGLE QUOTATION MARK}s")


@dataclass(frozen=True)
class TableRow:
    """One line of the table; accuracies are fractions of 1.

    Args:
        key: The record's name of the model (`zero_shot`, `source/photo`, `ham`, ...).
        label: What people read.
        group: `control`, `source` or `merged`.
        held_out: Accuracy on the whole held-out domain.
        standard_error: Binomial standard error of `held_out`.
        in80: Accuracy on DomainBed's 80 % part of the held-out domain.
        validation: Accuracy on the source hold-out sets, where measured.
        note: A few words about the row.
        is_result: Whether this is what the run was made for.
        gain: `held_out` minus the zero-shot model's, where the run has one.
        targets: What `held_out` is the mean of, by held-out domain.
    """

    key: str
    label: str
    group: RowGroup
    held_out: float
    standard_error: float
    in80: float | None
    validation: float | None
    note: str
    is_result: bool
    gain: float | None
    targets: Mapping[str, float | None] = field(default_factory=dict)


def footnote_names(footnotes: Iterable[str]) -> list[str]:
    """Return the names that footnotes are about, which stand before their colon, such as `HAM (reconstruction)`."""
    return list(dict.fromkeys(text.partition(":")[0] for text in footnotes if text))


def qualified(label: str, names: Iterable[str]) -> str:
    """Return a label with the qualifier of the name in it: `HAM, tuned` becomes `HAM (reconstruction), tuned`.

    After a possessive it comes last: `HAM's best` becomes `HAM's best (reconstruction)`.

    Args:
        label: What a recipe or a sweep file calls a row.
        names: The names that footnotes are about.
    """
    for name in names:
        short, _, qualifier = name.rstrip(")").partition(" (")
        rest = label[len(short) :]
        named = label.lower().startswith(short.lower()) and not rest[:1].isalnum()
        if qualifier and named and qualifier.lower() not in label.lower():
            return f"{label} ({qualifier})" if rest.startswith(_POSSESSIVE) else name + rest
    return label


def footnotes(records: Iterable[Record], labels: Sequence[str]) -> list[str]:
    """Return the footnotes that a table with these labels needs, each once."""
    found = dict.fromkeys(record["footnote"] for record in records if record["footnote"])
    return [text for text in found if any(_is_about(text.partition(":")[0], label) for label in labels)]


def _is_about(name: str, label: str) -> bool:
    """Return whether a label is the name that a footnote is about, or begins with it."""
    short, bracket, qualifier = name.partition(" (")
    is_possessive = label[len(short) :].startswith(_POSSESSIVE) and label.endswith(bracket + qualifier)
    return label.startswith(name) or (label.startswith(short) and is_possessive)


def batchnorm_notes(runs: Iterable[tuple[str, Literal["", "frozen", "live"]]]) -> list[str]:
    """Return what a table says of BatchNorm; of which runs, where they are not all alike.

    Args:
        runs: The label of every run, and what its record says of BatchNorm.
    """
    labels: dict[Literal["", "frozen", "live"], dict[str, None]] = {}
    for label, kind in runs:
        labels.setdefault(kind, {})[label] = None
    alike = len(labels) == 1
    return [
        f"BatchNorm statistics {text}{'' if alike else ' in ' + ', '.join(labels[kind])}."
        for kind, text in BATCHNORM.items()
        if kind in labels
    ]


def average_notes(runs: Iterable[tuple[str, Literal["arithmetic", "harmonic"]]]) -> list[str]:
    """Return what a table says of harmonic means over held-out domains; of which runs, where they are not all alike.

    Args:
        runs: The label of every run, and how it averages.
    """
    given = list(runs)
    labels = dict.fromkeys(label for label, kind in given if kind == "harmonic")
    which = "" if len({kind for _, kind in given}) == 1 else f" in {', '.join(labels)}"
    return [f"Several held-out domains: harmonic mean{which}."] if labels else []


def run_table(record: Record) -> list[TableRow]:
    """Return the lines of a run's table, in the record's order; the last one is the run's own result."""
    last = len(record["rows"]) - 1
    return [_table_row(row, record, index == last) for index, row in enumerate(record["rows"])]


def percent(value: float | None) -> str:
    """Return a fraction in percent (without the sign), or a dash where it is not known."""
    return f"{100.0 * value:.1f}" if value is not None and known(value) else MISSING


def signed_points(value: float | None) -> str:
    """Return a difference of two fractions in percentage points, always with its sign."""
    return f"{100.0 * value:+.1f}".replace("-", MINUS) if value is not None and known(value) else MISSING


def metric_name(metric: str) -> str:
    """Return a metric as people read it: `macro_accuracy` becomes `macro accuracy`."""
    return metric.replace("_", " ")


def share_name(metric: str) -> str:
    """Return what stands over numbers of a metric in percent: `% correct`; `mIoU, %`."""
    return _SHARE.get(metric, f"{metric_name(metric)}, %")


def metric_title(metric: str) -> str:
    """Return a metric as it begins a sentence: `Macro accuracy`; names with capitals, such as `mIoU`, as they are."""
    return as_title(metric_name(metric))


def error_name(metric: str) -> str:
    """Return which standard error a metric has: that of a share of images is binomial, a mean IoU's the jackknife's."""
    return "jackknife" if metric == "mIoU" else "binomial"


def tested_images(record: Record) -> str:
    """Return how many images the headline is of, in words; of targets that steps have read, it is a part."""
    part = "" if record["part"] == "all" else f"the {record['part'].replace('%', ' %')} part of "
    return f"{part}{record['n_held_out']:,} images"


def headline(record: Record) -> str:
    """Return one line that says which run this is."""
    return (
        f"{record['benchmark']}, held out: {record['held_out']} ({record['n_held_out']} images), "
        f"seed {record['seed']}, run {record['identity']}"
    )


def format_text(record: Record) -> str:
    """Return the table for a terminal: plain aligned columns, no colors, no trailing newline."""
    rows = run_table(record)
    share = share_name(record["metric"])
    # Of one domain, the headline says it all.
    targets = record["targets"] if len(record["targets"]) > 1 else []
    header = (share, "held out", "±", *targets, "gain", "80 % part", "validation", "note")
    cells = [_cells(row, targets) for row in rows]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    lines = [headline(record), "", _aligned(header, widths), _rule(widths), _aligned(cells[0], widths)]
    for (before, row), line in zip(pairwise(rows), cells[1:], strict=True):
        # A rule above each new group and above the run's own result, so that the eye finds both.
        if row.group != before.group or row.is_result:
            lines.append(_rule(widths))
        lines.append(_aligned(line, widths))
    gain = f"; gain: points over {start_label(record)}" if record["zero_shot_accuracy"] is not None else ""
    lines += ["", f"±: {error_name(record['metric'])} standard error over {tested_images(record)}{gain}."]
    if record["part"] != "all":
        lines.append(f"Held out: the {record['part'].replace('%', ' %')} part of the images, which no step has read.")
    if fewer := fewer_images(record):
        lines.append(f"Images: {fewer}.")
    if learned := class_features(record):
        lines.append(f"Class features: {learned}.")
    lines += average_notes([(record["label"], record.get("average", "arithmetic"))])
    lines += batchnorm_notes([(record["label"], record.get("batchnorm", ""))])
    lines += footnotes([record], [row.label for row in rows])
    return escaped("\n".join(lines), keep="\n")


def start_label(record: Record) -> str:
    """Return how the table calls the model that training started from."""
    return next((row["label"] for row in record["rows"] if row["key"] == "zero_shot"), ZERO_SHOT)


def class_features(record: Record) -> str:
    """Return in words what stands for the classes; empty where it is prompts that are encoded once."""
    facts = record.get("class_features", {})
    kind, use = facts.get("kind", "prompts"), facts.get("use", "")
    if kind == "prompts":
        return f"{CLASS_FEATURES[kind]}, {_TRAINED_TEXT[use]}" if use else ""
    fate = "trained from there on" if use else "frozen"
    return f"{CLASS_FEATURES.get(kind, kind)}, {fate}; no text is used"


def fewer_images(record: Record) -> str:
    """Return in words which images a run did without by its recipe; empty if it used all."""
    excluded = record["config"].get("excluded")
    data = record["config"].get("data")
    shots, subset = (data.get("shots"), data.get("subset")) if isinstance(data, Mapping) else (None, None)
    parts = [f"without {', '.join(map(str, excluded))}"] if isinstance(excluded, list) and excluded else []
    parts += [f"trained on at most {shots} per class and source domain"] if isinstance(shots, int) else []
    parts += [f"every domain cut to at most {subset} per class"] if isinstance(subset, int) else []
    return "; ".join(parts)


def _table_row(row: Row, record: Record, is_result: bool) -> TableRow:
    start = record["zero_shot_accuracy"]
    return TableRow(
        key=row["key"],
        label=row["label"],
        group=row["group"],
        held_out=row["held_out"],
        standard_error=row["standard_error"],
        in80=row["held_out_in80"],
        validation=row["validation"],
        note=row["note"],
        is_result=is_result,
        gain=None if start is None else row["held_out"] - start,
        targets={name: _on(row["targets"].get(name, {}), record) for name in record["targets"]},
    )


def _on(metrics: Metrics, record: Record) -> float | None:
    """Return the primary metric on the part of a target that the headline is of."""
    suffix = {"all": "", "80%": "_in80", "20%": "_in20"}[record["part"]]
    value = metrics.get(f"{record['metric']}{suffix}")
    return value if isinstance(value, float) else None


def _cells(row: TableRow, targets: Sequence[str]) -> tuple[str, ...]:
    gain = MISSING if row.key == "zero_shot" else signed_points(row.gain)
    return (
        row.label,
        percent(row.held_out),
        percent(row.standard_error),
        *(percent(row.targets.get(name)) for name in targets),
        gain,
        percent(row.in80),
        percent(row.validation),
        row.note,
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    last = len(cells) - 1
    padded = [
        cell.ljust(width) if column in (0, last) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _rule(widths: Sequence[int]) -> str:
    return "─" * (sum(widths) + 2 * (len(widths) - 1))
