"""The facts of the registered benchmarks, against numbers that were counted or printed elsewhere."""

from __future__ import annotations

import string
from collections import Counter
from pathlib import Path

import pytest

from hamdg.config.data import RENDERED
from hamdg.data.benchmark import Benchmark, normalized
from hamdg.data.registry import benchmark, builtin

REAL = [one for one in builtin().values() if one.name not in RENDERED]
EACH = pytest.mark.parametrize("bench", REAL, ids=[one.name for one in REAL])

PAPERS = {
    "pacs": {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
    "vlcs": {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376},
    "officehome": {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357},
    "terra": {"location_100": 4879, "location_38": 9767, "location_43": 4020, "location_46": 6122},
    "domainnet": {
        "clipart": 48129,
        "infograph": 51605,
        "painting": 72266,
        "quickdraw": 172500,
        "real": 172947,
        "sketch": 69128,
    },
}


@EACH
def test_domains_and_classes_are_in_domainbeds_order(bench: Benchmark) -> None:
    assert list(bench.domains) == sorted(set(bench.domains))
    assert list(bench.classes) == sorted(set(bench.classes))
    # A name that is a folder of a run and a word of a prompt.
    assert all(set(name) <= set(string.ascii_letters + string.digits + "_-") for name in bench.domains + bench.classes)


@EACH
def test_the_first_version_has_the_papers_images(bench: Benchmark) -> None:
    assert dict(bench.versions[0].totals) == PAPERS[bench.name]
    assert list(bench.versions[0].totals) == list(bench.domains)


@EACH
def test_counts_by_class_add_up(bench: Benchmark) -> None:
    for version in bench.versions:
        assert set(version.totals) == set(bench.domains)
        assert version.by_class.keys() <= version.totals.keys()
        for domain, counts in version.by_class.items():
            assert len(counts) == len(bench.classes)
            assert sum(counts) == version.totals[domain]
            assert min(counts) > 0


@EACH
def test_versions_differ_and_say_where_their_counts_come_from(bench: Benchmark) -> None:
    totals = [tuple(version.totals[domain] for domain in bench.domains) for version in bench.versions]
    assert len(set(totals)) == len({version.name for version in bench.versions}) == len(bench.versions)
    assert all(version.note.endswith(".") for version in bench.versions)


@pytest.mark.parametrize(
    ("name", "version", "pictures"),
    [
        ("pacs", 0, 9991),
        ("pacs", 1, 9990),
        ("vlcs", 0, 10729),
        ("officehome", 0, 15588),
        ("terra", 0, 24788),
        ("terra", 1, 24330),
        ("domainnet", 0, 586575),
        ("domainnet", 1, 596006),
    ],
)
def test_versions_have_the_published_sums(name: str, version: int, pictures: int) -> None:
    assert sum(benchmark(name).versions[version].totals.values()) == pictures


@pytest.mark.parametrize(
    ("name", "domain", "label", "pictures"),
    [
        ("pacs", "sketch", "house", 80),
        ("pacs", "art_painting", "person", 449),
        ("vlcs", "SUN09", "bird", 20),
        ("vlcs", "SUN09", "dog", 30),
        ("vlcs", "Caltech101", "person", 870),
        ("terra", "location_38", "bird", 3),
        ("terra", "location_43", "cat", 3),
        ("terra", "location_100", "raccoon", 2552),
        ("terra", "location_46", "empty", 726),
    ],
)
def test_single_counts_stand_at_their_class(name: str, domain: str, label: str, pictures: int) -> None:
    bench = benchmark(name)
    assert bench.versions[0].by_class[domain][bench.classes.index(label)] == pictures


def test_dassls_pacs_lacks_one_dog() -> None:
    papers, dassl = benchmark("pacs").versions
    assert (dassl.totals["sketch"], dassl.by_class["sketch"][0]) == (3928, 771)
    assert {domain: papers.totals[domain] - dassl.totals[domain] for domain in papers.totals} == {
        "art_painting": 0,
        "cartoon": 0,
        "photo": 0,
        "sketch": 1,
    }


def test_officehome_has_its_65_classes_with_capitals_first() -> None:
    classes = benchmark("officehome").classes
    assert len(classes) == 65
    assert (classes[0], classes[-1]) == ("Alarm_Clock", "Webcam")
    assert classes.index("TV") < classes.index("Table")


def test_domainnet_has_its_345_classes_with_landmarks_first() -> None:
    classes = benchmark("domainnet").classes
    assert len(classes) == 345
    assert classes[:4] == ("The_Eiffel_Tower", "The_Great_Wall_of_China", "The_Mona_Lisa", "aircraft_carrier")
    assert classes[-1] == "zigzag"
    # The published lists number the classes without regard to case; two of those numbers are known from them.
    published = sorted(classes, key=normalized)
    assert (published.index("The_Eiffel_Tower"), published.index("t-shirt")) == (308, 327)


def test_numbers_of_terra_are_sorted_as_text() -> None:
    assert benchmark("terra").domains == ("location_100", "location_38", "location_43", "location_46")


@pytest.mark.parametrize("bench", builtin().values(), ids=list(builtin()))
def test_no_name_means_two_things(bench: Benchmark) -> None:
    domains = [normalized(name) for name in bench.domains]
    classes = [normalized(name) for name in bench.classes]
    names = Counter([*domains, *classes, *bench.aliases, *bench.labels])

    assert [name for name, times in names.items() if times > 1] == []
    assert len({normalized(folder) for folder in bench.folders}) == len(bench.folders)
    assert set(bench.aliases.values()) <= set(bench.domains)
    assert set(bench.labels.values()) <= set(bench.classes)
    assert all(normalized(name) == name for name in (*bench.aliases, *bench.labels))


@pytest.mark.parametrize(
    ("name", "text", "domain"),
    [
        ("pacs", "ArtPainting", "art_painting"),
        ("vlcs", "CALTECH", "Caltech101"),
        ("vlcs", "PASCAL", "VOC2007"),
        ("vlcs", "SUN", "SUN09"),
        ("vlcs", "LABELME", "LabelMe"),
        ("vlcs", "V", "VOC2007"),
        ("officehome", "Real World", "Real_World"),
        ("officehome", "RealWorld", "Real_World"),
        ("officehome", "real_world", "Real_World"),
        ("officehome", "real", "Real_World"),
        ("terra", "L100", "location_100"),
        ("terra", "46", "location_46"),
        ("terra", "Location 38", "location_38"),
        ("domainnet", "quick", "quickdraw"),
        ("domainnet", "R", "real"),
    ],
)
def test_other_names_lead_to_their_domain(name: str, text: str, domain: str) -> None:
    assert benchmark(name).domain(text) == domain


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("vlcs", "0", 0),
        ("vlcs", "4", 4),
        ("vlcs", "Person", 4),
        ("officehome", "toothbrush", 61),
        ("officehome", "Desk Lamp", 15),
        ("terra", "empty", 5),
        ("domainnet", "The Mona Lisa", 2),
        ("domainnet", "T-Shirt", 304),
        ("pacs", "0", None),
    ],
)
def test_class_folders_lead_to_their_label(name: str, text: str, label: int | None) -> None:
    assert benchmark(name).find_label(text) == label


def test_hub_copies_are_pinned() -> None:
    hubs = {one.name: one.hub for one in REAL if one.hub is not None}

    assert {name: hub.id for name, hub in hubs.items()} == {
        "pacs": "flwrlabs/pacs",
        "officehome": "flwrlabs/office-home",
        "domainnet": "wltjr1007/DomainNet",
    }
    assert all(hub.revision is not None and len(bytes.fromhex(hub.revision)) == 20 for hub in hubs.values())


def test_insects_are_known_as_impostors_of_terra() -> None:
    assert benchmark("terra").impostors == {"BGLab/TerraIncognita": "insects"}


@pytest.mark.real_data
def test_pacs_is_counted_right(pacs_root: Path) -> None:
    bench = benchmark("pacs")
    counts = {
        domain: tuple(len(list((pacs_root / domain / name).iterdir())) for name in bench.classes)
        for domain in bench.domains
    }
    assert counts == dict(bench.versions[0].by_class)
