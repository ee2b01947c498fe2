from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hamdg.data.benchmark import Benchmark
from hamdg.data.folders import index_cache
from hamdg.data.folders import listing as folders
from hamdg.data.folders.index_cache import recall, remember
from hamdg.data.folders.listing import list_folder
from hamdg.data.folders.scan import FolderSource, Scan, scan_domain
from hamdg.data.listing import Listing, NameTable
from hamdg.data.locations import Location
from hamdg.errors import DataError

TOYS = Benchmark("toys", ("metal", "wood"), ("bear", "car"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    monkeypatch.setenv("HAMDG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_IT", 3)
    for name in ("bear/a.jpg", "bear/deep/\udce9.jpg", "car/b.jpg"):
        path = tmp_path / "toys" / "metal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12")
    settle(tmp_path / "toys")
    return Location(TOYS, tmp_path / "toys", None)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every scan."""
    seen: list[str] = []

    def scan(place: Location, domain: str) -> Scan:
        seen.append(domain)
        return scan_domain(place, domain)

    monkeypatch.setattr(folders, "scan_domain", scan)
    return seen


def settle(root: Path) -> None:
    """Let all folders be a minute old."""
    old = time.time() - 60
    for folder, _, _ in os.walk(root):
        os.utime(folder, (old, old))


def test_a_domain_is_scanned_once(place: Location, scans: list[str]) -> None:
    first, second = list_folder(place, "metal"), list_folder(place, "metal")
    assert scans == ["metal"]
    assert list(second.names) == ["bear/a.jpg", "bear/deep/\\xe9.jpg", "car/b.jpg"]
    assert second.labels.tolist() == [0, 0, 1]
    assert second.labels.dtype == np.int64
    assert second.fingerprint == first.fingerprint
    assert [second.content(position) for position in range(3)] == [b"12"] * 3
    assert [second.describe(position) for position in range(3)] == [first.describe(position) for position in range(3)]


def _add_an_image(root: Path) -> None:
    (root / "metal/bear/deep/new.jpg").touch()


def _remove_a_folder(root: Path) -> None:
    (root / "metal/bear/deep/\udce9.jpg").unlink()
    (root / "metal/bear/deep").rmdir()


def _add_a_domain(root: Path) -> None:
    (root / "Wood").mkdir()


@pytest.mark.parametrize(("change", "count"), [(_add_an_image, 4), (_remove_a_folder, 2), (_add_a_domain, 3)])
def test_a_change_in_any_folder_is_noticed(
    place: Location, scans: list[str], change: Callable[[Path], None], count: int
) -> None:
    assert place.root is not None
    list_folder(place, "metal")
    change(place.root)
    fresh = list_folder(place, "metal")
    assert scans == ["metal", "metal"]
    assert len(fresh) == count


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_memory_is_not_trusted(place: Location, scans: list[str], damage: bytes | None) -> None:
    first = list_folder(place, "metal")
    (path,) = (Path(os.environ["HAMDG_CACHE"]) / "listings").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) if damage is None else damage)
    assert list_folder(place, "metal").fingerprint == first.fingerprint
    assert scans == ["metal", "metal"]
    list_folder(place, "metal")
    assert scans == ["metal", "metal"]


def test_other_roots_and_other_benchmarks_have_memories_of_their_own(place: Location, tmp_path: Path) -> None:
    list_folder(place, "metal")
    assert recall(place, "metal") is not None
    assert recall(place, "wood") is None
    assert recall(Location(TOYS, tmp_path / "other", None), "metal") is None
    assert recall(Location(Benchmark("toys", TOYS.domains, ("bear", "car", "doll")), place.root, None), "metal") is None


def test_few_images_and_folders_changed_just_now_are_not_remembered(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.root is not None
    monkeypatch.setattr(index_cache, "WORTH_IT", 4)
    list_folder(place, "metal")
    assert recall(place, "metal") is None
    monkeypatch.setattr(index_cache, "WORTH_IT", 3)
    os.utime(place.root / "metal" / "car")
    list_folder(place, "metal")
    assert recall(place, "metal") is None


def test_faults_are_not_remembered(place: Location, scans: list[str]) -> None:
    assert place.root is not None
    (place.root / "metal" / "train").mkdir()
    settle(place.root)
    for _ in range(2):
        with pytest.raises(DataError, match="not classes: `train`"):
            list_folder(place, "metal")
    assert scans == ["metal", "metal"]


def test_a_cache_that_cannot_be_written_costs_only_time(place: Location, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert len(list_folder(place, "metal")) == 3


@pytest.mark.slow
def test_an_index_of_domainnets_size_opens_within_two_seconds_and_400_mb(place: Location) -> None:
    """Remember six domains with 586,575 images, which are not there, in 345 folders each, and open them again."""
    totals = (48_129, 51_605, 72_266, 172_500, 172_947, 69_128)
    assert place.root is not None
    visited = {}
    for number in range(345):
        folder = place.root / "metal" / f"class {number}"
        folder.mkdir()
        visited[str(folder)] = 0
    settle(place.root)
    visited = {folder: Path(folder).stat().st_mtime_ns for folder in visited}
    wide = Location(Benchmark("wide", tuple(f"d{total}" for total in totals), TOYS.classes), place.root, None)
    for domain, total in zip(wide.benchmark.domains, totals, strict=True):
        labels = np.arange(total) * 345 // total
        names = NameTable.pack([f"class {label}/{domain}_{label:03}_{row:06}.jpg" for row, label in enumerate(labels)])
        listing = Listing(domain, labels, names, np.arange(total), FolderSource(place.root, names))
        remember(wide, Scan(wide.benchmark, place.root, domain, place.root, visited=visited, listing=listing))
    del listing, names, labels

    tracemalloc.start()
    started = time.perf_counter()
    opened = [list_folder(wide, domain) for domain in wide.benchmark.domains]
    seconds = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sum(len(listing) for listing in opened) == 586_575
    assert seconds < 2
    assert peak < 400e6
