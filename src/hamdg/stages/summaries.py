"""What a run's stages leave behind for each other as JSON, typed, and read in one place."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hamdg.cohort.swad import ValleyFacts
from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import check_digests
from hamdg.runs.record import ImagesSeen, MergeSummary
from hamdg.runs.selection import SelectionCounts

# How the digests of a history are known.
WROTE = "training wrote"


class HistoryEntry(TypedDict):
    """One file of a history, below the folder `history`."""

    file: str
    step: int
    sha256: str
    validation_accuracy: float | None


class SourceFiles(TypedDict):
    """What was kept of one source model; `valley` where its average found its own beginning and end."""

    last: HistoryEntry
    history: list[HistoryEntry]
    valley: NotRequired[ValleyFacts]


class HistoryIndex(TypedDict):
    """`history/index.json`."""

    kind: str
    steps: list[int]
    sources: dict[str, SourceFiles]


class TrainSummary(TypedDict):
    """`train.json`; older versions wrote less.

    Attributes:
        training: Hash of everything in the recipe that training depends on.
        steps: How many there were.
        seconds: How long they took.
        start_sha256: Digest of the tensors of the CLIP that training started from.
        start_files: SHA-256 of the files that the CLIP was read from, by their path.
        class_features: What stands for the classes, and its digest.
        images_seen: How many images the models saw.
        enrichment: What enrichment let in, by source.
        opened: The domains whose images were opened.
        wrote: SHA-256 of the files that the stage wrote.
    """

    training: NotRequired[str]
    steps: int
    seconds: float
    start_sha256: NotRequired[str]
    start_files: NotRequired[dict[str, str]]
    class_features: NotRequired[dict[str, str]]
    images_seen: ImagesSeen
    enrichment: dict[str, SelectionCounts] | None
    opened: NotRequired[list[str]]
    wrote: NotRequired[dict[str, str]]


def read_index(run: RunDirectory) -> HistoryIndex:
    """Read a run's `history/index.json`."""
    index = schema.read(run.history_index, HistoryIndex)
    for source, files in index["sources"].items():
        if not files["history"]:
            raise schema.damaged(run.history_index, f"`sources.{source}.history` is empty")
    return index


def read_train(run: RunDirectory) -> TrainSummary:
    """Read a run's `train.json`."""
    return schema.read(run.train, TrainSummary)


def check_training(run: RunDirectory) -> None:
    """Check that what the training of a run wrote is still there; runs of older versions cannot be checked.

    Raises:
        RunDirectoryError: If a file is missing or is another.
    """
    check_digests(run, read_train(run).get("wrote", {}), WROTE)


def read_merge(run: RunDirectory) -> MergeSummary:
    """Read a run's `merge.json`."""
    return schema.read(run.merge, MergeSummary)
