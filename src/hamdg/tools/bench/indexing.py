"""Opening the index of a data set as large as DomainNet: `python -m hamdg.tools.bench loading --index`.

Run as a module, `python -m hamdg.tools.bench.indexing ROOT`, it lists all domains in ROOT and prints the seconds as
JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from hamdg import console
from hamdg.data.benchmark import Benchmark
from hamdg.data.find_images import list_domain
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark
from hamdg.tools.bench.measure import Measured, measured

HEADERS = ("index", "s (wanted 2)", "whole process, s", "anonymous MB (wanted 400)")
# What a folder holds is remembered only if it has not changed for two seconds.
SETTLE = 2.5
# File systems allow some 65,000 names for one file.
_LINKS = 60_000


def write_tree(root: Path, facts: Benchmark) -> int:
    """Write as many files as the benchmark has images, spread evenly over its classes; return how many.

    All are links to a few files of one byte: an index looks at names and sizes alone.
    """
    written = 0
    for domain, total in facts.versions[0].totals.items():
        for label, name in enumerate(facts.classes):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for position in range(label, total, len(facts.classes)):
                original = root / f"original-{written // _LINKS}"
                if written % _LINKS == 0:
                    original.write_bytes(b"x")
                os.link(original, folder / f"{domain}_{label + 1:03}_{position:06}.jpg")
                written += 1
    return written


def index_rows(root: Path, cache: Path) -> list[tuple[str, ...]]:
    """Open the index in fresh processes, for the first time and again.

    Args:
        root: The folder of the domains.
        cache: A folder for what is remembered.
    """
    command = [sys.executable, "-m", "hamdg.tools.bench.indexing", str(root)]
    surroundings = {"HAMDG_CACHE": str(cache)}
    runs = {title: measured(command, surroundings) for title in ("first time", "second time", "third time")}
    return [_row(title, run) for title, run in runs.items()]


def main() -> None:
    """Print the table."""
    facts = benchmark("domainnet")
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as name:
        root, cache = Path(name) / "tree", Path(name) / "cache"
        files = write_tree(root, facts)
        time.sleep(SETTLE)
        rows = index_rows(root, cache)
    console.table(HEADERS, rows, title=f"{files:,} files in {len(facts.domains)} domains")


def seconds_to_list(root: str) -> float:
    """Return the seconds that it takes to find the benchmark and to list all its domains."""
    start = time.perf_counter()
    facts = benchmark("domainnet")
    place = locate(facts, root)
    listings = [list_domain(place, domain) for domain in facts.domains]
    seconds = time.perf_counter() - start
    assert sum(map(len, listings)) == sum(facts.versions[0].totals.values())
    return seconds


def _row(title: str, run: Measured) -> tuple[str, ...]:
    return (title, f"{run.core or 0.0:.2f}", f"{run.wall:.2f}", f"{run.anonymous / 1e6:.0f}")


if __name__ == "__main__":
    print(json.dumps({"core": seconds_to_list(sys.argv[1])}))
