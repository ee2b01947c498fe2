"""Which published copy of a benchmark some images are: their numbers beside those of the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hamdg.data.benchmark import Benchmark, Version

Counts = Mapping[str, Sequence[int]]
_SHOWN = 6


@dataclass(frozen=True)
class Difference:
    """A place where images are missing or too many.

    Args:
        where: `domain/class`, or the domain alone where a version's classes are not known.
        found: Images that are there.
        expected: Images of the published copy.
    """

    where: str
    found: int
    expected: int

    def __str__(self) -> str:
        return f"{self.found - self.expected:+,} in {self.where}"


@dataclass(frozen=True)
class Comparison:
    """Images beside those of the published copy that is most like them.

    Args:
        benchmark: The benchmark.
        version: The published copy.
        differences: Where both differ; empty if these images are that copy.
    """

    benchmark: Benchmark
    version: Version
    differences: tuple[Difference, ...]

    @property
    def exact(self) -> bool:
        """Return whether all numbers are those of the published copy."""
        return not self.differences

    def __str__(self) -> str:
        title, total = self.benchmark.title, sum(self.version.totals.values())
        copy = f"{title}, {self.version.name}: {total:,} images"
        if self.exact:
            return copy
        shown = [str(difference) for difference in self.differences[:_SHOWN]]
        more = len(self.differences) - len(shown)
        others = f" and {more} more" if more else ""
        return f"no known version of {title}; nearest is {copy}; here {', '.join(shown)}{others}"


def expected_count(version: Version, domain: str, label: int) -> int | None:
    """Return how many images a class has in a published copy, `None` if only its domain's total is known."""
    counts = version.by_class.get(domain)
    return None if counts is None else counts[label]


def agrees(version: Version, domain: str, counts: Sequence[int] | NDArray[np.int64]) -> bool:
    """Return whether a domain has as many images of every class as in a published copy, or in all if that is all known.

    Args:
        version: The published copy.
        domain: The domain.
        counts: Its images of every class, in the order of the classes.
    """
    if domain in version.by_class:
        return [int(count) for count in counts] == list(version.by_class[domain])
    return int(sum(counts)) == version.totals[domain]


def nearest_version(benchmark: Benchmark, counts: Counts) -> Comparison | None:
    """Return the published copy whose numbers differ least from these, the first of equal ones.

    Domains without any image do not count: a smaller copy is not nearer because less of it is missing.

    Args:
        benchmark: The benchmark.
        counts: Images of every class, in the order of the classes, by domain; a domain left out has none.

    Returns:
        The comparison, or `None` for a benchmark without published numbers.
    """
    compared = [
        Comparison(benchmark, version, tuple(_differences(benchmark, version, counts)))
        for version in benchmark.versions
    ]
    return min(compared, key=lambda comparison: _distance(comparison, counts), default=None)


def _distance(comparison: Comparison, counts: Counts) -> int:
    there = {domain for domain, own in counts.items() if sum(own)}
    return sum(abs(one.found - one.expected) for one in comparison.differences if one.where.partition("/")[0] in there)


def _differences(benchmark: Benchmark, version: Version, counts: Counts) -> Iterator[Difference]:
    for domain in benchmark.domains:
        found = counts.get(domain, [0] * len(benchmark.classes))
        if domain in version.by_class:
            places = [f"{domain}/{name}" for name in benchmark.classes]
            rows = zip(places, found, version.by_class[domain], strict=True)
        else:
            rows = zip([domain], [sum(found)], [version.totals[domain]], strict=True)
        yield from (Difference(*row) for row in rows if row[1] != row[2])
