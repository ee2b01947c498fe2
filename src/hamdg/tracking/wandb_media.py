"""Results as W&B shows them: tables, confusion matrices, images, files; imported when W&B is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import wandb

from hamdg.tracking.results import CaptionedImage, Confusion, Results, ResultTable

# Classes up to which a confusion matrix is drawn: W&B shows tables of 10,000 rows.
_DRAWN = 100
_COLUMNS = ("Actual", "Predicted", "nPredictions")


def media_of(results: Results) -> dict[str, object]:
    """Return tables, confusion matrices and images by name, as `Run.log` takes them."""
    found: dict[str, object] = {name: _table(one) for name, one in results.tables.items()}
    for name, confusion in results.confusions.items():
        found |= _confusion(name, confusion)
    images = {name: [_image(one) for one in group] for name, group in results.images.items()}
    return found | {name: shown for name, shown in images.items() if shown}


def artifact_of(name: str, files: Sequence[Path], metadata: Mapping[str, object]) -> wandb.Artifact:
    """Return files as an artifact of the type `model`.

    Args:
        name: Its name in the project.
        files: The files, which are called by their own names and that of their folder.
        metadata: What else is known of them.
    """
    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    for file in files:
        artifact.add_file(str(file), name=f"{file.parent.name}/{file.name}")
    return artifact


def _table(table: ResultTable) -> wandb.Table:
    return wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows], allow_mixed_types=True)


def _image(image: CaptionedImage) -> wandb.Image:
    return wandb.Image(image.pixels, caption=image.caption)


def _confusion(name: str, confusion: Confusion) -> dict[str, object]:
    """Return the matrix as a table of what occurs, and as a drawing unless it is too large for one."""
    classes, counts = list(confusion.classes), confusion.counts
    rows = [[classes[i], classes[j], int(counts[i, j])] for i, j in np.ndindex(*counts.shape)]
    columns: list[str | int] = list(_COLUMNS)
    occurring = wandb.Table(columns=columns, data=[row for row in rows if row[2]])
    found: dict[str, object] = {f"{name}_counts": occurring}
    if len(classes) <= _DRAWN:
        fields = {column: column for column in _COLUMNS}
        whole = wandb.Table(columns=columns, data=rows)
        found[name] = wandb.plot_table("wandb/confusion_matrix/v1", whole, fields, {"title": name})
    return found
