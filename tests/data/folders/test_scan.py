from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from hamdg.data.benchmark import Benchmark, Version
from hamdg.data.find_images import list_domain
from hamdg.data.folders.scan import scan_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import Location, locate
from hamdg.data.registry import benchmark
from hamdg.errors import DataError

TOYS = Benchmark(
    "toys",
    ("metal", "soft_wood"),
    ("TV", "Table", "bear", "car_boot"),
    aliases={"wood": "soft_wood"},
    labels={"0": "TV", "1": "Table", "2": "bear", "3": "car_boot"},
)
FILES = {
    "TV": ["b.jpg", "B.jpg", "a10.png", "a2.png"],
    "Table": ["deep/1.jpg", "deep er/0.jpg", "deep/x/2.jpg", "z.jpg"],
    "bear": ["é.jpg", "a b.jpg", "🐻.jpg"],
    "car_boot": ["1.JPG"],
}


def place(root: Path, of: Benchmark = TOYS) -> Location:
    return Location(of, root, None)


def plant(folder: Path, files: Mapping[str, Sequence[str]] = FILES) -> Path:
    for name, images in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in images:
            path = folder / name / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{name.rpartition('/')[2]} {image}".encode())
    return folder


def refusal(root: Path, domain: str = "metal") -> str:
    with pytest.raises(DataError) as caught:
        list_domain(place(root), domain)
    return str(caught.value)


def own_names(listing: Listing) -> list[str]:
    return [name.rpartition("/")[2] for name in listing.names]


def test_the_plain_layout_is_listed_as_imagefolder_lists_it(tmp_path: Path) -> None:
    folder = plant(tmp_path / "metal")
    expected = ImageFolder(str(folder)).samples

    listing = list_domain(place(tmp_path), "metal")

    assert [str(folder / name) for name in listing.names] == [path for path, _ in expected]
    assert listing.labels.tolist() == [label for _, label in expected]
    assert listing.sizes.tolist() == [Path(path).stat().st_size for path, _ in expected]
    assert [listing.content(position) for position in range(len(listing))] == [
        Path(path).read_bytes() for path, _ in expected
    ]
    assert listing.describe(0) == expected[0][0]


SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "lower case": {"TV": "tv", "Table": "table", "bear": "bear", "car_boot": "car boot"},
    "numbers": {"TV": "0", "Table": "1", "bear": "2", "car_boot": "3"},
    "hyphens": {"TV": "T-V", "Table": "TABLE", "bear": "Bear", "car_boot": "car-boot"},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_change_neither_order_nor_labels(tmp_path: Path, spelling: str) -> None:
    plant(tmp_path / "plain" / "metal")
    plant(tmp_path / "other" / "METAL", {SPELLINGS[spelling][name]: files for name, files in FILES.items()})
    plain = list_domain(place(tmp_path / "plain"), "metal")
    other = list_domain(place(tmp_path / "other"), "metal")
    assert own_names(other) == own_names(plain)
    assert other.labels.tolist() == plain.labels.tolist()


def test_images_in_parts_have_the_same_order_and_their_names_keep_the_part(tmp_path: Path) -> None:
    plant(tmp_path / "plain" / "metal")
    for position, part in enumerate(("test", "train", "crossval")):
        numbered = {f"{part}/{label}": files[position::3] for label, files in enumerate(FILES.values())}
        plant(tmp_path / "parts" / "metal", numbered)
    plain = list_domain(place(tmp_path / "plain"), "metal")
    parts = list_domain(place(tmp_path / "parts"), "metal")
    assert own_names(parts) == own_names(plain)
    assert parts.labels.tolist() == plain.labels.tolist()
    assert "test/0/b.jpg" in parts.names
    assert parts.content(0) == b"0 B.jpg"


def test_a_part_that_holds_all_the_others_is_read_alone(tmp_path: Path) -> None:
    for part in ("train", "test", "full"):
        plant(tmp_path / "metal", {f"{part}/{name}": files for name, files in FILES.items()})
    scan = scan_domain(place(tmp_path), "metal")
    assert scan.counts() == {"TV": 4, "Table": 4, "bear": 3, "car_boot": 1}
    assert scan.unexpected == []
    assert scan.listing is not None
    assert scan.listing.names[0] == "full/TV/B.jpg"


def test_domains_are_found_under_other_names_and_in_a_path_with_blanks_and_letters(tmp_path: Path) -> None:
    root = tmp_path / "Donnéés 数据 set"
    plant(root / "Soft Wood")
    assert list_domain(place(root), "soft_wood").describe(0) == f"{root}/Soft Wood/TV/B.jpg"


def test_names_that_are_no_text_are_read_and_can_be_printed(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    odd = os.fsencode(tmp_path / "metal" / "bear") + b"/\xff\xfe.jpg"
    with open(odd, "wb") as stream:
        stream.write(b"odd")
    listing = list_domain(place(tmp_path), "metal")
    position = list(listing.names).index("bear/\\xff\\xfe.jpg")
    assert listing.content(position) == b"odd"
    assert listing.describe(position) == f"{tmp_path}/metal/bear/\\xff\\xfe.jpg"
    assert len(listing.fingerprint) == 64


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    (tmp_path / "metal" / "bear").rename(tmp_path / "elsewhere")
    (tmp_path / "metal" / "bear").symlink_to(tmp_path / "elsewhere")
    assert len(list_domain(place(tmp_path), "metal")) == 12


def test_a_missing_domain_is_named_with_the_folders_that_there_are(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    (tmp_path / "splits").mkdir()
    assert refusal(tmp_path, "soft_wood") == (
        f"The domain `soft_wood` of `toys` is missing in `{tmp_path}`: it holds the folders `metal`, `splits`. "
        "Put the folder `soft_wood` there, or name another folder with `--data.root=FOLDER`."
    )


def test_two_folders_for_one_domain_are_refused(tmp_path: Path) -> None:
    for name in ("soft_wood", "Wood"):
        plant(tmp_path / name)
    assert refusal(tmp_path, "soft_wood") == (
        f"`{tmp_path}` holds more than one folder for the domain `soft_wood` of `toys`: `Wood`, `soft_wood`. "
        "Move all but one elsewhere."
    )


def test_two_folders_for_one_class_are_refused(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    plant(tmp_path / "metal", {"Car Boot": ["1.jpg"]})
    assert refusal(tmp_path) == (
        f"`{tmp_path}/metal` (domain `metal` of `toys`) holds more than one folder for the same class: `Car Boot`, "
        "`car_boot`. Move all but one elsewhere, or put their images into one."
    )


def test_misspelled_and_surplus_classes_are_named_with_the_nearest_class(tmp_path: Path) -> None:
    plant(tmp_path / "metal", {"Tabel" if name == "Table" else name: files for name, files in FILES.items()})
    plant(tmp_path / "metal", {"giraffe": ["a.jpg"]})
    assert refusal(tmp_path) == (
        f"`{tmp_path}/metal` (domain `metal` of `toys`) holds folders that are not classes: `Tabel` (did you mean "
        "`Table`?), `giraffe`. There is no folder for the class `Table`. Rename them, or move them elsewhere."
    )


def test_a_folder_beside_the_parts_and_one_in_a_part_are_surplus(tmp_path: Path) -> None:
    plant(tmp_path / "metal", {f"train/{name}": files for name, files in FILES.items()})
    plant(tmp_path / "metal", {"train/zebra": ["a.jpg"], "lists": []})
    assert scan_domain(place(tmp_path), "metal").unexpected == ["lists", "train/zebra"]


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    plant(tmp_path / "metal", {name: files for name, files in FILES.items() if name in ("TV", "bear")})
    assert refusal(tmp_path) == (
        f"`{tmp_path}/metal` (domain `metal` of `toys`) has no folder for the classes `Table`, `car_boot`. This copy "
        "is not complete: get the folders that are missing, or name another copy with `--data.root=FOLDER`."
    )


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    plant(tmp_path / "metal", FILES | {"bear": []})
    (tmp_path / "metal" / "bear" / "list.txt").touch()
    assert refusal(tmp_path) == (
        f"`{tmp_path}/metal` (domain `metal` of `toys`) holds no image of the class `bear`: the class folder is "
        "there, but empty. This copy is not complete: get the images, or name another copy with `--data.root=FOLDER`."
    )


def test_a_class_of_which_no_copy_has_images_may_be_missing(tmp_path: Path) -> None:
    plant(tmp_path / "metal", {name: files for name, files in FILES.items() if name != "bear"})
    version = Version("counted", {"metal": 9}, {"metal": (4, 4, 0, 1)})
    known = Benchmark("toys", TOYS.domains, TOYS.classes, versions=(version,))
    assert len(list_domain(place(tmp_path, known), "metal")) == 9


@pytest.mark.parametrize("locked", ["", "metal", "metal/bear"])
def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str) -> None:
    plant(tmp_path / "metal")
    opened, scanned = os.open, os.scandir

    def check(path: object) -> None:
        if str(path) == str(tmp_path / locked):
            raise PermissionError(13, "Permission denied", path)

    def guarded_open(path: str, flags: int) -> int:
        check(path)
        return opened(path, flags)

    def guarded_scan(path: Path | int) -> object:
        check(path)
        return scanned(path)

    monkeypatch.setattr("hamdg.data.folders.walk.os.open", guarded_open)
    monkeypatch.setattr("hamdg.data.folders.walk.os.scandir", guarded_scan)
    assert refusal(tmp_path) == (
        f"Of the domain `metal` of `toys` cannot be read: `{(tmp_path / locked)}` (Permission denied). "
        "Make that readable for this user, or remove it."
    )


def test_a_file_without_permission_is_an_error_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "metal")
    listing = list_domain(place(tmp_path), "metal")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match=r"Permission denied: '.*/metal/TV/B\.jpg'"):
        listing.content(0)


def test_the_gravest_fault_is_told_and_that_there_are_others(tmp_path: Path) -> None:
    plant(tmp_path / "metal", {"TV": ["a.jpg"], "tv": ["a.jpg"], "bear": []})
    message = refusal(tmp_path)
    assert message.startswith(f"`{tmp_path}/metal` (domain `metal` of `toys`) holds more than one folder for the same")
    assert message.endswith(" There is more: `hamdg data verify toys FOLDER` lists it.")


def test_a_listing_can_be_sent_to_another_process(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    listing = list_domain(place(tmp_path), "metal").take([3, 0])
    sent = pickle.loads(pickle.dumps(listing))
    assert sent.fingerprint == listing.fingerprint
    assert sent.content(1) == listing.content(1)


def test_a_scan_counts_what_it_finds_and_what_it_passes_over(tmp_path: Path) -> None:
    plant(tmp_path / "metal")
    for name in ("list.txt", "TV/notes.txt", "Thumbs.db"):
        (tmp_path / "metal" / name).touch()
    (tmp_path / "readme.txt").touch()
    scan = scan_domain(place(tmp_path), "metal")
    assert scan.counts() == {"TV": 4, "Table": 4, "bear": 3, "car_boot": 1}
    assert scan.ignored == 2
    assert scan.folder == tmp_path / "metal"


def test_a_scan_of_a_domain_that_is_not_there_raises_nothing(tmp_path: Path) -> None:
    scan = scan_domain(place(tmp_path), "metal")
    assert (scan.folder, scan.listing, scan.siblings) == (None, None, [])
    assert scan.counts() == dict.fromkeys(TOYS.classes, 0)


@pytest.mark.real_data
def test_pacs_has_the_counts_of_the_papers_and_imagefolders_order(pacs_root: Path) -> None:
    pacs = benchmark("pacs")
    found = locate(pacs, str(pacs_root))
    for domain, counts in pacs.versions[0].by_class.items():
        listing = list_domain(found, domain)
        assert tuple(np.bincount(listing.labels).tolist()) == counts
        assert found.root is not None
        expected = ImageFolder(str(found.root / domain)).samples
        assert [listing.describe(position) for position in range(len(listing))] == [path for path, _ in expected]
        assert listing.labels.tolist() == [label for _, label in expected]
