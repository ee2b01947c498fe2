"""The data card: which images were used or verified, in numbers and digests that do not depend on where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

import numpy as np

from hamdg import __version__
from hamdg.data.benchmark import Benchmark
from hamdg.data.listing import Listing
from hamdg.data.verify.versions import Counts, nearest_version


def card(benchmark: Benchmark, listings: Mapping[str, Listing]) -> dict[str, object]:
    """Return what is known of these images without opening one.

    Args:
        benchmark: The benchmark.
        listings: The images of every domain, or of some.

    Returns:
        The benchmark's name, the published copy whose numbers these are (`None` if they are those of none), and
        images by domain and class, each domain with the fingerprint of its listing, and what becomes of truncated
        files.
    """
    counts = class_counts(benchmark, listings)
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "version": _version(benchmark, counts),
        "pictures": sum(len(listing) for listing in listings.values()),
        "domains": {
            name: {
                "pictures": len(listing),
                "fingerprint": listing.fingerprint,
                "classes": dict(zip(benchmark.classes, counts[name], strict=True)),
            }
            for name, listing in listings.items()
        },
        "truncated": "read" if any(listing.truncated == "read" for listing in listings.values()) else "refuse",
        "hamdg": __version__,
    }


def class_counts(benchmark: Benchmark, listings: Mapping[str, Listing]) -> dict[str, list[int]]:
    """Return the images of every class, in the order of the classes, by domain."""
    classes = len(benchmark.classes)
    return {name: np.bincount(listing.labels, minlength=classes).tolist() for name, listing in listings.items()}


def canonical_paths(benchmark: Benchmark, listing: Listing) -> Iterator[str]:
    """Yield `domain/class/file` of every image in the order of the listing, the same in every layout.

    Domain and class are spelled as the registry spells them; `file` is what follows the class folder. Folders above
    that one, such as `train` and `test`, are left out. An image without a class folder (of a hub's data set) keeps
    its whole name as its `file`.
    """

    @cache
    def label_of(folder: str) -> int | None:
        return benchmark.find_label(folder)

    for name, label in zip(listing.names, listing.labels.tolist(), strict=True):
        folders = name.split("/")[:-1]
        depth = next((depth for depth, folder in enumerate(folders, start=1) if label_of(folder) == label), 0)
        yield "/".join([listing.domain, benchmark.classes[label], *name.split("/")[depth:]])


def lines_digest(lines: Iterable[str]) -> str:
    """Return the SHA-256 of the lines, sorted by their UTF-8 bytes and each ended by a newline."""
    digest = hashlib.sha256()
    for line in sorted(line.encode() for line in lines):
        digest.update(line + b"\n")
    return digest.hexdigest()


def paths_digest(benchmark: Benchmark, listings: Mapping[str, Listing]) -> str:
    """Return the SHA-256 of the sorted lines `domain/class/file` of all images, as `canonical_paths` writes them."""
    return lines_digest(path for listing in listings.values() for path in canonical_paths(benchmark, listing))


def contents_digest(
    benchmark: Benchmark, listings: Mapping[str, Listing], digest_of: Callable[[str, int], bytes | None]
) -> str:
    """Return the SHA-256 of the lines that `sha256sum domain/class/file` would print of all images, sorted.

    Such a line is the file's digest in hexadecimal, two spaces and the path of `canonical_paths`.

    Args:
        benchmark: The benchmark.
        listings: The images of every domain.
        digest_of: Returns the SHA-256 of an image, given its domain and position; `None` if it cannot be read, which
            leaves it out.
    """
    return lines_digest(
        f"{digest.hex()}  {path}"
        for domain, listing in listings.items()
        for position, path in enumerate(canonical_paths(benchmark, listing))
        if (digest := digest_of(domain, position)) is not None
    )


def _version(benchmark: Benchmark, counts: Counts) -> str | None:
    nearest = nearest_version(benchmark, counts)
    return nearest.version.name if nearest is not None and nearest.exact else None
