"""What the table and the predictions of a run take from the runs that it is compared with."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from hamdg.data.domain import Domain
from hamdg.errors import DataError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.predictions import MapPredictions, TargetPredictions, read_predictions
from hamdg.runs.record import Record, Row, read_record
from hamdg.stages.context import Context
from hamdg.stages.headline import estimated_errors, headline_of, part_of
from hamdg.stages.sources import same_images, split_facts

# Of a control's rows in the table of another run.
CONTROL_NOTE = "same images"


def joined_rows(context: Context, control: Context, known: Collection[str]) -> list[Row]:
    """Return a control's rows but those that are the run's own; they are called after the control.

    Their headlines are of the same part of the targets as the run's, and the same mean of several.

    Args:
        context: The run.
        control: The control.
        known: The keys of the run's own rows.
    """
    record = read_record(control.run.record)
    return [
        {**_as_own(context, record, row), "key": _joined_key(control, row["key"]), "note": row["note"] or CONTROL_NOTE}
        for row in record["rows"]
        if row["key"] not in known
    ]


def _as_own(context: Context, record: Record, row: Row) -> Row:
    """Return a control's row with the headline that it has in the run's table."""
    own: Row = {**row, "group": "control"}
    part, kind = record["part"], record.get("average", "arithmetic")
    same_mean = len(row["targets"]) == 1 or kind == context.recipe.evaluate.average
    if part == part_of(context) and same_mean:
        return own
    targets, errors = row["targets"], list[float]()
    if context.bench.task == "segmentation":
        errors = estimated_errors(context, targets, row["standard_error"], part, kind)
    held_out, inside, error = headline_of(context, targets, errors)
    return {**own, "held_out": held_out, "held_out_in80": inside, "standard_error": error}


def join_predictions(control: Context, own: Mapping[str, TargetPredictions]) -> dict[str, TargetPredictions]:
    """Return the predictions of a run with those of a control's rows; controls of earlier versions have none.

    Args:
        control: The control.
        own: The run's own predictions, by target.

    Raises:
        DataError: If the control's file is damaged.
    """
    file = control.run.predictions
    theirs = read_predictions(file).targets if file.exists() else {}
    return {name: _joined(control, one, theirs[name]) if name in theirs else one for name, one in own.items()}


def _joined(control: Context, own: TargetPredictions, theirs: TargetPredictions) -> TargetPredictions:
    if not np.array_equal(own.labels, theirs.labels):
        return own
    added = {_joined_key(control, key): key for key in theirs.predicted if key not in own.predicted}
    return TargetPredictions(
        own.labels,
        {**own.predicted, **{name: theirs.predicted[key] for name, key in added.items()}},
        {**own.confidence, **{name: theirs.confidence[key] for name, key in added.items()}},
    )


def join_maps(control: Context, own: Mapping[str, MapPredictions]) -> dict[str, MapPredictions]:
    """Return how a run's label maps compare, with those of a control's rows.

    Raises:
        DataError: If the control's file is damaged.
    """
    file = control.run.predictions
    theirs = read_predictions(file).maps if own and file.exists() else {}
    return {name: _joined_maps(control, one, theirs[name]) if name in theirs else one for name, one in own.items()}


def _joined_maps(control: Context, own: MapPredictions, theirs: MapPredictions) -> MapPredictions:
    keys = {_joined_key(control, key): key for key in theirs.confusions if key not in own.confusions}
    return MapPredictions(
        {**own.confusions, **{name: theirs.confusions[key] for name, key in keys.items()}},
        {**own.mean_iou, **{name: theirs.mean_iou[key] for name, key in keys.items()}},
        {**own.pixel_accuracy, **{name: theirs.pixel_accuracy[key] for name, key in keys.items()}},
    )


def _joined_key(control: Context, key: str) -> str:
    return f"{control.recipe.algorithm}/{key}"


def check_control(context: Context, control: RunDirectory, targets: Mapping[str, Domain]) -> None:
    """Refuse a control whose rows are of other images: one table would hold both.

    Raises:
        DataError: If it was tested on others.
    """
    splits = read_record(control.record).get("splits", {})
    for name, domain in targets.items():
        now = split_facts(context.recipe, domain, source=False)
        if name not in splits or not same_images(splits[name], now):
            raise DataError(
                f"The control `{control.path}` was tested on other images of `{name}` than there are now; "
                f"test it again with `hamdg evaluate {control.path}`, or do without it with `--controls.erm=false`."
            )
