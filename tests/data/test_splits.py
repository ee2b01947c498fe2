from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hamdg.data.splits import draw_per_class, lacks_classes, missing_classes, seed_hash, split


def reference(count: int, fraction: float, trial: int, environment: int) -> tuple[list[int], list[int]]:
    """DomainBed's rule as it is described: a list is shuffled, its first part validates."""
    digest = hashlib.md5(str((trial, environment)).encode("utf-8")).hexdigest()
    keys = list(range(count))
    np.random.RandomState(int(digest, 16) % 2**31).shuffle(keys)
    held = int(count * fraction)
    return keys[held:], keys[:held]


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (0, [894182419, 1514274641, 1325548499, 1796103049]),
        (1, [785910682, 1442673865, 1981683110, 1739848239]),
    ],
)
def test_seed_hash_gives_domainbeds_numbers(trial: int, expected: list[int]) -> None:
    assert [seed_hash(trial, environment) for environment in range(4)] == expected


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.floats(0.0, 0.99), st.integers(0, 5), st.integers(0, 5))
def test_split_follows_domainbeds_rule(count: int, fraction: float, trial: int, environment: int) -> None:
    train, validation = split(count, fraction, trial, environment)

    assert (train.tolist(), validation.tolist()) == reference(count, fraction, trial, environment)
    assert sorted([*train, *validation]) == list(range(count))


def test_splits_differ_between_domains_and_trials() -> None:
    orders = {tuple(split(50, 0.2, trial, domain)[1]) for trial in range(3) for domain in range(3)}

    assert len(orders) == 9


def drawn(labels: NDArray[np.int64], limit: int, seed: int = 0, index: int = 0, purpose: str = "shots") -> list[int]:
    positions = draw_per_class(labels, limit, seed, index, purpose)
    assert positions.dtype == np.int64
    return [int(position) for position in positions]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0, 2, 3]), min_size=1, max_size=60), st.integers(1, 25), st.integers(0, 3))
def test_as_many_of_every_class_are_drawn_as_asked_for_or_all(classes: list[int], limit: int, seed: int) -> None:
    labels = np.array(classes, np.int64)
    positions = drawn(labels, limit, seed)
    assert positions == sorted(set(positions))
    for label in set(classes):
        assert labels[positions].tolist().count(label) == min(limit, classes.count(label))
    assert set(positions) <= set(drawn(labels, limit + 1, seed))
    assert positions == drawn(labels, limit, seed)


def test_what_is_drawn_depends_on_seed_domain_and_purpose_and_on_no_other_class() -> None:
    labels = np.repeat(np.arange(3), 40)
    draws = [drawn(labels, 5), drawn(labels, 5, seed=1), drawn(labels, 5, index=1), drawn(labels, 5, purpose="subset")]
    assert len({tuple(one) for one in draws}) == 4
    assert drawn(labels[40:], 5) == [position - 40 for position in draws[0][5:]]
    # Not the first ones, nor at the same places in every class.
    assert draws[0][:5] != list(range(5))
    assert [position % 40 for position in draws[0][:5]] != [position % 40 for position in draws[0][5:10]]


def test_the_draw_of_a_class_is_a_permutation_seeded_by_domainbeds_hash() -> None:
    labels = np.array([1, 0, 1, 1, 0, 1])
    digest = hashlib.md5(b"(3, 2, 'shots', 1)").hexdigest()
    order = np.random.RandomState(int(digest, 16) % 2**31).permutation([0, 2, 3, 5])
    assert sorted(order[:2].tolist()) == [one for one in drawn(labels, 2, 3, 2) if labels[one] == 1]


def test_classes_without_a_training_image_are_named() -> None:
    labels = np.array([0, 0, 1, 2])
    classes = ("dog", "horse", "person")

    assert missing_classes(labels, np.array([1, 2, 3]), classes) == []
    assert missing_classes(labels, np.array([0, 1]), classes) == ["horse", "person"]
    message = (
        "domain `sketch` has no training image of class `horse`, `person` left after subsetting and the split; "
        "raise `data.subset`, `data.shots` or `data.mini.images_per_class`, or lower `data.validation_fraction`."
    )
    assert lacks_classes("sketch", ["horse", "person"]) == message
