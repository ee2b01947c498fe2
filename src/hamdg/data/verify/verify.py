"""Whether images are the benchmark: folders and numbers compared with the registry, every image opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from hamdg.config.data import Truncated
from hamdg.data.benchmark import Benchmark
from hamdg.data.folders.layout import printable
from hamdg.data.folders.problems import fault_lines, named_classes
from hamdg.data.folders.scan import Scan, scan_domain
from hamdg.data.hub.rows import list_hub_domain
from hamdg.data.listing import Listing
from hamdg.data.lists.listing import list_listed_domain
from hamdg.data.locations import Location
from hamdg.data.verify.card import canonical_paths, card, class_counts, contents_digest, paths_digest
from hamdg.data.verify.examine import Examination, examine
from hamdg.data.verify.versions import Comparison, nearest_version

Advance = Callable[[int], None]


@dataclass(frozen=True)
class DomainCheck:
    """What was found of one domain.

    Args:
        domain: The domain.
        scan: What its folders hold; `None` for a hub's data set.
        listing: Its images.
        examination: What they are like.
    """

    domain: str
    scan: Scan | None
    listing: Listing
    examination: Examination


@dataclass(frozen=True)
class Verification:
    """What was found of a benchmark.

    Args:
        place: Where it is.
        checks: What was found of each domain that is there.
        absent: The scans of domains that are not there.
        decoded: Whether every image was decoded.
        contents: Whether the digest of every file was computed.
    """

    place: Location
    checks: tuple[DomainCheck, ...]
    absent: tuple[Scan, ...]
    decoded: bool
    contents: bool

    @property
    def benchmark(self) -> Benchmark:
        """Return the benchmark."""
        return self.place.benchmark

    @cached_property
    def listings(self) -> dict[str, Listing]:
        """Return the images by domain."""
        return {check.domain: check.listing for check in self.checks}

    @cached_property
    def counts(self) -> dict[str, list[int]]:
        """Return the images of every class, in the order of the classes, by domain; 0 for what is not there."""
        none = {domain: [0] * len(self.benchmark.classes) for domain in self.benchmark.domains}
        return none | class_counts(self.benchmark, self.listings)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Return the published copy that is nearest, with all differences; `None` where no numbers are published."""
        return nearest_version(self.benchmark, self.counts)

    @property
    def unreadable(self) -> Iterator[tuple[str, str]]:
        """Yield every image that cannot be read, as messages name it, and why."""
        for check in self.checks:
            for position, reason in check.examination.unreadable.items():
                yield check.listing.describe(position), reason

    @property
    def truncated(self) -> Iterator[tuple[str, str]]:
        """Yield every image that only `data.truncated=read` reads, and what is wrong with it."""
        for check in self.checks:
            for position, reason in check.examination.truncated.items():
                yield check.listing.describe(position), reason

    @property
    def faults(self) -> list[str]:
        """Return what is wrong with the folders, one sentence each."""
        found = [line for scan in self.absent for line in fault_lines(scan)]
        for check in self.checks:
            found += fault_lines(check.scan) if check.scan else self._bare_classes(check.domain)
        return found

    @property
    def ignored(self) -> int:
        """Return how many files are not images."""
        return sum(check.scan.ignored for check in self.checks if check.scan)

    @property
    def good(self) -> bool:
        """Return whether all is there and readable, with the numbers of a published copy where some are known."""
        comparison = self.comparison
        exact = comparison is None or comparison.exact
        return exact and not self.faults and not any(self.unreadable)

    def _bare_classes(self, domain: str) -> Iterator[str]:
        counts = zip(self.benchmark.classes, self.counts[domain], strict=True)
        if bare := [name for name, count in counts if count == 0]:
            yield f"`{domain}`: there are no images of {named_classes(bare)}."

    def duplicates(self) -> list[list[str]]:
        """Return the paths of images that are the same byte for byte, a list for each such image."""
        times = Counter(digest for check in self.checks for digest in check.examination.digests.values())
        same: dict[bytes, list[str]] = {digest: [] for digest, number in times.items() if number > 1}
        for check in self.checks:
            for position, path in enumerate(canonical_paths(self.benchmark, check.listing)):
                paths = same.get(check.examination.digests.get(position, b""))
                if paths is not None:
                    paths.append(path)
        return list(same.values())

    def card(self) -> dict[str, object]:
        """Return the data card: what `card.py` knows, and what opening the images has shown."""
        listings, hub = self.listings, self.place.hub
        known = card(self.benchmark, listings)
        domains = known["domains"]
        assert isinstance(domains, dict)
        examinations = {check.domain: check.examination for check in self.checks}
        for check in self.checks:
            domains[check.domain] |= _findings(check)
        return known | {
            "root": printable(self.place.root) if self.place.root else None,
            "hub": {"id": hub.id, "revision": hub.revision} if hub and not self.place.root else None,
            "lists": printable(self.place.lists.path) if self.place.lists else None,
            "missing_domains": [scan.domain for scan in self.absent],
            "decoded": self.decoded,
            "paths_sha256": paths_digest(self.benchmark, listings),
            "contents_sha256": contents_digest(
                self.benchmark, listings, lambda domain, position: examinations[domain].digests.get(position)
            )
            if self.contents
            else None,
        }


def survey(place: Location, truncated: Truncated = "refuse") -> tuple[dict[str, Scan], dict[str, Listing]]:
    """Return what the folders of every domain hold, and the images of every domain that is there, faulty or not.

    Args:
        place: Where the benchmark is.
        truncated: What becomes of images whose files are cut off.

    Raises:
        DataError: If the hub's data set is not available, or its domains or classes are not the benchmark's.
    """
    if place.root is None:
        listings = {domain: _listed(place, domain) for domain in place.benchmark.domains}
        return {}, {domain: listing.with_truncated(truncated) for domain, listing in listings.items()}
    scans = {domain: scan_domain(place, domain) for domain in place.benchmark.domains}
    found = ((domain, scan.listing) for domain, scan in scans.items() if scan.listing is not None)
    return scans, {domain: listing.with_truncated(truncated) for domain, listing in found}


def _listed(place: Location, domain: str) -> Listing:
    if place.lists is None:
        assert place.hub is not None
        return list_hub_domain(place.benchmark, place.hub, domain, complete=False)
    # Files that are not there are found when they are opened.
    return list_listed_domain(place.benchmark, place.lists, domain, complete=False)


def verify(
    place: Location,
    *,
    decode: bool = True,
    contents: bool = False,
    truncated: Truncated = "refuse",
    progress: Callable[[int], AbstractContextManager[Advance]] = lambda _: nullcontext(lambda _: None),
) -> Verification:
    """Scan all folders and open every image of a benchmark.

    Args:
        place: Where it is.
        decode: Decode every image, which finds all that are damaged.
        contents: Compute the SHA-256 of every file, which finds duplicates.
        truncated: Whether files that are cut off count as readable; they are listed either way.
        progress: Shows how far it is: given the number of images, returns a context that is called with the
            number of those that are done.

    Raises:
        DataError: If the hub's data set is not available, or its domains or classes are not the benchmark's.
    """
    scans, listings = survey(place, truncated)
    with progress(sum(map(len, listings.values())) if decode or contents else 0) as advance:
        checks = [
            DomainCheck(domain, scans.get(domain), listing, _examined(listing, decode, contents, advance))
            for domain, listing in listings.items()
        ]
    absent = [scan for domain, scan in scans.items() if domain not in listings]
    return Verification(place, tuple(checks), tuple(absent), decode, contents)


def _examined(listing: Listing, decode: bool, contents: bool, advance: Advance) -> Examination:
    if not decode and not contents:
        listing = listing.take([])
    return examine(listing, decode=decode, digests=contents, advance=advance)


def _findings(check: DomainCheck) -> Mapping[str, object]:
    scan, seen = check.scan, check.examination
    sides = seen.sides
    return {
        "surplus_folders": scan.unexpected if scan else [],
        "missing_classes": scan.missing if scan else [],
        "empty_classes": scan.empty if scan else [],
        "ignored": scan.ignored if scan else 0,
        "unreadable": {check.listing.names[position]: reason for position, reason in seen.unreadable.items()},
        "truncated": {check.listing.names[position]: reason for position, reason in seen.truncated.items()},
        "peculiar": dict(seen.peculiar),
        "width": spread(sides[:, 0].tolist()),
        "height": spread(sides[:, 1].tolist()),
    }


def spread(values: list[int]) -> dict[str, int] | None:
    """Return the least, the middle and the greatest of some numbers."""
    if not values:
        return None
    ordered = sorted(values)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}
