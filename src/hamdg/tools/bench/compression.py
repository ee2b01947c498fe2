"""What a compressed store changes in an evaluation, by size and quality: `python -m hamdg.tools.bench compression`.

PACS images (227 pixels) are reduced and encoded as a store for mini-CLIP (48 pixels) would keep them, and shown to
mini-CLIP beside what it sees of the files. Images are classified by the nearest class mean of the features of every
second one. The first line is the yardstick: torchvision's own resize of tensors in place of that of Pillow images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms import InterpolationMode, functional

from hamdg import console
from hamdg.config.recipe import ModelConfig
from hamdg.data.decode import decoded
from hamdg.data.preprocess import Preprocess
from hamdg.data.transforms import EvaluationView, TrainingView
from hamdg.models.clip import load_clip
from hamdg.stages.machine import set_threads
from hamdg.tools.bench.classic import samples_of

SAMPLE, CHUNK = 500, 64
# Short sides, in sides of the model; at 1.4 a store would serve training alone.
SIDES = (1.4, 2.0, 2.8)
CODECS: tuple[tuple[str, int, str], ...] = (
    ("JPEG", 80, "4:2:0"),
    ("JPEG", 90, "4:2:0"),
    ("JPEG", 95, "4:2:0"),
    ("JPEG", 80, "4:4:4"),
    ("JPEG", 90, "4:4:4"),
    ("JPEG", 95, "4:4:4"),
    ("WEBP", 90, "4:2:0"),
)
HEADERS = ("kept", "kB", "logits differ by, % of their spread", "other predictions, %", "accuracy, %", "change")
Images = Sequence[Image.Image]


class Difference(NamedTuple):
    """What another way to evaluate changes.

    Args:
        logits: Mean absolute difference of logits, as a share of their standard deviation.
        other: Share of images with another prediction.
        accuracy: Share of right predictions.
        change: What that is more than before, and its standard error.
    """

    logits: float
    other: float
    accuracy: float
    change: tuple[float, float]


def difference(before: Tensor, after: Tensor, labels: Tensor) -> Difference:
    """Compare the logits [n, classes] of two ways to evaluate the same images."""
    first, second = before.argmax(1), after.argmax(1)
    gains = (second == labels).double() - (first == labels).double()
    change = (float(gains.mean()), float(gains.std()) / len(labels) ** 0.5)
    share = float((after - before).abs().mean() / before.std())
    other, accuracy = (float(one.double().mean()) for one in (first != second, second == labels))
    return Difference(share, other, accuracy, change)


def encoded(image: Image.Image, short: int, codec: tuple[str, int, str] | None) -> tuple[Image.Image, int]:
    """Return an image as a store gives it back, and how many bytes it takes; without a codec it is only reduced."""
    size = TrainingView(short).size(*image.size)
    reduced = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
    if codec is None:
        return reduced, 3 * size[0] * size[1]
    kind, quality, subsampling = codec
    stream = BytesIO()
    reduced.save(stream, kind, quality=quality, **({"subsampling": subsampling} if kind == "JPEG" else {}))
    return decoded(stream.getvalue()), len(stream.getvalue())


def of_tensors(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return CLIP's square as torchvision makes it of tensors."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    whole = functional.resize(pixels, [side], InterpolationMode.BICUBIC, antialias=True)
    square: Tensor = functional.center_crop(whole, [side, side])
    return np.asarray(square.permute(1, 2, 0).contiguous().numpy(), np.uint8)


def main(root: str | None = None) -> None:
    """Print the table, or why there is none.

    Args:
        root: The folder of PACS; looked for if not given.
    """
    samples = samples_of(root, SAMPLE)
    if not samples:
        return
    set_threads(1)
    labels = torch.from_numpy(np.concatenate([sample.labels for sample in samples]))
    images = [decoded(sample.content(position)) for sample in samples for position in range(len(sample))]
    console.table(HEADERS, list(rows(images, labels)), title=f"{len(images)} images of PACS, mini-CLIP")


def rows(images: Images, labels: Tensor) -> Iterator[tuple[str, ...]]:
    """Yield the lines of the table.

    Args:
        images: The images.
        labels: Their classes.
    """
    clip = load_clip(ModelConfig())
    side, tower = clip.image_size, clip.encoder
    features = partial(_features, tower, Preprocess(side, clip.mean, clip.std))
    square = EvaluationView(side).render
    seen = features([square(image) for image in images])
    known, tested = slice(0, None, 2), slice(1, None, 2)
    classes = range(int(labels.max()) + 1)
    means = torch.stack([seen[known][labels[known] == label].mean(0) for label in classes])
    head = 100 * normalize(means, dim=1).T
    compare = partial(difference, seen[tested] @ head, labels=labels[tested])
    yield _row("the files", None, compare(seen[tested] @ head))
    other = features([of_tensors(image, side) for image in images])
    yield _row("the files, resized as tensors", None, compare(other[tested] @ head))
    for short in (round(sides * side) for sides in SIDES):
        for codec in (None, *CODECS):
            kept = [encoded(image, short, codec) for image in images]
            found = features([square(image) for image, _ in kept])
            title = f"{short} pixels, {' '.join(map(str, codec)) if codec else 'not encoded'}"
            size = float(np.mean([count for _, count in kept]))
            yield _row(title, size, compare(found[tested] @ head))


@torch.no_grad()
def _features(
    tower: Callable[[Tensor], Tensor], preprocess: Preprocess, squares: Sequence[NDArray[np.uint8]]
) -> Tensor:
    """Return features [n, d] of length 1."""
    pixels = torch.stack([torch.from_numpy(square) for square in squares])
    parts = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
    return normalize(torch.cat([tower(preprocess(part)) for part in parts]), dim=1)


def _row(title: str, size: float | None, found: Difference) -> tuple[str, ...]:
    gain, error = found.change
    return (
        title,
        "\N{EN DASH}" if size is None else f"{size / 1e3:.1f}",
        f"{found.logits:.2%}".rstrip("%"),
        f"{found.other:.2%}".rstrip("%"),
        f"{found.accuracy:.2%}".rstrip("%"),
        f"{100 * gain:+.2f} ± {100 * error:.2f}",
    )
