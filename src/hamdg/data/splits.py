"""DomainBed's split rule: which images of a domain train, and which validate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hamdg.errors import DataError
from hamdg.text import listed

Indices = NDArray[np.int64]


def seed_hash(*parts: int | str) -> int:
    """Return DomainBed's hash of a tuple: the md5 of its text, modulo 2**31."""
    return int(hashlib.md5(str(parts).encode(), usedforsecurity=False).hexdigest(), 16) % (2**31)


def image_classes(labels: NDArray[np.int64] | NDArray[np.uint8]) -> Indices:
    """Return the class of every image, by which `data.subset` and `data.shots` draw; one for all that have maps.

    Args:
        labels: Classes `[n]`, or maps of them `[n, h, w]`.
    """
    return np.zeros(len(labels), np.int64) if labels.ndim > 1 else labels.astype(np.int64, copy=False)


def split(count: int, fraction: float, trial_seed: int, domain_index: int) -> tuple[Indices, Indices]:
    """Split the images of a domain into its training ("in") and validation ("out") part.

    Args:
        count: How many images the domain has.
        fraction: Share of the validation part, rounded down.
        trial_seed: The run's seed.
        domain_index: The domain's position among the benchmark's domains.

    Returns:
        The indices of the training part and of the validation part, in DomainBed's order.
    """
    keys = np.arange(count, dtype=np.int64)
    np.random.RandomState(seed_hash(trial_seed, domain_index)).shuffle(keys)
    held = int(count * fraction)
    return keys[held:], keys[:held]


def draw_per_class(
    labels: NDArray[np.int64], limit: int | Mapping[int, int], seed: int, domain_index: int, purpose: str
) -> Indices:
    """Draw `limit` images of every class without replacement; all of a class that has fewer.

    Which ones depends on (seed, domain, purpose, class) alone, and those of a lower limit are among those of a higher.

    Args:
        labels: The class of every image.
        limit: Images of each class; one number for all, or one by label.
        seed: The run's seed.
        domain_index: The domain's position among the benchmark's domains.
        purpose: What they are drawn for; another purpose draws others.

    Returns:
        Their positions, in ascending order.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        generator = np.random.RandomState(seed_hash(seed, domain_index, purpose, label))
        chosen[generator.permutation(own)[: limit if isinstance(limit, int) else limit[label]]] = True
    return np.flatnonzero(chosen).astype(np.int64)


def missing_classes(labels: NDArray[np.int64], train: Indices, classes: tuple[str, ...]) -> list[str]:
    """Return the classes that have no image in the training part."""
    counts = np.bincount(labels[train], minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if count == 0]


def lacks_classes(domain: str, missing: list[str]) -> str:
    """Return the message that a subset or split of the embedded benchmark leaves classes without a training image."""
    return (
        f"domain `{domain}` has no training image of class {listed(missing)} left after subsetting and the split; "
        "raise `data.subset`, `data.shots` or `data.mini.images_per_class`, or lower `data.validation_fraction`."
    )


def check_holdout(domain: str, count: int, held: Indices, fraction: float) -> None:
    """Refuse an empty validation part where there is to be one.

    Raises:
        DataError: If no image of the domain validates.
    """
    if fraction > 0 and len(held) == 0:
        raise DataError(
            f"domain `{domain}` has no validation image: `data.validation_fraction` of {fraction} leaves 0 of {count}; "
            "raise it, or raise `data.subset` or `data.mini.images_per_class`."
        )
