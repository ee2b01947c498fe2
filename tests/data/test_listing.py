from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hamdg.data.listing import Listing, NameTable
from tests.toys import Memory

NAMES = ["dog/a.jpg", "dog/é.jpg", "", "horse/\udcff.png", "horse/z.webp"]


def listing(domain: str = "photo", labels: tuple[int, ...] = (0, 0, 1), sizes: tuple[int, ...] = (3, 2, 2)) -> Listing:
    names = NameTable.pack(["dog/b.jpg", "dog/c.jpg", "horse/a.jpg"])
    source = Memory((b"111", b"22", b"33"))
    return Listing(domain, np.array(labels), names, np.array(sizes), source)


def test_packed_names_come_back_and_those_that_are_no_text_can_be_printed() -> None:
    names = NameTable.pack(NAMES)
    shown = ["dog/a.jpg", "dog/é.jpg", "", "horse/\\xff.png", "horse/z.webp"]
    assert list(names) == shown
    assert [names[position] for position in range(len(names))] == shown
    assert names[1:4] == shown[1:4]
    assert names[::-2] == shown[::-2]
    assert names[-1] == "horse/z.webp"
    assert names.raw(3) == b"horse/\xff.png"
    "".join(names).encode("utf-8")


def test_packed_names_end_where_they_end() -> None:
    names = NameTable.pack(NAMES)
    for position in (5, -6):
        with pytest.raises(IndexError):
            names[position]
    assert len(NameTable.pack([])) == 0
    assert list(NameTable.pack([])) == []


def test_a_listing_knows_its_images_and_reads_them() -> None:
    found = listing()
    assert len(found) == 3
    assert found.content(1) == b"22"
    assert found.describe(2) == "photo/dog/2.png"


def test_a_part_keeps_names_labels_sizes_and_contents_together() -> None:
    part = listing().take(np.array([2, 0])).take([1, 0])
    assert list(part.names) == ["dog/b.jpg", "horse/a.jpg"]
    assert part.names[:1] == ["dog/b.jpg"]
    assert part.labels.tolist() == [0, 1]
    assert part.sizes.tolist() == [3, 2]
    assert [part.content(position) for position in range(2)] == [b"111", b"33"]
    assert part.describe(1) == "photo/dog/2.png"
    assert part.domain == "photo"
    assert listing().with_truncated("read").take([0]).truncated == "read"


def test_the_fingerprint_is_the_digest_of_the_lines_in_their_order() -> None:
    text = "photo\ndog/b.jpg\t3\t0\ndog/c.jpg\t2\t0\nhorse/a.jpg\t2\t1\n"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert listing().fingerprint == expected
    assert listing().take([0, 1, 2]).fingerprint == expected
    assert listing().take([2, 0, 1]).fingerprint != expected


def test_the_fingerprint_tells_domains_sizes_labels_and_parts_apart() -> None:
    others = [listing("sketch"), listing(labels=(0, 1, 1)), listing(sizes=(3, 2, 1)), listing().take([0, 1])]
    others.append(listing().with_truncated("read"))
    assert len({one.fingerprint for one in [listing(), *others]}) == 6
