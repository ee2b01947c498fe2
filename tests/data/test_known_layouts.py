"""Every way in which the benchmarks are known to lie on people's disks is found and listed alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hamdg.data.find_images import list_domain
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark


@dataclass(frozen=True)
class Layout:
    name: str
    root: str
    domains: Sequence[str]
    parts: Sequence[str] = ("",)
    numbered: bool = False
    lower: bool = False


PACS = ("art_painting", "cartoon", "photo", "sketch")
OFFICE = ("Art", "Clipart", "Product")
TERRA = ("location_100", "location_38", "location_43", "location_46")
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
LAYOUTS = [
    Layout("pacs", "PACS", PACS),
    Layout("pacs", "pacs/images", PACS),
    Layout("pacs", "PACS/kfold", PACS),
    Layout("pacs", "pacs", ("Art Painting", "Cartoon", "Photo", "Sketch")),
    Layout("vlcs", "VLCS", ("Caltech101", "LabelMe", "SUN09", "VOC2007")),
    Layout("vlcs", "VLCS", ("CALTECH", "LABELME", "SUN", "PASCAL"), ("train", "crossval", "test"), numbered=True),
    Layout("vlcs", "VLCS/images", ("caltech", "labelme", "sun", "pascal"), ("train", "crossval", "test")),
    Layout("officehome", "office_home", (*OFFICE, "Real World")),
    Layout("officehome", "office_home_dg", ("art", "clipart", "product", "real_world"), ("train", "val"), lower=True),
    Layout("officehome", "OfficeHomeDataset_10072016", (*OFFICE, "RealWorld")),
    Layout("officehome", "OfficeHome", (*OFFICE, "Real_World")),
    Layout("terra", "terra_incognita", TERRA),
    Layout("terra", "terra/images", TERRA),
    Layout("domainnet", "domain_net", DOMAINNET),
    Layout("domainnet", "domainnet", DOMAINNET, ("train", "test")),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.root}-{layout.domains[-1]}-{layout.parts[0]}")
def test_a_known_layout_is_found_and_has_every_class_under_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    known = benchmark(layout.name)
    for folder in layout.domains:
        for label, name in enumerate(known.classes):
            spelling = str(label) if layout.numbered else name.lower() if layout.lower else name
            path = tmp_path / layout.root / folder / layout.parts[label % len(layout.parts)] / spelling
            path.mkdir(parents=True)
            (path / f"{name}.jpg").touch()
    (tmp_path / layout.root / "splits").mkdir()
    monkeypatch.setenv("HAMDG_DATA", str(tmp_path))

    place = locate(known)

    assert place.root == tmp_path / layout.root
    for domain, folder in zip(known.domains, layout.domains, strict=True):
        listing = list_domain(place, domain)
        assert listing.labels.tolist() == list(range(len(known.classes)))
        assert [Path(name).stem for name in listing.names] == list(known.classes)
        assert listing.describe(0).startswith(str(tmp_path / layout.root / folder))
