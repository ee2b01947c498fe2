"""The images of a benchmark as the Hugging Face hub has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hamdg import console
from hamdg.data.benchmark import Benchmark, Hub
from hamdg.data.folders.scan import check_classes
from hamdg.data.hub.copies import local_copy
from hamdg.data.hub.table import NameColumn, open_table
from hamdg.data.listing import Listing, Names
from hamdg.errors import DataError
from hamdg.text import listed

Meaning = TypeVar("Meaning", str, int)

_LISTED = 12
_SAMPLED = 64


class RowNames(Names):
    """How rows of a data set are called.

    Args:
        hub: The data set.
        rows: Which of its rows.
    """

    def __init__(self, hub: Hub, rows: NDArray[np.int64]) -> None:
        self._hub = hub
        self._rows = rows

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._rows)

    def name(self, position: int) -> str:
        """Return a name, such as `train row 12`."""
        return open_table(self._hub).row_name(int(self._rows[position]))


@dataclass(frozen=True)
class HubSource:
    """Images in rows of a hub's data set; a process that gets this opens the data set by itself.

    Args:
        hub: The data set.
        rows: The rows of the images.
    """

    hub: Hub
    rows: NDArray[np.int64]

    def content(self, position: int) -> bytes:
        """Return an image's bytes.

        Raises:
            OSError: If it cannot be read.
        """
        return open_table(self.hub).content(int(self.rows[position]))

    def describe(self, position: int) -> str:
        """Return an image's row; like a path, it has no backticks of its own."""
        return f"{open_table(self.hub).row_name(int(self.rows[position]))} of {self.hub.id}"

    @property
    def place(self) -> str:
        """Return the data set and its revision, or its folder or file, links resolved."""
        local = local_copy(self.hub)
        return f"{self.hub.id} {self.hub.revision or ''}".strip() if local is None else str(local.resolve())

    def stamp(self, position: int) -> int:
        """Return a number that changes when the file is written or replaced that has an image.

        Raises:
            OSError: If the file cannot be looked at.
        """
        return open_table(self.hub).stamp(int(self.rows[position]))


def list_hub_domain(benchmark: Benchmark, hub: Hub, domain: str, *, complete: bool = True) -> Listing:
    """List the images of one domain in the order of the data set's rows: its train split, then the others.

    Classes and domains are matched by their names: their numbers follow another order in some copies.

    Args:
        benchmark: The benchmark.
        hub: A copy of it.
        domain: One of its domains.
        complete: Refuse a domain that lacks a class.

    Raises:
        DataError: If the data set cannot be opened, or does not hold the benchmark.
    """
    table = open_table(hub)
    kept = table.without(benchmark.left_out)
    domains = _meanings(benchmark, hub, kept.domains, benchmark.find_domain, "domain")
    labels = _meanings(benchmark, hub, kept.labels, benchmark.find_label, "label")
    _check_complete(benchmark, hub, labels)
    if domain not in domains:
        raise DataError(
            f"`{hub.id}` has no image of the domain `{domain}` of `{benchmark.name}`; it has {listed(domains)}."
        )
    if benchmark.versions:
        _say_order_differs(hub.id)
    own = np.flatnonzero(kept.domains.codes == domains.index(domain))
    rows, found = kept.rows[own], np.array(labels, np.int64)[kept.labels.codes[own]]
    if complete:
        there = {benchmark.classes[label] for label in np.unique(found).tolist()}
        check_classes(benchmark, domain, there, f"`{hub.id}` has")
    source = HubSource(hub, rows)
    return Listing(domain, found, RowNames(hub, rows), table.sizes[rows], source, sample=partial(_sample, source))


def _meanings(
    benchmark: Benchmark, hub: Hub, column: NameColumn, find: Callable[[str], Meaning | None], role: str
) -> list[Meaning]:
    """Return what the names of a column mean to the benchmark, in the order of the names."""
    found = {name: meaning for name in column.names if (meaning := find(name)) is not None}
    if unknown := [name for name in column.names if name not in found]:
        known = benchmark.classes if role == "label" else benchmark.domains
        raise DataError(
            f"`{hub.id}` has {role}s that `{benchmark.name}` does not know: {listed(unknown, _LISTED)}; known are "
            f"{listed(known, _LISTED)}. Name another data set, or the right column with `data.columns.{role}`."
        )
    meanings = list(found.values())
    if twice := [name for name, meaning in found.items() if meanings.count(meaning) > 1]:
        raise DataError(f"`{hub.id}` has more than one name for the same {role}: {listed(twice, _LISTED)}.")
    return meanings


def _check_complete(benchmark: Benchmark, hub: Hub, labels: Sequence[int]) -> None:
    missing = [name for label, name in enumerate(benchmark.classes) if label not in labels]
    if missing:
        raise DataError(
            f"`{hub.id}` has no image of the classes {listed(missing, _LISTED)} of `{benchmark.name}`, "
            "so it is another data set or a part of this one; name a complete copy."
        )


def _sample(source: HubSource) -> str:
    """Return a digest of some images: rows have numbers for names, and uncompressed images have one size."""
    digest = hashlib.sha256()
    for position in np.unique(np.linspace(0, len(source.rows) - 1, _SAMPLED, dtype=np.int64)).tolist():
        with suppress(OSError):  # reading the image reports it
            digest.update(source.content(position))
    return digest.hexdigest()


@cache
def _say_order_differs(name: str) -> None:
    console.note(
        f"`{name}` lists its images in another order than folders do: "
        "the same seed holds out other images than in a folder copy."
    )
