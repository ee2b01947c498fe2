"""The data card."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from hamdg import __version__
from hamdg.data.benchmark import Benchmark, Version
from hamdg.data.folders.scan import scan_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import Location
from hamdg.data.verify.card import canonical_paths, card, contents_digest, paths_digest
from tests.toys import Memory

TOYS = Benchmark(
    name="toys",
    title="Toys",
    domains=("real", "sketch"),
    classes=("cat", "Sea_Lion"),
    labels={"0": "cat", "1": "Sea_Lion"},
    versions=(Version("as in the papers", {"real": 2, "sketch": 1}, {"real": (1, 1), "sketch": (0, 1)}),),
)
PLAIN = ("real/cat/a.png", "real/Sea_Lion/b c.png", "sketch/Sea_Lion/deep/ü.png")
PARTS = ("Real/train/0/a.png", "Real/test/1/b c.png", "SKETCH/train/sea lion/deep/ü.png")


def listings(root: Path, files: tuple[str, ...]) -> dict[str, Listing]:
    """Write files whose contents are their last names, and list them."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(Path(file).name)
    scans = [scan_domain(Location(TOYS, root, None), domain) for domain in TOYS.domains]
    return {scan.domain: scan.listing for scan in scans if scan.listing is not None}


def test_paths_are_the_same_in_every_layout(tmp_path: Path) -> None:
    plain, parts = listings(tmp_path / "plain", PLAIN), listings(tmp_path / "other place", PARTS)
    assert [path for one in plain.values() for path in canonical_paths(TOYS, one)] == list(PLAIN)
    assert [path for one in parts.values() for path in canonical_paths(TOYS, one)] == list(PLAIN)
    text = "".join(f"{path}\n" for path in sorted(PLAIN, key=str.encode))
    assert paths_digest(TOYS, plain) == paths_digest(TOYS, parts) == hashlib.sha256(text.encode()).hexdigest()


def test_a_image_without_a_folder_keeps_its_name() -> None:
    table = Listing("real", np.array([1]), ["train row 7"], np.array([3]), Memory())
    assert list(canonical_paths(TOYS, table)) == ["real/Sea_Lion/train row 7"]


def test_contents_are_digested_as_sha256sum_prints_them(tmp_path: Path) -> None:
    plain = listings(tmp_path, PLAIN)
    digests = {path: hashlib.sha256(Path(path).name.encode()).digest() for path in PLAIN}
    known: dict[str, list[bytes | None]] = {"real": [digests[PLAIN[0]], None], "sketch": [digests[PLAIN[2]]]}
    lines = sorted(f"{digests[path].hex()}  {path}\n" for path in (PLAIN[0], PLAIN[2]))
    found = contents_digest(TOYS, plain, lambda domain, position: known[domain][position])
    assert found == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_card_tells_version_counts_and_fingerprints(tmp_path: Path) -> None:
    found = listings(tmp_path, PLAIN)
    assert card(TOYS, found) == {
        "benchmark": "toys",
        "title": "Toys",
        "version": "as in the papers",
        "pictures": 3,
        "domains": {
            "real": {
                "pictures": 2,
                "fingerprint": found["real"].fingerprint,
                "classes": {"cat": 1, "Sea_Lion": 1},
            },
            "sketch": {
                "pictures": 1,
                "fingerprint": found["sketch"].fingerprint,
                "classes": {"cat": 0, "Sea_Lion": 1},
            },
        },
        "truncated": "refuse",
        "hamdg": __version__,
    }


def test_other_numbers_and_parts_of_a_benchmark_are_no_version(tmp_path: Path) -> None:
    found = listings(tmp_path, PLAIN)
    assert card(TOYS, {"real": found["real"]})["version"] is None
    assert card(TOYS, found | {"real": found["real"].take([0])})["version"] is None
