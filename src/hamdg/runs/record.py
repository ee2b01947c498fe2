"""What lies in a run's `record.json`, typed, and the reader that checks it.

Records of format 1 are upgraded when they are read, so that all other code meets format 2 only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, TypeVar, cast

from hamdg.errors import DataError
from hamdg.runs import format1, schema
from hamdg.runs.averages import Average
from hamdg.runs.figures import Figure
from hamdg.runs.merge_figures import MergeFacts
from hamdg.runs.selection import SelectionCounts
from hamdg.text import excerpt
from hamdg.values import MismatchError, check, required_keys

T = TypeVar("T")

FORMAT = 2
# What follows every algorithm's own steps: scores on the sources' hold-out sets, then those on the held-out domain.
VALIDATE, EVALUATE = "validate", "evaluate"

RowGroup = Literal["control", "source", "merged"]
Reads = Literal["sources", "targets"]
# Of a target, all images, DomainBed's 80 % part, or the 20 % part that no step may have seen.
Part = Literal["all", "80%", "20%"]
# What is added to the name of the primary metric, by the part of the target that it is of.
PART_SUFFIX: Mapping[Part, str] = {"all": "", "80%": "_in80", "20%": "_in20"}
# The note of a row whose model was trained on the sources' hold-out sets.
SAW_HOLDOUTS = "trained on the sources' hold-out sets, too"
# Whether the running statistics of BatchNorm moved in training.
BatchNorm = Literal["frozen", "live"]
# The value of each class, by the primary metric that is their mean (over images, or over classes).
PER_CLASS = {"accuracy": "per_class_accuracy", "mIoU": "per_class_IoU"}
# How metrics begin that are fractions of 1, and how far rounding takes their means beyond it.
_SHARES = ("accuracy", "macro_accuracy", "pixel_accuracy", "mIoU", "per_class_", "calibration_error")
_ROUNDING = 1e-6
# By metric: `accuracy`, `accuracy_in80`, `accuracy_in20`, `macro_accuracy`, `calibration_error`, `images`, and one
# value a class in `per_class_accuracy`; of label maps `mIoU`, `mIoU_in80`, `mIoU_in20`, `pixel_accuracy`, `images`, and
# `per_class_IoU`. `None` where there is nothing to measure.
Metrics = dict[str, float | list[float | None] | None]


class Row(TypedDict):
    """One model measured on the held-out domains; accuracies (and IoU) are fractions of 1.

    Attributes:
        key: The model's name (`zero_shot`, `source/photo`, `ham`, ...).
        label: What people read.
        group: `control`, `source` or `merged`.
        held_out: The headline: the primary metric on the record's `part`, averaged over the targets as `average` says.
        held_out_in80: The same on DomainBed's 80 % part.
        standard_error: Standard error of `held_out` over images: of an accuracy the binomial one, of a mean IoU the
            jackknife's.
        validation: The same metric on the source hold-out sets, where measured.
        note: A few words about the row.
        targets: All metrics, by target.
        sources: The metric of `validation` on each source domain's hold-out set, where measured.
        passes: How many forward passes an image costs, where that is not 1.
    """

    key: str
    label: str
    group: RowGroup
    held_out: float
    held_out_in80: float | None
    standard_error: float
    validation: float | None
    note: str
    targets: dict[str, Metrics]
    sources: NotRequired[dict[str, float]]
    passes: NotRequired[int]


class StepRecord(TypedDict):
    """What a step of the algorithm did.

    Attributes:
        reads: Which domains it may open, as the algorithm declares it.
        opened: Those whose images it did open; `None` in runs from before this was noted.
        facts: What it measured or decided.
        figures: What the page draws of it.
        seconds: How long it took.
        images_seen: How many images its models saw in their own batches.
    """

    reads: list[Reads]
    opened: list[str] | None
    facts: dict[str, object]
    figures: list[Figure]
    seconds: float
    images_seen: int


class Record(TypedDict):
    """One finished run; what an algorithm does not have is `None`, or empty.

    Attributes:
        held_out: The held-out domain; of several, their names joined by `+`.
        targets: The held-out domains.
        label: What the run is called.
        footnote: What every table that shows the run must say; empty for nothing.
        metric: The primary metric, which all accuracies of the record are of.
        part: Which part of the targets the headline is of.
        source_accuracies: Headline of the source models.
        controls: Keys of the rows that come from the runs it is compared with, the most important one last.
        control_runs: Where these runs lie, beside this run's algorithm: `erm/seed0-1a2b3c4d`.
        layers: The network's layers by depth.
        images_seen: How many images the models saw in their own batches.
        class_features: What stands for the classes (`model.text_head`), and its digest.
        batchnorm: Whether the statistics of BatchNorm moved in training; of networks that have some, and of CLIPs where
            they did.
        average: How the headline is made of several targets; runs of one, and earlier ones, have none (`arithmetic`).
        data: The card of images that lie somewhere.
        files: SHA-256 of what holds the models of the table, by name in the run.
        condition: What the data were like; a sweep adds it.
        variant: The variant that the run belongs to; a sweep adds it.
    """

    format: int
    benchmark: str
    held_out: str
    targets: list[str]
    algorithm: str
    label: str
    footnote: str
    metric: str
    part: Part
    seed: int
    identity: str
    held_out_accuracy: float
    held_out_accuracy_in80: float | None
    zero_shot_accuracy: float | None
    source_accuracies: dict[str, float]
    validation_accuracy: float | None
    classes: list[str]
    domains: list[str]
    sources: list[str]
    prompts: list[str]
    layers: list[str]
    rows: list[Row]
    controls: list[str]
    steps: dict[str, StepRecord]
    images_seen: int
    n_held_out: int
    timings: dict[str, float]
    data_digest: str
    versions: dict[str, str]
    command: str
    config: dict[str, object]
    # Records from before there were real benchmarks have neither of these two.
    words: NotRequired[list[str]]
    class_features: NotRequired[dict[str, str]]
    batchnorm: NotRequired[BatchNorm]
    average: NotRequired[Average]
    splits: NotRequired[dict[str, dict[str, int | str]]]
    data: NotRequired[dict[str, object]]
    files: NotRequired[dict[str, str]]
    control_runs: NotRequired[list[str]]
    condition: NotRequired[str]
    variant: NotRequired[str]


def read_record(path: Path) -> Record:
    """Read a `record.json` (or the one in a run directory) and check that it is whole.

    Raises:
        DataError: The file is missing, is not JSON, or does not hold what a record does.
    """
    file = path / "record.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"`{path}` is not a finished run: there is no `{file.name}`. "
            "Repeat the run's command to finish it, or name a directory that holds one."
        )
    try:
        record = schema.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"`{file}` is not a readable record ({error}). Repeat the run with `--force`.") from error
    return checked(record, str(file))


def checked(record: object, place: str) -> Record:
    """Return what was read from JSON as a typed record of format 2, or raise an error that names what it lacks.

    Args:
        record: A record of any format.
        place: Where it came from, for the message.

    Raises:
        DataError: It is not a mapping, is of an unknown format, lacks a key, or has a value of another type.
    """
    if not isinstance(record, dict):
        raise DataError(f"`{place}` is not a record: expected a JSON object, got `{type(record).__name__}`.")
    kinds: dict[object, type] = {format1.FORMAT: format1.Record, FORMAT: Record}
    found_format = record.get("format")
    kind = kinds.get(found_format) if isinstance(found_format, int) else None
    if kind is None:
        raise DataError(
            f"`{place}` has record format `{excerpt(found_format)}`, expected `{format1.FORMAT}` or `{FORMAT}`. "
            "Use the hamdg version that wrote it, or repeat the run."
        )
    if missing := sorted(required_keys(kind) - record.keys()):
        names = ", ".join(f"`{name}`" for name in missing)
        raise DataError(f"`{place}` lacks {names}. Repeat the run with `--force` to write the record again.")
    try:
        check(record, kind)
    except MismatchError as error:
        raise DataError(f"`{place}` is not a readable record ({error}). Repeat the run with `--force`.") from error
    found = cast("Record", record if kind is Record else format1.upgrade(cast("format1.Record", record)))
    for key, values in (("rows", found["rows"]), ("targets", found["targets"])):
        if not values:
            raise DataError(f"`{place}` is not a readable record (`{key}` is empty). Repeat the run with `--force`.")
    if wrong := no_share(found["rows"], found["metric"]):
        raise DataError(f"`{place}` is not a readable record ({wrong}). Repeat the run with `--force`.")
    return found


def rows_to_measure(record: Record, wanted: Sequence[str] | None) -> Sequence[str] | None:
    """Return what `evaluate.rows` is for an evaluation that adds what a record lacks; empty where it lacks nothing.

    Args:
        record: The record of a run of which some rows may have been measured alone.
        wanted: The rows that are wanted now, as `evaluate.rows` names them; `None` for all.
    """
    before = rows_asked_for(record)
    if before is None:
        return ()
    if wanted is None:
        return None
    measured = {row["key"] for row in record["rows"]} | {*before}
    return tuple(dict.fromkeys((*before, *wanted))) if {*wanted} - measured else ()


def rows_asked_for(record: Record) -> Sequence[str] | None:
    """Return what `evaluate.rows` was for a record."""
    evaluated = cast("Mapping[str, object]", record["config"].get("evaluate") or {})
    return cast("Sequence[str] | None", evaluated.get("rows"))


def is_averaged(record: Record, average: Average) -> bool:
    """Return whether the headlines of a record are made as `evaluate.average` says; those of one target always are."""
    return len(record["targets"]) < 2 or record.get("average", "arithmetic") == average


def no_share(rows: Sequence[Row], metric: str) -> str:
    """Return in words the first accuracy (or IoU) that is not from 0 to 1; empty where all are.

    Args:
        rows: The rows of a record.
        metric: Its primary metric, which the headlines are of.
    """
    for row in rows:
        for name, value in _shares(row, metric):
            if value is not None and known(value) and not -_ROUNDING <= value <= 1 + _ROUNDING:
                return f"`rows.{row['key']}.{name}` is {value:g}, but it is a fraction, from 0 to 1"
    return ""


def _shares(row: Row, metric: str) -> Iterator[tuple[str, float | None]]:
    """Yield all figures of a row that are fractions of 1, by their place in it."""
    if metric in PER_CLASS:
        yield from (("held_out", row["held_out"]), ("held_out_in80", row["held_out_in80"]))
        yield "validation", row["validation"]
        yield from ((f"sources.{name}", value) for name, value in row.get("sources", {}).items())
    for target, metrics in row["targets"].items():
        for name, value in metrics.items():
            if name.startswith(_SHARES):
                values = value if isinstance(value, list) else [value]
                yield from ((f"targets.{target}.{name}", one) for one in values)


def merge_facts(record: Record) -> MergeFacts | None:
    """Return what the first step that merged models left in its facts as `merge`; `None` if none did."""
    return _facts(record, "merge", MergeFacts)


def selection_counts(record: Record) -> dict[str, SelectionCounts] | None:
    """Return what the first step that selected samples left in its facts as `selection`; `None` if none did."""
    return _facts(record, "selection", dict[str, SelectionCounts])


def read_before(record: Record) -> dict[str, list[str]]:
    """Return the targets whose images each step opened, before the evaluation did; steps that opened none are left out.

    What a step declares counts where what it opened was not noted.
    """
    found = {}
    for name, step in steps_before(record).items():
        opened = record["targets"] if step["opened"] is None and "targets" in step["reads"] else step["opened"] or []
        if targets := [target for target in record["targets"] if target in opened]:
            found[name] = targets
    return found


def steps_before(record: Record) -> dict[str, StepRecord]:
    """Return the algorithm's own steps: all but the evaluation, which is always last."""
    return {name: step for name, step in record["steps"].items() if name != EVALUATE}


def known(value: float | None) -> bool:
    """Return whether a figure is there: neither `None`, nor not-a-number, nor infinite."""
    return value is not None and math.isfinite(value)


def _facts(record: Record, name: str, kind: type[T]) -> T | None:
    for step in record["steps"].values():
        if (found := step["facts"].get(name)) is not None:
            check(found, kind)
            return cast("T", found)
    return None
