"""What a run's steps leave as JSON: `<step>.json`, `start.json`, `validation.json`, and the index of a history."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory, StepDirectory
from hamdg.runs.figures import Figure
from hamdg.runs.manifest import check_digests
from hamdg.runs.record import Reads


class StepSummary(TypedDict):
    """`<step>.json`.

    Attributes:
        identity: Hash of everything that defines the step, the steps before it included.
        reads: What the step may read: `sources`, `targets`.
        opened: The domains whose images it opened.
        facts: What it found.
        figures: What a page draws of it.
        images_seen: How many images its models saw.
        seconds: How long it took.
        wrote: SHA-256 of the files that it wrote, by name in the run.
    """

    identity: str
    reads: list[Reads]
    opened: list[str]
    facts: dict[str, object]
    figures: list[Figure]
    images_seen: int
    seconds: float
    wrote: dict[str, str]


class Start(TypedDict):
    """`start.json`: what a run started from.

    Attributes:
        sha256: Digest of the tensors of the whole pretrained model.
        files: SHA-256 of the files that the model was read from, by their path.
        class_features: What stands for the classes, and its digest.
    """

    sha256: str
    files: dict[str, str]
    class_features: dict[str, str]


class ValidationSummary(TypedDict):
    """`validation.json`: what sweeps choose by.

    Attributes:
        validation: Accuracy on the sources' hold-out sets, by row.
        sources: The same on each of them; runs of earlier versions have none.
        opened: The domains whose images were opened.
        seconds: How long it took.
        wrote: SHA-256 of the files that the run's result was exported to.
    """

    validation: dict[str, float]
    sources: NotRequired[dict[str, dict[str, float]]]
    opened: list[str]
    seconds: float
    wrote: dict[str, str]


class HistoryEntry(TypedDict):
    """One file of a history, below the step's folder."""

    file: str
    step: int
    sha256: str
    validation_accuracy: float | None


class LearnerFiles(TypedDict):
    """What was kept of one learner; `valley` where its average found its own beginning and end."""

    start: NotRequired[HistoryEntry]
    last: HistoryEntry
    history: list[HistoryEntry]
    valley: NotRequired[dict[str, object]]


class HistoryIndex(TypedDict):
    """`<step>/index.json`."""

    kind: str
    steps: list[int]
    sources: dict[str, LearnerFiles]


def read_step_summary(step: StepDirectory) -> StepSummary:
    """Read a step's summary."""
    return schema.read(step.summary, StepSummary)


def read_start(run: RunDirectory) -> Start:
    """Read a run's `start.json`."""
    return schema.read(run.start, Start)


def read_validation(run: RunDirectory) -> dict[str, float]:
    """Return the accuracies on the sources' hold-out sets by row, also of runs whose `merge.json` holds them.

    Raises:
        RunDirectoryError: The run has none yet, or the file is damaged.
    """
    older = run.step("merge").summary
    path = older if older.is_file() and not run.validation.exists() else run.validation
    return schema.read(path, _Validation)["validation"]


def read_validation_by_source(run: RunDirectory) -> dict[str, dict[str, float]]:
    """Return the accuracies by row and source domain; empty for runs of versions that kept their means alone.

    Raises:
        RunDirectoryError: The file is damaged.
    """
    if not run.validation.exists():
        return {}
    return schema.read(run.validation, _Validation).get("sources", {})


class _Validation(TypedDict):
    validation: dict[str, float]
    sources: NotRequired[dict[str, dict[str, float]]]


def read_index(step: StepDirectory) -> HistoryIndex:
    """Read the index of a step's histories."""
    index = schema.read(step.index, HistoryIndex)
    for name, files in index["sources"].items():
        if not files["history"]:
            raise schema.damaged(step.index, f"`sources.{name}.history` is empty")
    return index


def check_step(run: RunDirectory, step: StepDirectory) -> None:
    """Check that what a step wrote is still there.

    Raises:
        RunDirectoryError: If a file is missing or is another.
    """
    check_digests(run, read_step_summary(step)["wrote"], wrote_by(step.name), remedy(step))


def remedy(step: StepDirectory) -> str:
    """Return what is to be done about a file of a step that is missing or another, for messages."""
    if RunDirectory(step.run).is_done:
        # `hamdg run` does nothing to a done run, and refuses one that lacks a summary.
        return f"restore it, or {schema.REPEAT}"
    return f"restore it, or delete `{step.summary}` and let `hamdg run` do that step again"


def wrote_by(name: str) -> str:
    """Return how the digests of a step's files are known, for messages."""
    return f"the step `{name}` wrote"
