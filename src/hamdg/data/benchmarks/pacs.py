"""PACS (Li et al., 2017): photos, paintings, cartoons and sketches of seven classes."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark, Hub, Version
from hamdg.data.benchmarks.mini import MINI

_BY_CLASS = {
    "art_painting": (379, 255, 285, 184, 201, 295, 449),
    "cartoon": (389, 457, 346, 135, 324, 288, 405),
    "photo": (189, 202, 182, 186, 199, 280, 432),
    "sketch": (772, 740, 753, 608, 816, 80, 160),
}

PACS = Benchmark(
    name="pacs",
    title="PACS",
    domains=MINI.domains,
    classes=MINI.classes,
    aliases=MINI.aliases,
    folders=("PACS", "PACS/images", "PACS/kfold"),
    versions=(
        Version(
            "as in the papers",
            {domain: sum(counts) for domain, counts in _BY_CLASS.items()},
            _BY_CLASS,
        ),
    ),
    hub=Hub("flwrlabs/pacs"),
)
