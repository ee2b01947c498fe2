"""Loading images beside the classic way, image by image with Pillow: `python -m hamdg.tools.bench loading`.

Both read the same PACS images, in batches of 32 at random, on one thread, in turns; processor time counts.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from hamdg import console
from hamdg.data.augment import PresetName, prepare
from hamdg.data.cache.reader import open_images
from hamdg.data.find_images import list_domain
from hamdg.data.images import Images
from hamdg.data.listing import Listing
from hamdg.data.locations import locate
from hamdg.data.preprocess import Preprocess
from hamdg.data.registry import benchmark
from hamdg.data.transforms import EvaluationView, TrainingView, View, training_short
from hamdg.errors import DataError
from hamdg.stages.context import set_threads

SIDE, BATCH = 224, 32
FORMAT = Preprocess(SIDE)
# Images of every domain.
SAMPLE = 64
# How often the faster way goes over them in a round, so that both are timed for long enough.
PASSES = 15
HEADERS = ("images for", "classic, images/s", "hamdg, images/s", "ratio (least, most)", "wanted")
Transform = Callable[[Image.Image], Tensor]


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


def classic_transform(use: str) -> Transform:
    """Return DomainBed's transforms of single images; `clip` leaves out those of colors.

    Args:
        use: `domainbed`, `clip` or `evaluation`.
    """
    jitter = [transforms.ColorJitter(0.3, 0.3, 0.3, 0.3), transforms.RandomGrayscale()]
    crop = [transforms.RandomResizedCrop(SIDE, scale=(0.7, 1.0)), transforms.RandomHorizontalFlip()]
    center = [
        transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(SIDE),
    ]
    steps = {"domainbed": [*crop, *jitter], "clip": crop, "evaluation": center}[use]
    composed: Transform = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(FORMAT.mean, FORMAT.std)]
    )
    return composed


def classic_batch(listing: Listing, positions: Sequence[int], transform: Transform) -> Tensor:
    """Decode and transform images one by one, and stack them."""
    images = [Image.open(io.BytesIO(listing.content(position))).convert("RGB") for position in positions]
    return torch.stack([transform(image) for image in images])


def contests(samples: Sequence[Listing], cache: Path) -> list[Comparison]:
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


def row(contest: Comparison, images: int, most: int) -> tuple[str, ...]:
    """Hold a contest and return its line: medians of rounds, and the least and largest ratio of one.

    Args:
        contest: The contest.
        images: How many images a pass goes over.
        most: How many rounds there are, besides one that is not counted.
    """
    rounds = [_round(contest, images) for _ in range(most + 1)][1:]
    classic, ours = (statistics.median(each) for each in zip(*rounds, strict=True))
    ratios = [own / other for other, own in rounds]
    return (
        contest.title,
        f"{classic:,.0f}",
        f"{ours:,.0f}",
        f"{ours / classic:.1f} ({min(ratios):.1f}, {max(ratios):.1f})",
        f"{contest.wanted:g}",
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
    pictures = sum(map(len, samples))
    threads = set_threads(1)
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as cache:
        rows = [row(contest, pictures, most) for contest in contests(samples, Path(cache))]
    console.table(HEADERS, rows, title=f"{pictures} images of PACS, {threads} thread(s), {most} round(s)")


def samples_of(root: str | None, count: int = SAMPLE) -> list[Listing]:
    """Return some images of every domain of PACS; none, and why, where there is no PACS.

    Args:
        root: The folder of PACS; looked for if not given.
        count: Images of every domain.
    """
    facts = benchmark("pacs")
    try:
        place = locate(facts, root)
        if place.root is None:
            raise DataError("PACS is on the hub only; give its folder with `--data ROOT`.")
        rng = np.random.default_rng(0)
        domains = [list_domain(place, name) for name in facts.domains]
    except DataError as error:
        console.note(f"loading is not measured: {error}")
        return []
    return [domain.take(rng.choice(len(domain), min(count, len(domain)), replace=False)) for domain in domains]


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


def _round(contest: Comparison, pictures: int) -> tuple[float, float]:
    """Return images a second of both ways, the classic one first."""
    start = time.process_time()
    contest.classic()
    classic = time.process_time() - start
    ours = 0.0
    for _ in range(PASSES):
        given = contest.fresh()
        start = time.process_time()
        contest.ours(given)
        ours += time.process_time() - start
    return pictures / classic, PASSES * pictures / ours
