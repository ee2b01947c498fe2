"""The images of a domain that lies in folders, or what is wrong with these."""

from __future__ import annotations

from collections.abc import Iterable

from hamdg.data.folders.index_cache import recall, remember
from hamdg.data.folders.layout import domain_folders
from hamdg.data.folders.problems import faults_of
from hamdg.data.folders.scan import FolderSource, Scan, scan_domain
from hamdg.data.folders.walk import Walk, look
from hamdg.data.listing import Listing
from hamdg.data.locations import Location
from hamdg.errors import DataError


def check_domains(place: Location, domains: Iterable[str]) -> None:
    """Check that every domain has a folder; nothing inside is read.

    Raises:
        DataError: If one has none.
    """
    assert place.root is not None
    siblings = look(place.root, Walk())
    there = domain_folders(place.benchmark, siblings)
    for domain in domains:
        if domain not in there:
            raise DataError(faults_of(Scan(place.benchmark, place.root, domain, siblings=siblings))[0])


def list_folder(place: Location, domain: str) -> Listing:
    """List the images of one domain that lies in folders.

    Raises:
        DataError: If the domain is missing, or its folders do not hold exactly the benchmark's classes.
    """
    if (known := recall(place, domain)) is not None:
        return Listing(domain, known.labels, known.names, known.sizes, FolderSource(known.folder, known.names))
    scan = scan_domain(place, domain)
    if faults := faults_of(scan):
        more = f" There is more: `hamdg data verify {place.benchmark.name} FOLDER` lists it." if faults[1:] else ""
        raise DataError(faults[0] + more)
    assert scan.listing is not None
    remember(place, scan)
    return scan.listing
