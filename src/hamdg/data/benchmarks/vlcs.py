"""VLCS (Fang et al., 2013): photographs of five classes from four older data sets."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark, Version

_BY_CLASS = {
    "Caltech101": (237, 123, 118, 67, 870),
    "LabelMe": (80, 1209, 88, 42, 1237),
    "SUN09": (20, 932, 1036, 30, 1264),
    "VOC2007": (330, 699, 428, 420, 1499),
}

VLCS = Benchmark(
    name="vlcs",
    title="VLCS",
    domains=tuple(_BY_CLASS),
    classes=("bird", "car", "chair", "dog", "person"),
    aliases={
        "caltech": "Caltech101",
        "sun": "SUN09",
        "voc": "VOC2007",
        "pascal": "VOC2007",
        "c": "Caltech101",
        "l": "LabelMe",
        "s": "SUN09",
        "v": "VOC2007",
    },
    folders=("VLCS", "VLCS/images"),
    # The copy of JiGen and Dassl numbers its class folders.
    labels={"0": "bird", "1": "car", "2": "chair", "3": "dog", "4": "person"},
    versions=(
        Version(
            "as in the papers",
            {domain: sum(counts) for domain, counts in _BY_CLASS.items()},
            _BY_CLASS,
            "Counted by class in a copy whose origin is not recorded.",
        ),
    ),
)
