"""What an exported file says of itself: the model, its classes, what it expects of images, a CLIP's activation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from hamdg.data.preprocess import Preprocess
from hamdg.errors import WeightsError
from hamdg.merge.files.facts import CLASSES, MODEL, PREPROCESS, QUICK_GELU
from hamdg.merge.files.reading import open_raw, read_metadata
from hamdg.models.weights import SETTINGS


def facts_of_clip(preprocess: Preprocess, *, quick_gelu: bool) -> dict[str, str]:
    """Return what the file of a CLIP says beside its tensors."""
    return {PREPROCESS: _written(preprocess), QUICK_GELU: json.dumps(quick_gelu)}


def facts_of_network(model: str, classes: Sequence[str], preprocess: Preprocess) -> dict[str, str]:
    """Return what the file of another network says beside its tensors."""
    return {MODEL: model, CLASSES: json.dumps(list(classes)), PREPROCESS: _written(preprocess)}


def preprocess_in(path: Path) -> Preprocess | None:
    """Return what a weights file says that its model expects of images; `None` if it says nothing.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    text = read_metadata(path).get(PREPROCESS) if path.suffix == ".safetensors" else None
    if text is None:
        return None
    try:
        return _read(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"The metadata `{PREPROCESS}` of the weights file `{path}` are damaged. Copy the file again, or set "
            "`model.weights` to another."
        ) from error


def quick_gelu_in(path: Path) -> bool | None:
    """Return whether the weights of a CLIP were trained with OpenAI's QuickGELU; `None` if the file does not tell.

    Raises:
        WeightsError: The file is missing, damaged or unsafe.
    """
    found = open_raw(path)
    if QUICK_GELU in found.metadata:
        return found.metadata[QUICK_GELU] == "true"
    # All that OpenAI published were.
    return True if set(SETTINGS) <= found.keys() else None


def _written(preprocess: Preprocess) -> str:
    return json.dumps({"side": preprocess.side, "mean": preprocess.mean, "std": preprocess.std})


def _read(found: Mapping[str, object]) -> Preprocess:
    mean, std = (tuple(float(one) for one in cast("Sequence[float]", found[key])) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError("no mean and deviation of three colors")
    return Preprocess(int(cast("int", found["side"])), mean, std)
