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

# ImageNet's classes, numbered from 0, that show a class or lie near one that ImageNet does not have: our choice
# (docs/fidelity.md). ImageNet has no giraffe, hardly a house, and people in their clothes or at work alone.
_IMAGENET = {
    "dog": tuple(range(151, 269)),
    "elephant": (385, 386),
    "giraffe": (340, 351, 352, 353),  # zebra, hartebeest, impala, gazelle
    "guitar": (402, 546),
    "horse": (339, 603),  # sorrel, horse cart
    "house": (425, 449, 497, 660, 663, 698, 858),  # barn, boathouse, church, mobile home, monastery, palace, tile roof
    "person": (400, 474, 578, 608, 610, 614, 655, 834, 841, 869, 981, 982),  # clothes, ballplayer, groom
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
            "Counted by class in a copy with DomainBed's layout.",
        ),
        Version(
            "Dassl's",
            {domain: sum(counts) for domain, counts in _DASSL.items()},
            _DASSL,
            "The same without `sketch/dog/n02103406_4068-1.png`, which Dassl skips as an error image.",
        ),
    ),
    class_rows=_IMAGENET,
    hub=Hub("flwrlabs/pacs", "394113073258ead631f617d2e13bb377c0715c4b"),
)
