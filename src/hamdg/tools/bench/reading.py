"""Reading images that have to be decoded, beside DomainBed's loader: `python -m hamdg.tools.bench reading`.

PACS images are enlarged to sizes that are common in larger data sets, with some noise so that their files are as
large as those of photographs. What is decoded from files (`data.decode_once: false`) and from a compressed store is
compared with Pillow and torchvision's transforms: on one thread in processor time, and with workers in wall time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from hamdg import console
from hamdg.cores import usable_cores
from hamdg.data.augment import PresetName, prepare
from hamdg.data.cache.compressed import SIDES, CompressedImages, CompressedView
from hamdg.data.cache.reader import Store
from hamdg.data.decode import decoded
from hamdg.data.images import DecodedImages, Images
from hamdg.data.listing import Listing
from hamdg.data.parallel import Ahead, limit_threads
from hamdg.data.transforms import EvaluationView, TrainingView, View, WholeView, training_short
from hamdg.stages.machine import set_threads
from hamdg.tools.bench.classic import FORMAT, SIDE, ClassicDataset, classic_batch, classic_transform, samples_of

SIZES = ((400, 300), (600, 450), (1000, 750), (2000, 1500))
USES = ("domainbed", "clip", "evaluation")
COUNT, BATCH = 48, 12
_NOISE, _QUALITY = 6.0, 85
HEADERS = ("images", "kB, kept", "use", "classic, images/s", "files: ratio", "compressed: ratio")
WORKERS = ("images", "use", "workers", "DataLoader, images/s", "files: ratio", "compressed: ratio")
Read = Callable[[], object]


class Enlarged:
    """PACS images of another size, in memory.

    Args:
        samples: PACS images, by domain.
        size: Width and height.
    """

    place = "memory"

    def __init__(self, samples: Sequence[Listing], size: tuple[int, int]) -> None:
        each = COUNT // len(samples)
        self.contents = [enlarged(one.content(k), size, k) for one in samples for k in range(min(each, len(one)))]

    def content(self, position: int) -> bytes:
        """Return an image's file."""
        return self.contents[position]

    def describe(self, position: int) -> str:
        """Return an image's name."""
        return f"image {position}"

    def stamp(self, position: int) -> int:
        """Return a number that never changes."""
        return 1

    def listing(self, title: str) -> Listing:
        """Return the images as a domain."""
        count = len(self.contents)
        sizes = np.array([len(content) for content in self.contents])
        return Listing(title, np.zeros(count, np.int64), [str(n) for n in range(count)], sizes, self)


def enlarged(content: bytes, size: tuple[int, int], seed: int) -> bytes:
    """Return a JPEG of another size of an image, with some noise."""
    image = decoded(content).resize(size, Image.Resampling.LANCZOS)
    noise = np.random.default_rng(seed).normal(0, _NOISE, (size[1], size[0], 1))
    stream = BytesIO()
    pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def views(listing: Listing, use: str, cache: Path) -> tuple[Images, Images]:
    """Return images that are decoded from files and those from a compressed store, for one use."""
    crops = use != "evaluation"
    view: View = TrainingView(training_short(SIDE)) if crops else EvaluationView(SIDE)
    small: View = WholeView(SIDES * SIDE) if crops else view
    store = Store(listing, CompressedView(SIDES * SIDE), cache)
    store.prepare(np.arange(len(store)))
    return DecodedImages(listing, view), CompressedImages(store, small)


def batch(images: Images, use: str, number: int) -> Tensor:
    """Return one batch as the model takes it."""
    start = number * BATCH % len(images)
    found = images.read(np.arange(start, min(start + BATCH, len(images))))
    if use != "evaluation":
        return prepare(found, preset(use), FORMAT, number)
    assert isinstance(found, Tensor)
    return FORMAT(found)


def preset(use: str) -> PresetName:
    """Return the preset of a use that crops."""
    return "clip" if use == "clip" else "domainbed"


def seconds(read: Read, clock: Callable[[], float]) -> float:
    """Return what a call takes."""
    start = clock()
    read()
    return clock() - start


def compared(classic: Read, others: Sequence[Read], clock: Callable[[], float], most: int) -> tuple[float, list[str]]:
    """Return the median seconds of the classic way, and by how much others are faster: median, least and most.

    All take turns; a round that is not counted comes first.
    """
    rounds = [[seconds(read, clock) for read in (classic, *others)] for _ in range(most + 1)][1:]
    texts = []
    for index in range(len(others)):
        ratios = [each[0] / each[index + 1] for each in rounds]
        texts.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")
    return statistics.median(each[0] for each in rounds), texts


def main(root: str | None = None, most: int = 5) -> None:
    """Print both tables, or why there are none.

    Args:
        root: The folder of PACS; looked for if not given.
        most: How many rounds there are.
    """
    samples = samples_of(root)
    if not samples:
        return
    set_threads(1)
    single, several = [], []
    for size in SIZES:
        title = f"{size[0]} x {size[1]}"
        listing = Enlarged(samples, size).listing(title)
        with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as cache:
            single += [row(listing, use, Path(cache), most) for use in USES]
            several += [workers_row(listing, use, Path(cache), most) for use in ("domainbed", "evaluation")]
    console.table(HEADERS, single, title=f"one thread, processor time, {most} round(s)")
    console.table(WORKERS, several, title=f"as many workers as threads, wall time, {most} round(s)")


def row(listing: Listing, use: str, cache: Path, most: int) -> tuple[str, ...]:
    """Return the line of one size and use: one thread, processor time."""
    transform = classic_transform(use)
    every = list(range(len(listing)))
    limit_threads(1)
    own = views(listing, use, cache)

    def classic() -> None:
        for start in range(0, len(every), BATCH):
            classic_batch(listing, every[start : start + BATCH], transform)

    reads = [lambda images=images: _all(images, use) for images in own]
    taken, ratios = compared(classic, reads, time.process_time, most)
    kept = sum(path.stat().st_size for path in cache.glob("**/pixels")) / len(listing)
    sizes = f"{listing.sizes.mean() / 1e3:.0f}, {kept / 1e3:.0f}"
    return (listing.domain, sizes, use, f"{len(listing) / taken:,.0f}", *ratios)


def workers_row(listing: Listing, use: str, cache: Path, most: int) -> tuple[str, ...]:
    """Return the line of one size and use: as many processes of torch's loader as threads of ours, wall time."""
    workers = min(8, usable_cores())
    limit_threads(workers)
    loader = DataLoader(
        ClassicDataset(listing, classic_transform(use)),
        BATCH,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=2,
    )

    def classic() -> None:
        for _ in range(2):
            for _ in loader:
                pass

    own = views(listing, use, cache)
    reads = [lambda images=images: _ahead(images, use, 2 * len(loader)) for images in own]
    taken, ratios = compared(classic, reads, time.perf_counter, most)
    limit_threads(1)
    return (listing.domain, use, str(workers), f"{2 * len(listing) / taken:,.0f}", *ratios)


def _all(images: Images, use: str) -> None:
    for number in range(-(-len(images) // BATCH)):
        batch(images, use, number)


def _ahead(images: Images, use: str, count: int) -> None:
    """Read as training does: files are decoded ahead, augmentation follows when a batch is taken."""
    torch.set_num_threads(1)
    ahead = Ahead(lambda number: images.read(np.arange(len(images))[number * BATCH % len(images) :][:BATCH]))
    for number in range(count):
        found = ahead.take(number, range(number + 1, count))
        if use != "evaluation":
            prepare(found, preset(use), FORMAT, number)
        else:
            assert isinstance(found, Tensor)
            FORMAT(found)
