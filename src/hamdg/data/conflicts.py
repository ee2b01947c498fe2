"""Conflicts between source domains, made on purpose: wrong labels, contradicting ones, and imbalance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from hamdg.config.data import ConflictsConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.resolve import benchmark_of, label_named
from hamdg.data.splits import Indices, draw_per_class, seed_hash
from hamdg.errors import ConfigError
from hamdg.text import listed

Value = TypeVar("Value")

_KEY = "data.conflicts"
_LISTED = 12
# Its multiples, without their whole part, lie far apart however many there are.
_GOLDEN = 0.6180339887498949


def with_own_names(recipe: Recipe) -> Recipe:
    """Return the recipe with the domains and classes of its conflicts as the benchmark calls them.

    Domains without a conflict are left out, so that a share of 0 is the same run as none.

    Raises:
        ConfigError: If there is no such domain or class, a domain is not trained on, one is named twice, the exchanged
            labels are no permutation, or images have label maps.
    """
    given = recipe.data.conflicts
    if given == ConflictsConfig():
        return recipe
    bench = benchmark_of(recipe)
    if bench.task == "segmentation":
        raise ConfigError(
            f"`{_KEY}` changes the class of images, but those of `{recipe.benchmark}` have label maps; leave it out."
        )
    sources = bench.sources(recipe.held_out, recipe.excluded)
    noise = given.noise
    if isinstance(noise, Mapping):
        noise = {name: share for name, share in _by_domain(bench, sources, noise, "noise").items() if share}
    swap = {
        name: _permutation(bench, name, labels)
        for name, labels in _by_domain(bench, sources, given.swap or {}, "swap").items()
    }
    swap = {name: labels for name, labels in swap.items() if labels}
    own = ConflictsConfig(noise=noise or 0.0, swap=swap or None, imbalance=given.imbalance)
    return replace(recipe, data=replace(recipe.data, conflicts=own))


def _by_domain(bench: Benchmark, sources: tuple[str, ...], given: Mapping[str, Value], name: str) -> dict[str, Value]:
    """Return values by the names of source domains, in their order."""
    key, found = f"{_KEY}.{name}", {}
    for text, value in given.items():
        domain = bench.domain(text, key)
        if domain in found:
            raise ConfigError(f"`{key}` names the domain `{domain}` twice; keep one.")
        if domain not in sources:
            raise ConfigError(
                f"`{key}` names `{domain}`, which is not trained on, and other domains are never changed; name one of "
                f"{listed(sources)}."
            )
        found[domain] = value
    return {domain: found[domain] for domain in sources if domain in found}


def _permutation(bench: Benchmark, domain: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return which class each class is labeled as, by the benchmark's names, in its order."""
    key = f"{_KEY}.swap"
    found: dict[int, int] = {}
    for name, other in given.items():
        label, labeled = (label_named(bench, text, key) for text in (name, other))
        if label in found:
            raise ConfigError(f"`{key}` gives the class `{bench.classes[label]}` of `{domain}` two labels; keep one.")
        found[label] = labeled
    if lost := [bench.classes[label] for label in sorted(found.keys() - set(found.values()))]:
        raise ConfigError(
            f"`{key}` leaves no image of `{domain}` with the label {listed(lost)}; labels are exchanged, so each class "
            "that gives its label away gets another's: `{dog: horse, horse: dog}`."
        )
    return {bench.classes[label]: bench.classes[found[label]] for label in sorted(found) if found[label] != label}


def without_domain(given: ConflictsConfig, domain: str) -> ConflictsConfig:
    """Return conflicts without those of a domain, for a recipe that does not train on it."""
    noise, swap = given.noise, given.swap or {}
    if isinstance(noise, Mapping):
        noise = {name: share for name, share in noise.items() if name != domain}
    return replace(given, noise=noise, swap={name: labels for name, labels in swap.items() if name != domain})


def conflicting_labels(recipe: Recipe, domain: str, labels: Indices) -> Indices:
    """Return the labels that training and hold-out sets of a domain have; those given where nothing is changed.

    Args:
        recipe: The run's recipe, its conflicts by the benchmark's names.
        domain: The domain.
        labels: The label of each of its images.
    """
    bench, conflicts = benchmark_of(recipe), recipe.data.conflicts
    if domain not in bench.sources(recipe.held_out, recipe.excluded):
        return labels
    share = conflicts.noise.get(domain, 0.0) if isinstance(conflicts.noise, Mapping) else conflicts.noise
    exchanged = (conflicts.swap or {}).get(domain, {})
    if not share and not exchanged:
        return labels
    known = np.arange(len(bench.classes))
    for name, other in exchanged.items():
        known[bench.classes.index(name)] = bench.classes.index(other)
    found = known[labels]
    rng = np.random.RandomState(seed_hash(recipe.seed, bench.domains.index(domain), "noise"))
    # Both are always drawn, so that the wrong labels of a lower share are among those of a higher one.
    order, shift = rng.permutation(len(found)), rng.randint(1, len(bench.classes), len(found))
    wrong = order[: round(share * len(found))]
    found[wrong] = (found[wrong] + shift[wrong]) % len(bench.classes)
    return found.astype(np.int64)


def imbalanced_part(recipe: Recipe, domain: str, labels: Indices, train: Indices) -> Indices:
    """Return the positions of a source domain's training part that imbalance leaves.

    Class by class, in an order that differs between domains, the share that stays falls geometrically from 1 to one
    over `data.conflicts.imbalance`; one image of each class stays in any case.

    Args:
        recipe: The run's recipe.
        domain: The domain.
        labels: The true label of each of its images.
        train: The positions of its training part.
    """
    ratio = recipe.data.conflicts.imbalance
    if ratio == 1.0:
        return train
    bench = benchmark_of(recipe)
    index = bench.domains.index(domain)
    counts = np.bincount(labels[train], minlength=len(bench.classes)).tolist()
    kept = {
        label: max(1, round(counts[label] * ratio ** (-rank / max(1, len(bench.classes) - 1))))
        for rank, label in enumerate(frequency_order(bench, index))
    }
    return train[draw_per_class(labels[train], kept, recipe.seed, index, "imbalance")]


def frequency_order(bench: Benchmark, index: int) -> list[int]:
    """Return a domain's classes from the most to the least frequent: those of the benchmark, from a place of its own.

    Args:
        bench: The benchmark.
        index: The domain's position, on which the place depends alone.
    """
    count = len(bench.classes)
    first = int(count * (index * _GOLDEN % 1.0))
    return [*range(first, count), *range(first)]
