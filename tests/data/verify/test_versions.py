"""Which published copy some images are."""

from __future__ import annotations

import pytest

from hamdg.data.benchmark import Benchmark, Version
from hamdg.data.verify.versions import expected_count, nearest_version
from tests.toys import version

FULL: dict[str, tuple[int, ...]] = {"real": (5, 4), "sketch": (3, 2)}
CUT = FULL | {"sketch": (2, 2)}


TOYS = Benchmark(
    name="toys",
    title="Toys",
    domains=("real", "sketch"),
    classes=("cat", "dog"),
    versions=(version("as in the papers", FULL), version("cut", CUT), Version("raw", {"real": 90, "sketch": 50})),
)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (FULL, "Toys, as in the papers: 14 images"),
        (CUT, "Toys, cut: 13 images"),
        ({"real": (1, 89), "sketch": (49, 1)}, "Toys, raw: 140 images"),
    ],
)
def test_a_copy_is_recognized(counts: dict[str, tuple[int, ...]], said: str) -> None:
    found = nearest_version(TOYS, counts)
    assert found is not None
    assert found.exact
    assert str(found) == said


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            FULL | {"real": (6, 3)},
            "no known version of Toys; nearest is Toys, as in the papers: 14 images; here +1 in real/cat, -1 in "
            "real/dog",
        ),
        (
            {"sketch": (2, 1)},
            "Toys, cut: 13 images; here -5 in real/cat, -4 in real/dog, -1 in sketch/dog",
        ),
        ({"real": (5, 4)}, "nearest is Toys, as in the papers: 14 images; here -3 in sketch/cat, -2 in sketch/dog"),
        ({"real": (30, 59), "sketch": (30, 20)}, "nearest is Toys, raw: 140 images; here -1 in real"),
    ],
)
def test_other_images_are_told_from_the_nearest_copy(counts: dict[str, tuple[int, ...]], said: str) -> None:
    found = nearest_version(TOYS, counts)
    assert found is not None
    assert not found.exact
    assert str(found).endswith(said)


def test_many_differences_are_counted() -> None:
    wide = Benchmark(
        name="wide",
        domains=("one",),
        classes=tuple("abcdefgh"),
        versions=(version("only", {"one": (1,) * 8}),),
    )
    assert str(nearest_version(wide, {"one": [2] * 8})).endswith("+1 in one/f and 2 more")


def test_a_benchmark_without_numbers_has_no_nearest_copy() -> None:
    assert nearest_version(Benchmark("own", ("a",), ("x",)), {"a": [3]}) is None


def test_expected_counts_are_none_where_only_totals_are_known() -> None:
    full, _, raw = TOYS.versions
    assert expected_count(full, "sketch", 1) == 2
    assert expected_count(raw, "sketch", 1) is None
