"""Activations of frozen layers, for views of training images and for images that are tested: computed once and kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from hamdg import console
from hamdg.config.recipe import Recipe
from hamdg.data.cache.disk import amount, check_activations_fit
from hamdg.data.cache.stores import ABOUT, ACTIVATIONS, ACTIVATIONS_FORMAT, LOCK, VALUES, use
from hamdg.data.contents import contents_digest
from hamdg.data.domain import Domain, cache_of, read_once
from hamdg.data.images import Images
from hamdg.data.listing import Listing
from hamdg.data.preprocess import Preprocess
from hamdg.data.splits import Indices
from hamdg.errors import DataError
from hamdg.files import atomic_path, remove_leftovers, write_json

# Images that pass the layers at once; views are drawn for so many at a time, so it is part of the form.
CHUNK = 256

Augment = Callable[[Tensor | list[Tensor], int, int], Tensor]
"""Augments and normalizes uint8 images: given them, the view, and the number of the first one."""


class FrozenLayers(Protocol):
    """The layers of a network that stay as they are."""

    @property
    def identity(self) -> str:
        """The digest of all that they compute with."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the activations [n, c, h, w] of normalized images."""


class Views(NamedTuple):
    """What of a domain's images passes the layers.

    Args:
        images: The images.
        number: How many views each of them has.
        about: All that the views depend on beside the images.
        make: Makes a view.
    """

    images: Images
    number: int
    about: Mapping[str, object]
    make: Augment


class Activations:
    """The activations of a domain's images in several views, in half precision, in one file.

    They are what the layers give in full precision, rounded to float16 (the nearest of 11 significant bits).

    Args:
        folder: The folder of the file, float16 `[views, images, h, w, c]`; `open_activations` makes it.
        positions: Which images of the domain there are, ascending.
    """

    def __init__(self, folder: Path, positions: Indices) -> None:
        self._folder = folder
        self._positions = positions
        self._values: NDArray[np.float16] | None = None
        use(self, folder)

    def __reduce__(self) -> tuple[type[Activations], tuple[Path, Indices]]:
        """Let other processes open the file themselves."""
        return Activations, (self._folder, self._positions)

    @property
    def are_there(self) -> bool:
        """Whether there is the file; another machine's cache may have none."""
        return (self._folder / VALUES).exists()

    def read(self, positions: Indices, views: Indices) -> Tensor:
        """Return the activations of images, each in one view: float16 [n, c, h, w], channels last in memory."""
        if self._values is None:
            self._values = np.load(self._folder / VALUES, mmap_mode="r", allow_pickle=False)
        found = np.asarray(self._values[views, np.searchsorted(self._positions, positions)])
        return torch.from_numpy(found).permute(0, 3, 1, 2)


class ActivationImages:
    """The activations of a domain's images in place of these, float16 [n, c, h, w]; networks take one as the other.

    Args:
        activations: The activations, in one view.
        count: Of how many images they are.
    """

    decodes = False

    def __init__(self, activations: Activations, count: int) -> None:
        self._activations = activations
        self._count = count

    def __len__(self) -> int:
        return self._count

    def prepare(self, positions: Indices) -> None:
        """Do nothing: they are there."""

    def missing_bytes(self, positions: Indices, unopened: bool = False) -> float:
        """Return nothing."""
        return 0.0

    def read(self, positions: Indices) -> Tensor:
        """Return the activations of images."""
        return self._activations.read(positions, np.zeros_like(positions))


def tested_images(
    recipe: Recipe, domain: Domain, preprocess: Preprocess, layers: FrozenLayers | None, device: torch.device
) -> Images:
    """Return a domain's images as models are tested on them; with `data.views`, what frozen layers give for them.

    Args:
        recipe: The run's recipe.
        domain: The domain, all of whose images then pass the layers once.
        preprocess: What the model expects of its images.
        layers: The frozen layers, if there are any.
        device: Where activations are computed.
    """
    if layers is None or recipe.data.views is None:
        return domain.evaluation
    views = evaluation_views(recipe, domain, preprocess)
    found = open_activations(cache_of(recipe), domain, np.arange(len(domain)), views, layers, device)
    return ActivationImages(found, len(domain))


def evaluation_views(recipe: Recipe, domain: Domain, preprocess: Preprocess) -> Views:
    """Return a domain's images as models are tested on them."""
    about: dict[str, object] = {
        "preprocess": asdict(preprocess),
        "augment": "none",
        "store": recipe.data.store,
        "truncated": recipe.data.truncated,
    }

    def prepared(images: Tensor | list[Tensor], view: int, first: int) -> Tensor:
        assert isinstance(images, Tensor), "images that are evaluated have one size"
        return preprocess(images)

    return Views(read_once(domain, preprocess.side), 1, about, prepared)


def open_activations(
    cache: Path, domain: Domain, positions: Indices, views: Views, layers: FrozenLayers, device: torch.device
) -> Activations:
    """Open a domain's activations; those that are not there are computed, by one process at a time.

    Args:
        cache: The folder of caches.
        domain: The domain.
        positions: Which of its images.
        views: Which views of them.
        layers: What gives the activations.
        device: Where they are computed.

    Raises:
        StorageError: If they do not fit on the disk.
        DataError: If images cannot be read, or an activation is too large for half precision.
    """
    positions, description = np.sort(positions), _description(domain, positions, views, layers)
    folder = _folder(cache, description, views.number, len(positions))
    if not _is_whole(folder, views.number, len(positions)):
        with _alone(folder, domain.name):
            if not _is_whole(folder, views.number, len(positions)):
                views.images.prepare(positions)
                # Of processes that were killed; no other one writes here.
                remove_leftovers(folder)
                write_json(folder / ABOUT, description)
                _write(folder / VALUES, domain.name, positions, views, layers, device)
    return Activations(folder, positions)


@torch.no_grad()
def missing_bytes(
    cache: Path, domain: Domain, positions: Indices, views: Views, layers: FrozenLayers, image: Tensor
) -> int:
    """Return the disk that a domain's activations will take, 0 where they are there.

    Args:
        cache: The folder of caches.
        domain: The domain.
        positions: Which of its images.
        views: Which views of them.
        layers: What gives the activations.
        image: An image [1, 3, h, w] as the layers take it, whatever it shows.
    """
    shape = views.number, len(positions)
    if _is_whole(_folder(cache, _description(domain, positions, views, layers), *shape), *shape):
        return 0
    return 2 * math.prod(shape) * layers(image).numel()


def _description(domain: Domain, positions: Indices, views: Views, layers: FrozenLayers) -> dict[str, object]:
    """Return all that activations depend on; of images in files what is in them and what decodes them, too."""
    contents = domain.contents
    decoded = {"pillow": PIL.__version__} if isinstance(contents, Listing) else {}
    return {
        "format": ACTIVATIONS_FORMAT,
        "domain": domain.name,
        "place": contents.place if isinstance(contents, Listing) else "rendered",
        "images": domain.fingerprint,
        "contents": contents_digest(contents) if isinstance(contents, Listing) else "",
        "count": len(positions),
        "positions": hashlib.sha256(np.sort(positions).astype("<i8").tobytes()).hexdigest(),
        "views": views.number,
        "layers": layers.identity,
        **views.about,
        **decoded,
    }


def _folder(cache: Path, description: Mapping[str, object], views: int, count: int) -> Path:
    """Return the folder of activations; those from before the release of Pillow was noted count as this one's."""
    described = description, {name: value for name, value in description.items() if name != "pillow"}
    texts = [json.dumps(one, sort_keys=True).encode() for one in described]
    own, before = (cache / ACTIVATIONS / f"{hashlib.sha256(text).hexdigest()[:16]}-activations" for text in texts)
    return before if _is_whole(before, views, count) else own


def _is_whole(folder: Path, views: int, count: int) -> bool:
    """Return whether activations are there; a file that was damaged since it was written counts for none."""
    try:
        found = np.load(folder / VALUES, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return False
    return bool(found.dtype == np.float16 and found.shape[:2] == (views, count))


@contextmanager
def _alone(folder: Path, domain: str) -> Iterator[None]:
    """Hold the folder's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.note(f"waiting for another process that computes activations of `{domain}`")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(
    path: Path, domain: str, positions: Indices, views: Views, layers: FrozenLayers, device: torch.device
) -> None:
    """Compute the activations and write them, a chunk at a time; the file appears when it is whole."""
    starts = range(0, len(positions), CHUNK)
    total = views.number * len(positions)
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        console.progress(total, f"activations of `{domain}` computed") as advance,
    ):
        for view in range(views.number):
            for start in starts:
                images = views.images.read(positions[start : start + CHUNK])
                moved = images.to(device) if isinstance(images, Tensor) else [one.to(device) for one in images]
                found = _computed(layers, views.make(moved, view, start), domain)
                if not stream.tell():
                    _begin(stream, path, domain, (views.number, len(positions), *found.shape[1:]))
                stream.write(found.tobytes())
                advance(len(found))


@torch.no_grad()
def _computed(layers: FrozenLayers, images: Tensor, domain: str) -> NDArray[np.float16]:
    """Return activations in half precision [n, h, w, c]."""
    found = layers(images).half()
    if not bool(found.isfinite().all()):
        raise DataError(
            f"An activation of the frozen layers for an image of `{domain}` is not finite, or too large for half "
            "precision; leave `data.views` out, or freeze other layers with `model.frozen_blocks`."
        )
    return found.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _begin(stream: BinaryIO, path: Path, domain: str, shape: Sequence[int]) -> None:
    """Write the header, once the disk has room for all; an array that is mapped would kill the process otherwise."""
    need, what = 2 * int(np.prod(shape)), f"{shape[0]} x {shape[1]:,} activations of `{domain}`"
    free = check_activations_fit(need, what, path.parent)
    console.note(f"computing {what} once: {amount(need)} in {path.parent}, {amount(free)} free")
    header = {"descr": "<f2", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
