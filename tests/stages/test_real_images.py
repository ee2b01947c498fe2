"""HAM on the real PACS, all of it, with a tiny tower and a few steps."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.data.listing import Listing
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

COUNTS = {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}
SOURCES = ("art_painting", "cartoon", "photo")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")

pytestmark = pytest.mark.real_data


def fingerprint(root: Path, domain: str) -> str:
    """Return the digest of a domain's sorted lines of path, size and label, from the files alone."""
    files = [path for path in (root / domain).rglob("*") if path.is_file()]
    lines = sorted(
        f"{path.parent.name}/{path.name}\t{path.stat().st_size}\t{CLASSES.index(path.parent.name)}\n" for path in files
    )
    return hashlib.sha256((f"{domain}\n" + "".join(lines)).encode()).hexdigest()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the domains of all images that are read from now on, by several threads."""
    domains: list[str] = []
    content = Listing.content

    def watched(self: Listing, position: int) -> bytes:
        domains.append(self.domain)
        return content(self, position)

    monkeypatch.setattr(Listing, "content", watched)
    return domains


def test_ham_goes_through_all_of_pacs(tiny: Tiny, pacs_root: Path, tmp_path: Path, read: list[str]) -> None:
    places = (f"--data.root={pacs_root}", f"--data.cache={tmp_path / 'cache'}")
    recipe = tiny("--benchmark=pacs", *places, "--controls.erm=true", "--data.augment=clip", tower="vit")
    run = RunDirectory(run_directory(recipe))
    pipeline.run(recipe, until="merge")
    assert run.step("merge").summary.exists()
    # The held-out domain is not looked at before `evaluate`; every source's hold-out set is.
    before = Counter(read)
    assert set(before) == set(SOURCES)
    assert all(before[name] >= int(0.2 * COUNTS[name]) for name in SOURCES)

    record = read_record(pipeline.run(recipe))
    assert Counter(read) - before == {"sketch": COUNTS["sketch"]}  # once each, and nothing of the sources again
    assert record["n_held_out"] == COUNTS["sketch"]
    assert {name: facts["images"] for name, facts in record["splits"].items()} == COUNTS
    assert record["splits"]["cartoon"]["validation"] == int(0.2 * COUNTS["cartoon"])
    assert [facts["seed"] for facts in record["splits"].values()] == [894182419, 1514274641, 1325548499, 1796103049]
    digests = {name: fingerprint(pacs_root, name) for name in COUNTS}
    assert {name: facts["fingerprint"] for name, facts in record["splits"].items()} == digests
    lines = "".join(f"{name} {COUNTS[name]} {digest}\n" for name, digest in digests.items())
    assert record["data_digest"] == hashlib.sha256(lines.encode()).hexdigest()
    data = record["data"]
    assert (data["benchmark"], data["pictures"], data["version"]) == ("pacs", 9991, "as in the papers")
    keys = {row["key"] for row in record["rows"]}
    assert {"zero_shot", "erm", "erm_sma", "uniform_last", "uniform_history", "ham", "source/photo"} <= keys
    assert all(0 < row["held_out"] < 1 for row in record["rows"])
