"""`python -m hamdg.tools.bench`: all benches, or the named one."""

from __future__ import annotations

import argparse
import sys

from hamdg.tools.bench import (
    compression,
    freezing,
    indexing,
    layout,
    loading,
    merging,
    reading,
    tabulating,
    tracking,
    training,
)

BENCHES = ("training", "layout", "freezing", "loading", "reading", "compression", "merging", "tables", "tracking")


def main(argv: list[str] | None = None) -> None:
    """Run the benches.

    Args:
        argv: The arguments; those of this process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hamdg.tools.bench", description="Measure what this machine can do."
    )
    parser.add_argument(
        "bench", nargs="?", choices=BENCHES, help="one of them (default: all but `tracking`, which takes 54 runs)"
    )
    parser.add_argument("--only", choices=merging.COMPARISONS, help="one comparison of the merge bench (default: all)")
    parser.add_argument("--peers", default=sys.executable, help="a Python that has other merge libraries installed")
    parser.add_argument("--sources", type=int, default=12, help="how many models are merged (default: 12)")
    parser.add_argument("--most", type=int, default=9, help="how often a way is run at most (default: 9)")
    parser.add_argument("--data", metavar="ROOT", help="the folder of PACS (default: looked for)")
    parser.add_argument("--index", action="store_true", help="with `loading`: instead, open an index of 586,575 files")
    arguments = parser.parse_args(argv)
    if arguments.bench in (None, "training"):
        training.main()
    if arguments.bench in (None, "layout"):
        layout.main(arguments.most)
    if arguments.bench in (None, "freezing"):
        freezing.main(arguments.data, arguments.most)
    if arguments.bench is None or (arguments.bench == "loading" and not arguments.index):
        loading.main(arguments.data, arguments.most)
    if arguments.bench is None or (arguments.bench == "loading" and arguments.index):
        indexing.main()
    if arguments.bench in (None, "reading"):
        reading.main(arguments.data, arguments.most)
    if arguments.bench in (None, "compression"):
        compression.main(arguments.data)
    if arguments.bench in (None, "tables"):
        tabulating.main()
    if arguments.bench == "tracking":
        tracking.main(arguments.most)
    if arguments.bench in (None, "merging"):
        merging.main(arguments.peers, arguments.sources, arguments.most, (arguments.only,) if arguments.only else None)


if __name__ == "__main__":
    main()
