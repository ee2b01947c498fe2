"""The kept enrichment samples (`samples.npz`): who was offered what, and what was let in."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hamdg.errors import DataError

_COLUMNS = ("accepted", "model", "domain", "label", "clean_label", "confidence", "threshold", "step")
_LARGEST_SIDE = 96


@dataclass(frozen=True)
class Sample:
    """One image of another domain that a source model was offered.

    Args:
        image: RGB pixels, `[h, w, 3]`.
        accepted: Whether its confidence was above the threshold.
        model: The source model that was asked.
        domain: The domain the image comes from.
        label: The label that training sees.
        clean_label: The true label.
        confidence: The model's confidence.
        threshold: The model's threshold at that step.
        step: When it was asked.
    """

    image: NDArray[np.uint8]
    accepted: bool
    model: str
    domain: str
    label: str
    clean_label: str
    confidence: float
    threshold: float
    step: int

    @property
    def mislabeled(self) -> bool:
        """Whether training sees a wrong label."""
        return self.label != self.clean_label


def read_samples(path: Path) -> list[Sample]:
    """Read a `samples.npz`.

    Raises:
        DataError: The file is damaged, or an array is missing.
    """
    try:
        return _read(path)
    except (BadZipFile, EOFError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        # NumPy's own words go on about how to load what should not be trusted.
        why = "" if "pickle" in str(error) else f" ({error})"
        raise DataError(f"`{path}` is damaged or no archive of samples{why}. Repeat the run with `--force`.") from error


def _read(path: Path) -> list[Sample]:
    # Opened here, since NumPy leaves a file open that turns out to be damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        missing = [name for name in ("images", *_COLUMNS, "sources", "classes") if name not in stored]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise DataError(f"`{path}` lacks {names}. Repeat the run with `--force`.")
        images = stored["images"]
        columns = {name: stored[name].tolist() for name in _COLUMNS}
        sources: list[str] = stored["sources"].tolist()
        classes: list[str] = stored["classes"].tolist()
    return [
        Sample(
            image=images[index],
            accepted=bool(columns["accepted"][index]),
            model=sources[columns["model"][index]],
            domain=sources[columns["domain"][index]],
            label=classes[columns["label"][index]],
            clean_label=classes[columns["clean_label"][index]],
            confidence=float(columns["confidence"][index]),
            threshold=float(columns["threshold"][index]),
            step=int(columns["step"][index]),
        )
        for index in range(len(images))
    ]


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return at most `count` samples, evenly spread over the training and ordered by step."""
    ordered = sorted(samples, key=lambda sample: sample.step)
    if len(ordered) <= count:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (count - 1))] for index in range(count)]


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image as an inline PNG, reduced when it is larger than a thumbnail."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
