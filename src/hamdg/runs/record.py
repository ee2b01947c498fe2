"""What lies in a run's `record.json`, typed, and the reader that checks it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from hamdg.errors import DataError
from hamdg.runs import schema

FORMAT = 1

RowGroup = Literal["control", "source", "merged"]


class Row(TypedDict):
    """One model measured on the held-out domain; accuracies are fractions of 1."""

    key: str
    label: str
    group: RowGroup
    held_out: float
    held_out_in80: float
    held_out_macro: float
    standard_error: float
    per_class: list[float | None]
    validation: float | None
    note: str


class EnrichmentCounts(TypedDict):
    """What one source model was offered and took in, summed over the training; noisy counts when they are known."""

    candidates: int
    added: int
    noisy_candidates: int | None
    noisy_added: int | None


class MergeFacts(TypedDict):
    """How the histories were merged, and the geometry of their task vectors; the layer "" is the whole model.

    `target_data`: the merge opened the held-out domain. Records from before there was a choice of methods do
    not name theirs. `valleys`: what each source's SWAD is the mean of, if that is its history.
    """

    method: NotRequired[str]
    options: NotRequired[dict[str, float | int | bool | str | None]]
    target_data: NotRequired[bool]
    norms: dict[str, float]
    cosines: dict[str, dict[str, float]]
    kept: dict[str, dict[str, float]]
    merged_norm: float
    mean_norm: float
    valleys: NotRequired[dict[str, dict[str, float | int | bool | None]]]


class Validation(TypedDict):
    """The part of `merge.json` that sweeps choose by: the accuracies on the source hold-outs, by row."""

    validation: dict[str, float]


class MergeSummary(MergeFacts, Validation):
    """`merge.json`: also digests of what the merge read and wrote."""

    seconds: float
    opened: NotRequired[list[str]]
    read: NotRequired[dict[str, str]]
    wrote: NotRequired[dict[str, str]]


class ImagesSeen(TypedDict):
    """The training budget in images: those of the own batches, and with those that enrichment added."""

    fresh: int
    with_enrichment: int


class _Run(TypedDict):
    format: int
    benchmark: str
    held_out: str
    algorithm: str
    label: str
    seed: int
    identity: str
    held_out_accuracy: float
    held_out_accuracy_in80: float
    zero_shot_accuracy: float
    source_accuracies: dict[str, float]
    validation_accuracy: float
    classes: list[str]
    domains: list[str]
    sources: list[str]
    prompts: list[str]
    rows: list[Row]
    enrichment: dict[str, EnrichmentCounts] | None
    merge: MergeFacts | None
    images_seen: ImagesSeen
    n_held_out: int
    timings: dict[str, float]
    data_digest: str
    versions: dict[str, str]
    command: str
    config: dict[str, object]


class Record(_Run, total=False):
    """One finished run; `data` is the card of images that lie somewhere, a sweep adds `condition` and `variant`.

    `class_features`: what stands for the classes (`model.text_head`), and its digest. `opened`: the domains whose
    images each stage opened; stages of runs from before this was noted are missing.
    `files`: SHA-256 of what holds the models of the table, by name in the run.
    """

    # Records from before there were real benchmarks have neither of these two.
    words: list[str]
    class_features: dict[str, str]
    splits: dict[str, dict[str, int | str]]
    data: dict[str, object]
    opened: dict[str, list[str]]
    files: dict[str, str]
    condition: str
    variant: str


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


def read_validation(run: Path) -> dict[str, float]:
    """Return the accuracies on the source hold-outs that a run's merge stage wrote, by row.

    Raises:
        RunDirectoryError: The run is not merged, or its `merge.json` is damaged.
    """
    return schema.read(run / "merge.json", Validation)["validation"]


def checked(record: object, place: str) -> Record:
    """Return `record` as a typed record, or say what it lacks.

    Args:
        record: What was read from JSON.
        place: Where it came from, for the message.

    Raises:
        DataError: It is no mapping, is of another format, lacks a key, or has a value of another type.
    """
    if not isinstance(record, dict):
        raise DataError(f"`{place}` is not a record: expected a JSON object, got `{type(record).__name__}`.")
    if record.get("format") != FORMAT:
        raise DataError(
            f"`{place}` has record format `{record.get('format')}`, expected `{FORMAT}`. "
            "Use the hamdg version that wrote it, or repeat the run."
        )
    missing = sorted(Record.__required_keys__ - record.keys())
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise DataError(f"`{place}` lacks {names}. Repeat the run with `--force` to write the record anew.")
    try:
        schema.conform(record, Record)
    except schema.MismatchError as error:
        raise DataError(f"`{place}` is not a readable record ({error}). Repeat the run with `--force`.") from error
    return cast("Record", record)


def known(value: float | None) -> bool:
    """Return whether a figure is there: neither `None` nor not-a-number."""
    return value is not None and not math.isnan(value)
