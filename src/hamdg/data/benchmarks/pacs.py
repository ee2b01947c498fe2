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
_DASSL = _BY_CLASS | {"sketch": (771, *_BY_CLASS["sketch"][1:])}

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
            "Counted by class in a copy with DomainBed's layout.",
        ),
        Version(
            "Dassl's",
            {domain: sum(counts) for domain, counts in _DASSL.items()},
            _DASSL,
            "The same without `sketch/dog/n02103406_4068-1.png`, which Dassl skips as an error image.",
        ),
    ),
    hub=Hub("flwrlabs/pacs", "394113073258ead631f617d2e13bb377c0715c4b"),
)
