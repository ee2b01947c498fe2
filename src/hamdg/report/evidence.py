"""What a run left beside its record for its page: predictions, lines between models, and the runs that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hamdg.errors import DataError
from hamdg.report.figures import StepData
from hamdg.report.metrics import Metrics, read_metrics
from hamdg.report.related import RelatedRun, related_runs
from hamdg.report.samples import Images, read_images
from hamdg.runs.directory import RunDirectory
from hamdg.runs.lines import LineFacts, read_lines
from hamdg.runs.predictions import Predictions, read_predictions
from hamdg.runs.record import Record, StepRecord, steps_before


@dataclass(frozen=True)
class Evidence:
    """Everything that the page draws and that is not in the record; what is missing is left out of the page.

    Args:
        steps: What the steps left in files, by step.
        predictions: What every row predicted.
        lines: Accuracies on the lines between models.
        related: Other runs of the same experiment.
    """

    steps: Mapping[str, StepData] = field(default_factory=dict)
    predictions: Predictions | None = None
    lines: LineFacts | None = None
    related: Sequence[RelatedRun] = ()


def read_evidence(path: Path, record: Record) -> Evidence:
    """Read it from a run directory.

    Raises:
        DataError: A file is not as expected.
        RunDirectoryError: The same, of a JSON file.
    """
    run = RunDirectory(path)
    predictions = read_predictions(run.predictions) if run.predictions.is_file() else None
    for target in {} if predictions is None else predictions.targets.values():
        if max(int(one.max(initial=0)) for one in (target.labels, *target.predicted.values())) >= len(
            record["classes"]
        ):
            raise DataError(
                f"`{run.predictions}` has other classes than the record; let `hamdg evaluate {path}` write both again."
            )
    return Evidence(read_steps(path, record), predictions, read_lines(run), related_runs(path, record))


def read_steps(run: Path, record: Record) -> dict[str, StepData]:
    """Return what the steps of a run left in files, by step.

    Raises:
        DataError: A file is not as expected.
    """
    found = {}
    for index, (name, step) in enumerate(steps_before(record).items()):
        metrics = run / name / "metrics.csv"
        # Runs of the first version have one file, of their training.
        if index == 0 and not metrics.is_file():
            metrics = run / "metrics.csv"
        measured = read_metrics(metrics) if metrics.is_file() else Metrics({})
        found[name] = StepData(measured, _read_all_images(run, step))
    return found


def _read_all_images(run: Path, step: StepRecord) -> dict[str, Images]:
    names = {figure["file"] for figure in step["figures"] if figure["kind"] == "images"}
    # A record is not trusted to name files outside its run.
    inside = {name: run / name for name in names if (run / name).resolve().is_relative_to(run.resolve())}
    return {name: read_images(path) for name, path in inside.items() if path.is_file()}
