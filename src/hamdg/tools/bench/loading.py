"""Loading images beside the classic way, image by image with Pillow: `python -m hamdg.tools.bench loading`.

Both read the same PACS images, in batches of 32 at random, on one thread, in turns; processor time counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from hamdg import console
from hamdg.data.augment import PresetName, prepare
from hamdg.data.cache.reader import open_images
from hamdg.data.images import Images
from hamdg.data.listing import Listing
from hamdg.data.transforms import EvaluationView, TrainingView, View, training_short
from hamdg.stages.machine import set_threads
from hamdg.tools.bench.classic import FORMAT, SIDE, classic_batch, classic_transform, samples_of

BATCH = 32
# How often the faster way goes over them in a round, so that both are timed for long enough.
PASSES = 15
HEADERS = ("images for", "classic, images/s", "hamdg, images/s", "ratio (least, most)", "wanted")


@dataclass(frozen=True)
class Comparison:
    """One use of images, both ways.

    Args:
        title: What the table calls it.
        wanted: The ratio that is aimed at.
        classic: Goes over all images the classic way.
        fresh: Opens the images for one pass of ours; not timed.
        ours: Goes over all of them.
    """

    title: str
    wanted: float
    classic: Callable[[], None]
    fresh: Callable[[], Sequence[Images]]
    ours: Callable[[Sequence[Images]], None]


def comparisons(samples: Sequence[Listing], cache: Path) -> list[Comparison]:
    """Return what is compared; all images are decoded and kept.

    Args:
        samples: The images, by domain.
        cache: A folder for decoded images.
    """

    def opened(view: View) -> list[Images]:
        stores = [open_images(sample, view, cache) for sample in samples]
        for store in stores:
            store.prepare(np.arange(len(store)))
        return stores

    def trained(title: str, preset: PresetName) -> Comparison:
        stores = opened(TrainingView(training_short(SIDE)))
        return Comparison(title, 5, _classic(samples, preset), lambda: stores, lambda given: _train(given, preset))

    stores = opened(EvaluationView(SIDE))
    classic = _classic(samples, "evaluation")
    return [
        trained("training, preset domainbed", "domainbed"),
        trained("training, preset clip", "clip"),
        Comparison("evaluation, first reading", 20, classic, lambda: opened(EvaluationView(SIDE)), _evaluate),
        Comparison("evaluation, later readings", 20, classic, lambda: stores, _evaluate),
    ]


def row(comparison: Comparison, images: int, most: int) -> tuple[str, ...]:
    """Make a comparison and return its line: medians of rounds, and the least and largest ratio of one.

    Args:
        comparison: The comparison.
        images: How many images a pass goes over.
        most: How many rounds there are, besides one that is not counted.
    """
    rounds = [_round(comparison, images) for _ in range(most + 1)][1:]
    classic, ours = (statistics.median(each) for each in zip(*rounds, strict=True))
    ratios = [own / other for other, own in rounds]
    return (
        comparison.title,
        f"{classic:,.0f}",
        f"{ours:,.0f}",
        f"{ours / classic:.1f} ({min(ratios):.1f}, {max(ratios):.1f})",
        f"{comparison.wanted:g}",
    )


def main(root: str | None = None, most: int = 9) -> None:
    """Print the table, or why there is none.

    Args:
        root: The folder of PACS; looked for if not given.
        most: How many rounds there are.
    """
    samples = samples_of(root)
    if not samples:
        return
    images = sum(map(len, samples))
    threads = set_threads(1)
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as cache:
        rows = [row(comparison, images, most) for comparison in comparisons(samples, Path(cache))]
    console.table(HEADERS, rows, title=f"{images} images of PACS, {threads} thread(s), {most} round(s)")


def _classic(samples: Sequence[Listing], use: str) -> Callable[[], None]:
    transform = classic_transform(use)

    def work() -> None:
        for sample in samples:
            for positions in _batches(len(sample)):
                classic_batch(sample, positions.tolist(), transform)

    return work


def _train(stores: Sequence[Images], preset: PresetName) -> None:
    for store in stores:
        for seed, positions in enumerate(_batches(len(store))):
            prepare(store.read(positions), preset, FORMAT, seed)


def _evaluate(stores: Sequence[Images]) -> None:
    for store in stores:
        for positions in _batches(len(store)):
            images = store.read(positions)
            assert isinstance(images, Tensor)
            FORMAT(images)


def _batches(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    order = np.random.default_rng(count).permutation(count)
    return [order[start : start + BATCH] for start in range(0, count, BATCH)]


def _round(comparison: Comparison, images: int) -> tuple[float, float]:
    """Return images a second of both ways, the classic one first."""
    start = time.process_time()
    comparison.classic()
    classic = time.process_time() - start
    ours = 0.0
    for _ in range(PASSES):
        given = comparison.fresh()
        start = time.process_time()
        comparison.ours(given)
        ours += time.process_time() - start
    return images / classic, PASSES * images / ours
