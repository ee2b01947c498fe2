"""Which images a domain has, wherever they are: one door over folders, list files and the hub. No image is opened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.folders.listing import check_domains, list_folder
from hamdg.data.hub.rows import list_hub_domain
from hamdg.data.label_maps import Pairs, list_pairs
from hamdg.data.listing import Listing
from hamdg.data.lists.listing import list_listed_domain
from hamdg.data.locations import Location
from hamdg.data.parallel import check_sizes
from hamdg.data.resolve import benchmark_of, place_of
from hamdg.data.splits import Indices, draw_per_class


def list_domain(place: Location, domain: str) -> Listing:
    """List the images of one domain, wherever they are.

    Args:
        place: Where the benchmark's images are.
        domain: One of its domains.

    Raises:
        DataError: If the domain is missing, or its folders do not hold exactly the benchmark's classes.
    """
    if place.lists is not None:
        return list_listed_domain(place.benchmark, place.lists, domain)
    if place.benchmark.task == "segmentation":
        return list_pairs(place, domain).images
    if place.root is not None:
        return list_folder(place, domain)
    assert place.hub is not None
    return list_hub_domain(place.benchmark, place.hub, domain)


def list_images(recipe: Recipe, name: str) -> Listing:
    """List a domain's images, reduced to `data.subset`.

    Raises:
        DataError: If the domain is missing, or does not hold exactly the benchmark's classes.
    """
    return _reduced(recipe, list_domain(place_of(recipe), name).with_truncated(recipe.data.truncated))


def list_images_and_maps(recipe: Recipe, name: str) -> Pairs:
    """List a domain's images and their label maps, reduced to `data.subset`.

    Raises:
        DataError: If the domain is missing, or its images and maps do not go together.
    """
    images, maps = list_pairs(place_of(recipe), name)
    return Pairs(_reduced(recipe, images.with_truncated(recipe.data.truncated)), _reduced(recipe, maps))


def _reduced(recipe: Recipe, listing: Listing) -> Listing:
    kept = subset_positions(recipe, listing.domain, listing.labels)
    return listing if kept is None else listing.take(kept)


def subset_positions(recipe: Recipe, domain: str, labels: NDArray[np.int64]) -> Indices | None:
    """Return which images of a domain `data.subset` keeps; `None` where it is not given."""
    limit = recipe.data.subset
    if limit is None:
        return None
    return draw_per_class(labels, limit, recipe.seed, benchmark_of(recipe).domains.index(domain), "subset")


def find_images(recipe: Recipe, held_out: bool = True) -> None:
    """Check that the recipe's images can be found, before anything heavy is loaded.

    Files are listed as a run will list them, so that a misspelled class is reported now. Those of held-out domains
    are, too: what is wrong with their names and sizes would otherwise come up after the training.

    Args:
        recipe: The recipe.
        held_out: Whether the held-out domains are wanted too.

    Raises:
        DataError: If they are nowhere, a domain is missing or has not the benchmark's classes, or an image or a label
            map of a held-out domain is an empty file.
    """
    if recipe.benchmark in RENDERED:
        return
    place = place_of(recipe)
    sources = place.benchmark.sources(recipe.held_out, recipe.excluded)
    needed = (*sources, *place.benchmark.targets(recipe.held_out)) if held_out else sources
    wanted = [name for name in place.benchmark.domains if name in needed]
    if place.root is not None:
        check_domains(place, wanted)
    for name in wanted:
        listing = list_images(recipe, name)
        if name not in sources:
            check_sizes(listing)
            if place.benchmark.task == "segmentation":
                check_sizes(list_images_and_maps(recipe, name).maps, "label maps")
