"""One domain of a run: its labels, and its images as training and as evaluation see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hamdg.config.data import CROPPING, RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.cache.compressed import SIDES, CompressedImages, CompressedView
from hamdg.data.cache.disk import compressed_bytes
from hamdg.data.cache.reader import Store, open_images
from hamdg.data.conflicts import conflicting_labels
from hamdg.data.find_images import list_images, list_images_and_maps, subset_positions
from hamdg.data.images import ArrayImages, Images
from hamdg.data.label_maps import read_maps
from hamdg.data.listing import Listing
from hamdg.data.resolve import benchmark_of
from hamdg.data.splits import image_classes
from hamdg.data.transforms import EvaluationView, TrainingView, View, WholeView, training_short
from hamdg.errors import ConfigError
from hamdg.files import needed_cache
from hamdg.mini import DomainArrays, data_digest
from hamdg.mini.rendered import load_rendered

_LISTENERS: list[set[str]] = []
# Domains that may be opened. Walls nest (a step's inside a command's), and a domain must be allowed by all of them.
_WALLS: list[frozenset[str]] = []


class WallError(RuntimeError):
    """Code tried to read a domain, or labels, that its step did not declare."""


@dataclass(frozen=True)
class Domain:
    """All images and labels of one domain, in their fixed order.

    Args:
        name: The domain's name.
        training: Images to draw batches from.
        evaluation: The same images as the model is tested on them.
        labels: What training sees: class indices, int64 `[n]`, wrong where label noise was asked for; or maps of a
            class for every pixel, uint8 `[n, side, side]`, 255 where there is none.
        clean_labels: The true ones.
        contents: What the images are read from: files, or arrays.
    """

    name: str
    training: Images
    evaluation: Images
    labels: NDArray[np.int64] | NDArray[np.uint8]
    clean_labels: NDArray[np.int64] | NDArray[np.uint8]
    contents: Listing | DomainArrays

    def __len__(self) -> int:
        return len(self.contents.labels)

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 that identifies these images: of names and sizes, or of rendered images."""
        contents = self.contents
        return contents.fingerprint if isinstance(contents, Listing) else data_digest([contents])


class UnlabeledDomain(Domain):
    """A domain whose labels must not be looked at."""

    def __init__(self, domain: Domain) -> None:
        nothing = np.empty(0, dtype=np.int64)
        super().__init__(domain.name, domain.training, domain.evaluation, nothing, nothing, domain.contents)

    def __getattribute__(self, name: str) -> object:
        """Refuse the labels."""
        if name in ("labels", "clean_labels"):
            raise WallError(f"The labels of `{self.name}` are not for this step: it reads targets without labels.")
        return super().__getattribute__(name)


@contextmanager
def only_domains(names: Iterable[str]) -> Iterator[None]:
    """Let the block open these domains alone: whatever code runs in it, others raise.

    Args:
        names: The domains.
    """
    wall = frozenset(names)
    _WALLS.append(wall)
    try:
        yield
    finally:
        _WALLS.remove(wall)


@contextmanager
def opened_domains() -> Iterator[set[str]]:
    """Collect the names of all domains that are opened while the block runs, so that records state what was read."""
    names: set[str] = set()
    _LISTENERS.append(names)
    try:
        yield names
    finally:
        _LISTENERS[:] = [other for other in _LISTENERS if other is not names]


def open_domain(recipe: Recipe, name: str, side: int, labeled: bool = True) -> Domain:
    """Open one domain, reduced to `data.subset`; the only place where images are opened.

    Args:
        recipe: The run's recipe.
        name: The domain.
        side: Side of the images that the model takes.
        labeled: Whether its labels may be looked at.

    Raises:
        ConfigError: If label maps are not of the side of the model's images.
        DataError: If images or label maps are missing, or the maps cannot be used.
    """
    if any(name not in wall for wall in _WALLS):
        raise WallError(f"The domain `{name}` must not be opened here: the step does not declare that it reads it.")
    for names in _LISTENERS:
        names.add(name)
    opened = _opened(recipe, name, side, labeled)
    return _with_conflicts(recipe, opened) if labeled else UnlabeledDomain(opened)


def _with_conflicts(recipe: Recipe, domain: Domain) -> Domain:
    """Return a domain with the labels that `data.conflicts` gives it; the true ones stay known."""
    if domain.labels.ndim > 1:
        return domain
    classes = image_classes(domain.labels)
    labels = conflicting_labels(recipe, domain.name, classes)
    return domain if labels is classes else replace(domain, labels=labels)


def _opened(recipe: Recipe, name: str, side: int, labeled: bool) -> Domain:
    if recipe.benchmark in RENDERED:
        arrays = load_rendered(recipe.benchmark, name, recipe.data, cache_of(recipe))
        if arrays.labels.ndim > 1 and arrays.labels.shape[1] != side:
            raise ConfigError(
                f"The model takes images of {side} pixels, but the label maps of `{recipe.benchmark}` have "
                f"{arrays.labels.shape[1]}; set `data.{RENDERED[recipe.benchmark]}.image_size` to {side}."
            )
        return from_arrays(_reduced(recipe, arrays))
    bench = benchmark_of(recipe)
    if bench.task == "segmentation":
        pairs = list_images_and_maps(recipe, name)
        maps = read_maps(pairs, bench, side, cache_of(recipe)) if labeled else np.empty((0, side, side), np.uint8)
        return Domain(name, *_views(recipe, pairs.images, side), maps, maps, pairs.images)
    listing = list_images(recipe, name)
    return Domain(name, *_views(recipe, listing, side), listing.labels, listing.labels, listing)


def _views(recipe: Recipe, listing: Listing, side: int) -> tuple[Images, Images]:
    """Return a domain's images for training and for evaluation; one and the same where training does not crop."""
    crops = recipe.data.augment in CROPPING
    if recipe.data.store == "compressed":
        short = SIDES * side
        store = Store(listing, CompressedView(short), cache_of(recipe))
        views: tuple[View, View] = (WholeView(short), EvaluationView(side))
        whole, square = (CompressedImages(store, view) for view in views)
        return whole if crops else square, square
    kept = cache_of(recipe) if recipe.data.decode_once else None
    evaluation = open_images(listing, EvaluationView(side), kept)
    return open_images(listing, TrainingView(training_short(side)), kept) if crops else evaluation, evaluation


def read_once(domain: Domain, side: int) -> Images:
    """Return a domain's images as evaluation sees them, to be read once: what would be kept for that alone is not.

    Args:
        domain: The domain.
        side: Side of the images that the model takes.
    """
    contents, evaluation = domain.contents, domain.evaluation
    shared = domain.training is evaluation or isinstance(evaluation, CompressedImages)
    return evaluation if shared or not isinstance(contents, Listing) else open_images(contents, EvaluationView(side))


def held_out_bytes(recipe: Recipe, name: str, side: int) -> tuple[float, float]:
    """Return the bytes that a held-out domain's images will still take, and would if all of them were compressed.

    No file of it is opened.
    """
    listing = list_images(recipe, name)
    _, images = _views(recipe, listing, side)
    return images.missing_bytes(np.arange(len(listing)), unopened=True), compressed_bytes(listing)


def cache_of(recipe: Recipe) -> Path:
    """Return the folder of rendered and decoded images."""
    return needed_cache(recipe.data.cache)


def from_arrays(arrays: DomainArrays) -> Domain:
    """Return a domain whose images lie in memory, all of the same size."""
    images = ArrayImages(arrays.images)
    return Domain(arrays.domain, images, images, arrays.labels, arrays.clean_labels, arrays)


def _reduced(recipe: Recipe, arrays: DomainArrays) -> DomainArrays:
    kept = subset_positions(recipe, arrays.domain, image_classes(arrays.clean_labels))
    if kept is None:
        return arrays
    return DomainArrays(arrays.domain, arrays.images[kept], arrays.labels[kept], arrays.clean_labels[kept])


def combined_fingerprint(domains: list[Domain]) -> str:
    """Return one digest of several domains."""
    lines = "".join(f"{domain.name} {len(domain.labels)} {domain.fingerprint}\n" for domain in domains)
    return hashlib.sha256(lines.encode()).hexdigest()
