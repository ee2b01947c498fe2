from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.data.splits import first_per_class, lacks_classes, missing_classes, seed_hash, split


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


def test_first_per_class_keeps_the_old_order() -> None:
    labels = np.array([2, 0, 0, 2, 1, 0, 2, 2])

    assert first_per_class(labels, 2).tolist() == [0, 1, 2, 3, 4]
    assert first_per_class(labels, 1).tolist() == [0, 1, 4]
    assert first_per_class(labels, 100).tolist() == list(range(8))


def test_classes_without_a_training_picture_are_named() -> None:
    labels = np.array([0, 0, 1, 2])
    classes = ("dog", "horse", "person")

    assert missing_classes(labels, np.array([1, 2, 3]), classes) == []
    assert missing_classes(labels, np.array([0, 1]), classes) == ["horse", "person"]
    message = (
        "domain `sketch` has no training image of class `horse`, `person` left after subsetting and the split; "
        "raise `data.subset` or `data.mini.images_per_class`, or lower `data.validation_fraction`."
    )
    assert lacks_classes("sketch", ["horse", "person"]) == message
