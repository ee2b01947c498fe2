"""`predictions.npz`: what every entry predicted on the held-out domains, and the images of some mistakes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hamdg.errors import DataError
from hamdg.files import DAMAGED_ARCHIVE, atomic_path

Classes = NDArray[np.int64]
Shares = NDArray[np.float32]


@dataclass(frozen=True)
class TargetPredictions:
    """What the entries predicted on one held-out domain.

    Args:
        labels: The true classes, `[n]`.
        predicted: By the key of an entry, the class with the highest score, `[n]`.
        confidence: The softmax probability of that class, `[n]`.
    """

    labels: Classes
    predicted: Mapping[str, Classes]
    confidence: Mapping[str, Shares]

    def confusion(self, key: str, classes: int) -> Classes:
        """Return an entry's confusion matrix `[true, predicted]`: how many images of each class were taken for which.

        Args:
            key: The entry.
            classes: How many classes there are.
        """
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (self.labels, self.predicted[key]), 1)
        return counts


class Mistake(NamedTuple):
    """A wrong prediction whose image was kept.

    Args:
        image: The image, reduced, uint8 `[h, w, 3]`.
        target: The domain that it is from.
        true: The class that it is of.
        predicted: The class that it was taken for.
        confidence: The model's confidence.
    """

    image: NDArray[np.uint8]
    target: str
    true: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class Mistakes:
    """Some wrong predictions of the result, the most confident one first.

    Args:
        images: Their images, reduced, uint8 `[m, h, w, 3]`.
        targets: The domain of each.
        positions: Its position in that domain, `[m]`.
    """

    images: NDArray[np.uint8]
    targets: tuple[str, ...]
    positions: Classes


@dataclass(frozen=True)
class Predictions:
    """Everything in the file.

    Args:
        targets: The predictions, by held-out domain.
        mistakes: The mistakes that were kept; `None` for none.
    """

    targets: Mapping[str, TargetPredictions]
    mistakes: Mistakes | None = None

    def mistakes_of(self, key: str) -> Iterator[Mistake]:
        """Yield the kept mistakes of an entry, which is the result, the most confident one first."""
        kept = self.mistakes
        if kept is None:
            return
        for image, name, at in zip(kept.images, kept.targets, kept.positions.tolist(), strict=True):
            own = self.targets[name]
            if key in own.predicted:
                true, predicted = int(own.labels[at]), int(own.predicted[key][at])
                yield Mistake(image, name, true, predicted, float(own.confidence[key][at]))


def write_predictions(path: Path, found: Predictions) -> None:
    """Write the file; the same predictions give the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {"targets": np.array(list(found.targets), dtype=np.str_)}
    for index, one in enumerate(found.targets.values()):
        keys, count = list(one.predicted), len(one.labels)
        arrays |= {
            f"keys_{index}": np.array(keys, dtype=np.str_),
            f"labels_{index}": _small(one.labels),
            f"predicted_{index}": _small(np.array([one.predicted[key] for key in keys]).reshape(len(keys), count)),
            f"confidence_{index}": np.array([one.confidence[key] for key in keys], np.float32).reshape(-1, count),
        }
    if found.mistakes is not None:
        arrays |= {
            "mistake_images": found.mistakes.images,
            "mistake_targets": np.array(found.mistakes.targets, dtype=np.str_),
            "mistake_positions": found.mistakes.positions,
        }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stubs take `allow_pickle` for an array


def _small(classes: Classes) -> NDArray[np.generic]:
    return classes.astype(np.int16 if classes.max(initial=0) < 1 << 15 else np.int32)


def read_predictions(path: Path) -> Predictions:
    """Read the file.

    Raises:
        DataError: It is damaged, or lacks an array.
    """
    try:
        # Read here: NumPy leaves a damaged file open, and looks where there is none, which is no fault of the disk.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            names = stored["targets"].tolist()
            targets = {str(name): _target(stored, index) for index, name in enumerate(names)}
            return Predictions(targets, _mistakes(stored, targets) if "mistake_images" in stored else None)
    except DAMAGED_ARCHIVE as error:
        # NumPy's own words go on about how to load what should not be trusted.
        why = "" if "pickle" in str(error) else f" ({error})"
        raise DataError(
            f"`{path}` is damaged or holds no predictions{why}; let `hamdg evaluate {path.parent}` write it again."
        ) from error


def _target(stored: Mapping[str, NDArray[np.generic]], index: int) -> TargetPredictions:
    keys, labels = [str(key) for key in stored[f"keys_{index}"].tolist()], stored[f"labels_{index}"].astype(np.int64)
    predicted, confidence = stored[f"predicted_{index}"], stored[f"confidence_{index}"]
    for array in (predicted, confidence):
        if array.shape != (len(keys), len(labels)):
            raise ValueError(f"expected {len(keys)} x {len(labels)} predictions, got {array.shape}")
    return TargetPredictions(
        labels,
        dict(zip(keys, predicted.astype(np.int64), strict=True)),
        dict(zip(keys, confidence.astype(np.float32), strict=True)),
    )


def _mistakes(stored: Mapping[str, NDArray[np.generic]], targets: Mapping[str, TargetPredictions]) -> Mistakes:
    images, positions = stored["mistake_images"], stored["mistake_positions"].astype(np.int64)
    names = tuple(str(name) for name in stored["mistake_targets"].tolist())
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images) == len(names) == len(positions):
        raise ValueError("its images of mistakes do not fit")
    counts = {name: len(one.labels) for name, one in targets.items()}
    if any(not 0 <= at < counts.get(name, 0) for name, at in zip(names, positions.tolist(), strict=True)):
        raise ValueError("its mistakes are of no image")
    return Mistakes(images.astype(np.uint8), names, positions)
