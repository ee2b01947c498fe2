"""What `hamdg data prepare` does: it decodes images into the cache, or renders those of embedded benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hamdg import console
from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.cache.compressed import SIDES, CompressedView
from hamdg.data.cache.disk import amount, check_fits, compressed_bytes
from hamdg.data.cache.reader import Store
from hamdg.data.find_images import list_images, list_images_and_maps
from hamdg.data.label_maps import read_maps
from hamdg.data.listing import Listing
from hamdg.data.resolve import benchmark_of
from hamdg.data.transforms import EvaluationView, TrainingView, View, training_short
from hamdg.errors import ConfigError
from hamdg.files import needed_cache
from hamdg.mini.rendered import load_rendered
from hamdg.text import listed


def prepare(
    recipe: Recipe, *, side: int, views: Literal["evaluation", "training", "both"], domains: Sequence[str] | None
) -> None:
    """Fill the cache with what a run would decode.

    Args:
        recipe: Names the images and the cache.
        side: Side of the images that the model takes.
        views: For evaluation, for the augmentations that crop, or for both.
        domains: Only these; `None` for all.

    Raises:
        ConfigError: If there is no such domain, or no such view of images with label maps.
        DataError: If there are no images, or some cannot be read.
        StorageError: If they do not fit.
    """
    benchmark = benchmark_of(recipe)
    names = benchmark.domains if domains is None else [_domain(benchmark, name) for name in domains]
    cache = needed_cache(recipe.data.cache)
    if benchmark.name in RENDERED:
        counts = {name: len(load_rendered(benchmark.name, name, recipe.data, cache).labels) for name in names}
        for name, count in counts.items():
            console.note(f"`{name}`: {count:,} images rendered")
        console.result_json({"folder": cache, "images": counts})
        return
    if benchmark.task == "segmentation":
        if views == "training":
            raise ConfigError("Images with label maps are not cropped, so that there is no training view to prepare.")
        views = "evaluation"
        for name in names:
            read_maps(list_images_and_maps(recipe, name), benchmark, side, cache)
    listings = [list_images(recipe, name) for name in names]
    wanted: list[View] = []
    if recipe.data.store == "compressed":
        # One store serves training and evaluation.
        wanted.append(CompressedView(SIDES * side))
    elif views != "training":
        wanted.append(EvaluationView(side))
    if recipe.data.store == "uncompressed" and views != "evaluation":
        wanted.append(TrainingView(training_short(side)))
    _fill(listings, wanted, cache)


def _fill(listings: Sequence[Listing], views: Sequence[View], cache: Path) -> None:
    """Decode all images in all views; print first how much disk that takes, and refuse what does not fit."""
    stores = [Store(listing, view, cache) for view in views for listing in listings]
    folder = cache / "pictures"
    need = sum(store.missing_bytes(np.arange(len(store))) for store in stores)
    if need:
        names = " and ".join(view.name for view in views)
        smaller = sum(map(compressed_bytes, listings)) if all(view.channels > 1 for view in views) else None
        free = check_fits(need, f"the decoded images ({names})", folder, smaller)
        console.note(f"{names}: {amount(need)} in all in {folder}, {amount(free)} free")
    for store in stores:
        store.prepare(np.arange(len(store)))
    console.result(f"{sum(map(len, listings)):,} images are decoded in {folder}.")
    console.result_json({"folder": folder, "images": {listing.domain: len(listing) for listing in listings}})


def _domain(benchmark: Benchmark, text: str) -> str:
    if (found := benchmark.find_domain(text)) is not None:
        return found
    raise ConfigError(f"`--domain`: `{benchmark.name}` has no domain `{text}`; it has {listed(benchmark.domains)}.")
