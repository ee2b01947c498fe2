"""Verification, and the examination of images."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg.data.benchmark import Benchmark, Hub
from hamdg.data.folders.scan import scan_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import Location
from hamdg.data.verify.examine import examine
from hamdg.data.verify.verify import Advance, Verification, verify
from tests.toys import TOYS, encoded, grow

OWN = Benchmark("custom", TOYS.domains, TOYS.classes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path)


def verified(root: Path, benchmark: Benchmark = TOYS, *, decode: bool = True, contents: bool = False) -> Verification:
    return verify(Location(benchmark, root, None), decode=decode, contents=contents)


def test_a_complete_copy_is_good(root: Path) -> None:
    found = verified(root)
    assert found.good
    assert found.faults == []
    assert list(found.unreadable) == []
    assert str(found.comparison) == "Toys, as in the papers: 6 images"


def test_every_fault_of_folders_is_named(root: Path) -> None:
    (root / "real" / "dog").rename(root / "real" / "dgo")
    (root / "sketch" / "cat" / "0.png").unlink()
    (root / "sketch" / "notes").mkdir()
    (root / "sketch" / "dog" / "list.txt").touch()
    (root / "sketch" / "Dog").mkdir()
    found = verified(root)
    assert not found.good
    assert found.faults == [
        "`real`: the folder `dgo` is not a class of Toys; did you mean `dog`?",
        "`real`: there is no folder for the class `dog`.",
        "`sketch`: the folder `notes` is not a class of Toys.",
        "`sketch`: the folders `Dog`, `dog` mean the same class; put their images into one.",
        "`sketch`: there are no images in the folder of the class `cat`.",
    ]
    assert found.ignored == 1


def test_a_missing_domain_and_a_rival_are_named(root: Path) -> None:
    (root / "sketch").rename(root / "sketches")
    (root / "Real").mkdir()
    assert verified(root).faults == [
        "`sketch`: the domain has no folder; the folders there are `Real`, `real`, `sketches`.",
        "`real`: the folders `Real`, `real` all mean this domain; only the first was looked into.",
        "`real`: there is no folder for the classes `cat`, `dog`.",
    ]


def test_what_cannot_be_looked_at_is_named(root: Path) -> None:
    link = root / "sketch" / "dog" / "2.png"
    link.symlink_to("nothing")
    found = verified(root)
    assert found.faults == [f"`sketch`: `{link}` cannot be looked at: No such file or directory."]
    assert not found.good


def test_all_unreadable_images_are_found(root: Path) -> None:
    whole = encoded((60, 60), format="JPEG")
    (root / "real" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "sketch" / "dog" / "1.png").write_text("no image")
    found = verified(root)
    unreadable = dict(found.unreadable)
    assert list(unreadable) == [str(root / "real/cat/0.png"), str(root / "sketch/dog/1.png")]
    assert "truncated" in unreadable[str(root / "real/cat/0.png")].lower()
    assert "no image format" in unreadable[str(root / "sketch/dog/1.png")]
    assert not found.good
    assert verified(root, decode=False).good


def test_truncated_images_are_listed_whether_they_are_read_or_not(root: Path) -> None:
    (root / "real" / "cat" / "0.png").write_bytes(encoded((60, 60), format="JPEG")[:-20])
    (root / "sketch" / "dog" / "1.png").write_text("no image")
    cut, bad = str(root / "real/cat/0.png"), str(root / "sketch/dog/1.png")
    refused = verified(root)
    assert [name for name, _ in refused.unreadable] == [cut, bad]
    assert [name for name, _ in refused.truncated] == [cut]
    read = verify(Location(TOYS, root, None), truncated="read")
    assert [name for name, _ in read.unreadable] == [bad]
    assert dict(read.truncated) == dict(refused.truncated)
    for found, mode, unreadable in ((refused, "refuse", {"cat/0.png"}), (read, "read", set())):
        card = found.card()
        assert card["truncated"] == mode
        domain = card["domains"]["real"]  # type: ignore[index]
        assert set(domain["unreadable"]) == unreadable
        assert set(domain["truncated"]) == {"cat/0.png"}


def test_a_file_that_cannot_be_opened_is_unreadable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Listing.content

    def guarded(self: Listing, position: int) -> bytes:
        if self.domain == "real" and position == 1:
            raise PermissionError(13, "Permission denied")
        return content(self, position)

    monkeypatch.setattr(Listing, "content", guarded)
    found = verified(root, decode=False, contents=True)
    assert list(found.unreadable) == [(str(root / "real/cat/1.png"), "Permission denied")]
    assert not found.good


def test_other_numbers_are_not_good(root: Path) -> None:
    (root / "real" / "cat" / "1.png").unlink()
    found = verified(root)
    assert found.faults == []
    assert not found.good
    assert str(found.comparison).endswith("here -1 in real/cat")


def test_own_data_need_images_of_every_class_only(root: Path) -> None:
    (root / "real" / "cat" / "1.png").unlink()
    found = verified(root, OWN)
    assert found.good
    assert found.comparison is None
    (root / "real" / "cat" / "0.png").unlink()
    assert verified(root, OWN).faults == ["`real`: there are no images in the folder of the class `cat`."]


def test_a_hub_copy_without_images_of_a_class_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = {domain: scan_domain(Location(TOYS, root, None), domain).listing for domain in TOYS.domains}

    def rows(_: Benchmark, __: Hub, domain: str, *, complete: bool) -> Listing:
        assert not complete
        listing = scans[domain]
        assert listing is not None
        return listing.take(np.flatnonzero(listing.labels == 0))

    monkeypatch.setattr("hamdg.data.verify.verify.list_hub_domain", rows)
    found = verify(Location(OWN, None, Hub("owner/own", "abc")))
    assert found.faults == [
        "`real`: there are no images of the class `dog`.",
        "`sketch`: there are no images of the class `dog`.",
    ]
    card = found.card()
    assert (card["root"], card["hub"]) == (None, {"id": "owner/own", "revision": "abc"})


def test_equal_files_are_found_by_content_on_request(root: Path) -> None:
    assert verified(root).duplicates() == []
    found = verified(root, contents=True)
    small, large = found.duplicates()
    assert small == ["real/cat/0.png", "real/dog/0.png", "sketch/cat/0.png", "sketch/dog/0.png"]
    assert large == ["real/cat/1.png", "sketch/dog/1.png"]


def test_the_card_tells_all_that_was_found(root: Path) -> None:
    (root / "sketch" / "dog" / "1.png").write_text("no image")
    card = verified(root, contents=True).card()
    paths = [f"{domain}/{name}" for domain in TOYS.domains for name in ("cat/0.png", "dog/0.png")]
    paths = sorted([*paths, "real/cat/1.png", "sketch/dog/1.png"])
    assert card["paths_sha256"] == hashlib.sha256("".join(f"{path}\n" for path in paths).encode()).hexdigest()
    lines = sorted(f"{hashlib.sha256((root / path).read_bytes()).hexdigest()}  {path}\n" for path in paths)
    assert card["contents_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (card["version"], card["root"], card["hub"], card["decoded"]) == ("as in the papers", str(root), None, True)
    domains = card["domains"]
    assert isinstance(domains, dict)
    assert list(domains["sketch"]["unreadable"]) == ["dog/1.png"]
    assert domains["real"]["width"] == {"min": 6, "median": 6, "max": 7}
    assert domains["real"]["height"] == {"min": 4, "median": 4, "max": 4}


def test_the_card_does_not_depend_on_the_place(root: Path, tmp_path: Path) -> None:
    card = verified(root, contents=True).card()
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert verified(moved, contents=True).card() | {"root": str(root)} == card


def test_without_decoding_nothing_is_known_of_sizes(root: Path) -> None:
    card = verified(root, decode=False).card()
    domains = card["domains"]
    assert isinstance(domains, dict)
    assert (domains["real"]["width"], card["contents_sha256"], card["decoded"]) == (None, None, False)


def test_progress_is_told_of_every_image(root: Path) -> None:
    advanced: list[int] = []

    @contextmanager
    def progress(total: int) -> Iterator[Advance]:
        advanced.append(-total)
        yield advanced.append

    verify(Location(TOYS, root, None), progress=progress)
    assert sum(advanced) == 0
    assert advanced[0] == -6


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(mode="CMYK", format="JPEG"), "CMYK"),
        (encoded(mode="I;16"), "more than 8 bits a channel"),
        (encoded(mode="RGBA"), "with transparency"),
        (encoded(mode="P", transparency=0), "with transparency"),
        (encoded(format="GIF", save_all=True, append_images=[Image.new("RGB", (6, 4), "red")]), "animated"),
    ],
    ids=["cmyk", "16-bit", "alpha", "palette", "animation"],
)
def test_unusual_images_are_counted(root: Path, content: bytes, kind: str) -> None:
    (root / "real" / "cat" / "1.png").write_bytes(content)
    (real, _) = verified(root).checks
    assert real.examination.peculiar == {kind: 1}
    assert real.examination.unreadable == {}


def test_an_animation_that_is_damaged_behind_its_first_frame_is_readable(root: Path) -> None:
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40), np.uint8)) for n in range(2)]
    stream = io.BytesIO()
    noise[0].save(stream, "GIF", save_all=True, append_images=noise[1:])
    (root / "real" / "cat" / "1.png").write_bytes(stream.getvalue()[:-2_500])
    (real, _) = verified(root).checks
    assert real.examination.peculiar == {"animated": 1}
    assert real.examination.unreadable == {}


def test_turned_images_are_counted_and_have_the_sides_that_are_shown(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "real" / "cat" / "0.png").write_bytes(encoded((9, 4), format="JPEG", exif=exif))
    listing = scan_domain(Location(TOYS, root, None), "real").listing
    assert listing is not None
    seen = examine(listing.take([0]))
    assert seen.peculiar == {"rotated by EXIF": 1}
    assert seen.sides.tolist() == [[4, 9]]


def test_a_image_that_pillow_warns_of_warns_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 24 pixels: a warning, not an error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verified(root).good


def test_an_interrupt_ends_the_threads(root: Path) -> None:
    listing = scan_domain(Location(TOYS, root, None), "real").listing
    assert listing is not None

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(listing.take(np.zeros(5000, np.int64)), advance=stop)


@pytest.mark.real_data
def test_the_real_pacs_is_the_one_of_the_papers(pacs_root: Path) -> None:
    from hamdg.data.benchmarks.pacs import PACS

    found = verify(Location(PACS, pacs_root, None), decode=False)
    assert found.good
    assert str(found.comparison) == "PACS, as in the papers: 9,991 images"
