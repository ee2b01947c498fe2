"""The images that a step kept (`.npz`), as strips of tiles; a log of offered samples says itself how it is sorted."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hamdg.errors import DataError
from hamdg.files import DAMAGED_ARCHIVE
from hamdg.runs.figures import ImageStrips

_COLUMNS = ("accepted", "model", "domain", "label", "clean_label", "confidence", "threshold", "step")
_NAMES = ("sources", "classes")
_LARGEST_SIDE = 96
_TILES = 10


@dataclass(frozen=True)
class Sample:
    """One image of another domain that a model was offered.

    Args:
        image: RGB pixels, `[h, w, 3]`.
        accepted: Whether its confidence was above the threshold.
        model: The model that was asked.
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


@dataclass(frozen=True)
class Tile:
    """An image with what stands below it; `sample` where it was offered to a model."""

    source: str
    caption: str
    sample: Sample | None = None


@dataclass(frozen=True)
class Strip:
    """Images in a row, under a title; `kind` is `in` for accepted ones, `out` for rejected ones."""

    title: str
    tiles: Sequence[Tile]
    kind: str = ""


@dataclass(frozen=True)
class Sheet:
    """Strips of images, grouped under headings."""

    title: str
    note: str
    groups: Sequence[tuple[str, Sequence[Strip]]]


@dataclass(frozen=True)
class Images:
    """What an image file holds: all images `[n, h, w, 3]`, and how each was offered if it is a log of that."""

    images: NDArray[np.uint8]
    samples: Sequence[Sample] = ()

    def sheet(self, figure: ImageStrips, models: Sequence[str]) -> Sheet | None:
        """Return the strips of a figure; `None` where no image is left to show.

        Args:
            figure: The figure.
            models: The models in their order, for a log of offered samples.
        """
        if figure["strips"]:
            strips = [
                Strip(
                    one["title"],
                    [
                        Tile(data_uri(self.images[image["index"]]), image["caption"])
                        for image in one["images"]
                        if 0 <= image["index"] < len(self.images)
                    ],
                )
                for one in figure["strips"]
            ]
            return Sheet(figure["title"], figure["note"], [("", strips)])
        groups = [(f"The {name} model", strips) for name in models if (strips := self._offered(name))]
        note = figure["note"]
        if any(sample.mislabeled for sample in self.samples):
            note += " A red frame: training sees a wrong label."
        return Sheet(figure["title"], note.strip(), groups) if groups else None

    def _offered(self, model: str) -> list[Strip]:
        own = [sample for sample in self.samples if sample.model == model]
        found = []
        for kind, title, accepted in (("in", "accepted", True), ("out", "rejected", False)):
            chosen = spread([sample for sample in own if sample.accepted == accepted], _TILES)
            tiles = [Tile(data_uri(one.image), f"{one.label} {one.confidence:.2f}", one) for one in chosen]
            found += [Strip(title, tiles, kind)] if tiles else []
        return found


def read_images(path: Path) -> Images:
    """Read an image file of a run.

    Raises:
        DataError: The file is damaged, or an array is missing.
    """
    try:
        return _read(path)
    except DAMAGED_ARCHIVE as error:
        if isinstance(error, DataError):
            raise
        # NumPy's own words go on about how to load what should not be trusted.
        why = "" if "pickle" in str(error) else f" ({error})"
        raise DataError(f"`{path}` is damaged or no archive of images{why}. Repeat the run with `--force`.") from error


def _read(path: Path) -> Images:
    # Read here: NumPy leaves a damaged file open, and looks where there is none, which is no fault of the disk.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
        wanted = ("images", *((*_COLUMNS, *_NAMES) if len(stored.files) > 1 else ()))
        missing = [name for name in wanted if name not in stored]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise DataError(f"`{path}` lacks {names}. Repeat the run with `--force`.")
        images = stored["images"]
        columns = {name: stored[name].tolist() for name in wanted[1:]}
    if not columns:
        return Images(images)
    sources, classes = columns["sources"], columns["classes"]
    samples = [
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
    return Images(images, samples)


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return at most `count` samples, evenly spread over the training and ordered by step."""
    ordered = sorted(samples, key=lambda sample: sample.step)
    if len(ordered) <= count:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (count - 1))] for index in range(count)]


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image as an inline PNG, reduced when it is larger than a thumbnail."""
    thumbnail = Image.fromarray(np.ascontiguousarray(image))
    thumbnail.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
