"""`predictions.npz`: what every entry predicted on the held-out domains, and the images of some mistakes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hamdg.errors import DataError
from hamdg.files import DAMAGED_ARCHIVE, atomic_path

# The fields of `WorstMaps`, each an array of the file.
_WORST = ("images", "labels", "predicted", "targets", "positions", "colors")

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


@dataclass(frozen=True)
class MapPredictions:
    """How the entries' label maps on one held-out domain compare with the true ones; the maps themselves are not kept.

    Args:
        confusions: By the key of an entry, how many pixels of each class were taken for which, `[true, predicted]`.
        mean_iou: By key, the mean IoU of every image, `[n]`; not a number where no pixel is labeled.
        pixel_accuracy: By key, the share of right pixels of every image, `[n]`; likewise.
    """

    confusions: Mapping[str, Classes]
    mean_iou: Mapping[str, Shares]
    pixel_accuracy: Mapping[str, Shares]

    @property
    def predicted(self) -> Mapping[str, object]:
        """The entries, by key."""
        return self.confusions

    def confusion(self, key: str, classes: int) -> Classes:
        """Return an entry's confusion matrix `[true, predicted]`, of pixels."""
        return self.confusions[key]


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
class WorstMaps:
    """The images of each target with the lowest mean IoU of the result's label maps, the worst first; all reduced.

    Args:
        images: The images, uint8 `[m, h, w, 3]`.
        labels: Their label maps, uint8 `[m, h, w]`; 255 where there is no class.
        predicted: The result's label maps, likewise.
        targets: The domain of each.
        positions: Its position in that domain, `[m]`.
        colors: The color of every class, uint8 `[classes, 3]`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    targets: tuple[str, ...]
    positions: Classes
    colors: NDArray[np.uint8]


@dataclass(frozen=True)
class Predictions:
    """Everything in the file.

    Args:
        targets: The predictions, by held-out domain.
        mistakes: The mistakes that were kept; `None` for none.
        maps: Of label maps, in place of predictions, how they compare, by held-out domain.
        worst: Of label maps, in place of mistakes, the worst ones; `None` for none.
    """

    targets: Mapping[str, TargetPredictions]
    mistakes: Mistakes | None = None
    maps: Mapping[str, MapPredictions] = field(default_factory=dict)
    worst: WorstMaps | None = None

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
    if found.maps:
        arrays |= _map_arrays(found.maps)
    if found.mistakes is not None:
        arrays |= {
            "mistake_images": found.mistakes.images,
            "mistake_targets": np.array(found.mistakes.targets, dtype=np.str_),
            "mistake_positions": found.mistakes.positions,
        }
    if found.worst is not None:
        arrays |= {f"worst_{name}": np.asarray(getattr(found.worst, name)) for name in _WORST}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stubs take `allow_pickle` for an array


def _map_arrays(maps: Mapping[str, MapPredictions]) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {"map_targets": np.array(list(maps), dtype=np.str_)}
    for index, one in enumerate(maps.values()):
        keys = list(one.confusions)
        arrays |= {
            f"map_keys_{index}": np.array(keys, dtype=np.str_),
            f"map_confusion_{index}": np.array([one.confusions[key] for key in keys], np.int64),
            f"map_iou_{index}": np.array([one.mean_iou[key] for key in keys], np.float32),
            f"map_accuracy_{index}": np.array([one.pixel_accuracy[key] for key in keys], np.float32),
        }
    return arrays


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
            mistakes = _mistakes(stored, targets) if "mistake_images" in stored else None
            names = stored["map_targets"].tolist() if "map_targets" in stored else []
            maps = {str(name): _maps(stored, index) for index, name in enumerate(names)}
            return Predictions(targets, mistakes, maps, _worst(stored, maps) if "worst_images" in stored else None)
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


def _maps(stored: Mapping[str, NDArray[np.generic]], index: int) -> MapPredictions:
    keys = [str(key) for key in stored[f"map_keys_{index}"].tolist()]
    confusions = stored[f"map_confusion_{index}"].astype(np.int64)
    shares = [stored[f"map_{name}_{index}"].astype(np.float32) for name in ("iou", "accuracy")]
    square = confusions.ndim == 3 and confusions.shape[1] == confusions.shape[2]
    if not square or {len(confusions), *map(len, shares)} != {len(keys)}:
        raise ValueError("its figures of label maps do not fit")
    iou, right = (dict(zip(keys, array, strict=True)) for array in shares)
    return MapPredictions(dict(zip(keys, confusions, strict=True)), iou, right)


def _mistakes(stored: Mapping[str, NDArray[np.generic]], targets: Mapping[str, TargetPredictions]) -> Mistakes:
    images, positions = stored["mistake_images"], stored["mistake_positions"].astype(np.int64)
    names = tuple(str(name) for name in stored["mistake_targets"].tolist())
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images) == len(names) == len(positions):
        raise ValueError("its images of mistakes do not fit")
    counts = {name: len(one.labels) for name, one in targets.items()}
    if any(not 0 <= at < counts.get(name, 0) for name, at in zip(names, positions.tolist(), strict=True)):
        raise ValueError("its mistakes are of no image")
    return Mistakes(images.astype(np.uint8), names, positions)


def _worst(stored: Mapping[str, NDArray[np.generic]], maps: Mapping[str, MapPredictions]) -> WorstMaps:
    images, labels, predicted, targets, positions, colors = (stored[f"worst_{name}"] for name in _WORST)
    names = tuple(str(name) for name in targets.tolist())
    same = images.ndim == 4 and images.shape[3] == 3 and images.shape[:3] == labels.shape == predicted.shape
    if not same or not len(images) == len(names) == len(positions) or colors.shape[1:] != (3,):
        raise ValueError("its worst label maps do not fit")
    counts = {name: min(map(len, one.mean_iou.values()), default=0) for name, one in maps.items()}
    if any(not 0 <= at < counts.get(name, 0) for name, at in zip(names, positions.tolist(), strict=True)):
        raise ValueError("its worst label maps are of no image")
    own, found, drawn = (array.astype(np.uint8) for array in (labels, predicted, colors))
    return WorstMaps(images.astype(np.uint8), own, found, names, positions.astype(np.int64), drawn)
