from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import merge, merge_with
from tests.merge.tools import inverse_root, random_tensor

Matrix = NDArray[np.float64]


def reference(changes: list[Matrix], shared: int, own: int) -> Matrix:
    """Iso-CTS from the formula with the numbers of directions given; for matrices of full rank."""
    total = np.zeros_like(changes[0])
    for change in changes:
        total = total + change
    left, values, right = np.linalg.svd(total)
    triplets = [(left[:, j], values[j], right[j]) for j in range(shared)]
    for change in changes:
        rest = change.copy()
        for common, _, _ in triplets[:shared]:
            rest = rest - np.outer(common, common @ change)
        own_left, own_values, own_right = np.linalg.svd(rest)
        triplets += [(own_left[:, j], own_values[j], own_right[j]) for j in range(own)]
    strength = sum(value for _, value, _ in triplets) / len(triplets)
    lefts, rights = (inverse_root(np.stack([triplet[side] for triplet in triplets], axis=1)) for side in (0, 2))
    merged = np.zeros_like(total)
    for j in range(len(triplets)):
        merged += strength * np.outer(lefts[:, j], rights[:, j])
    return merged


def merged(changes: list[Tensor], **options: object) -> Tensor:
    models = {f"s{i}": {"w": change} for i, change in enumerate(changes)}
    return merge_with("iso_cts", models, {"w": torch.zeros_like(changes[0])}, options)["w"]


def test_by_hand() -> None:
    """r = 4, half of it common: c = 2 and p = (4 - 2) / 2 = 1.

    The sum diag(10, 6, 1, 2) gives the first two directions (10 and 6), what they leave of the first change,
    diag(0, 0, 2, 0), the third (2), and of the second, diag(0, 0, -1, 2), the fourth (2): a mean of 20 / 4 = 5.
    """
    changes = [torch.diag(torch.tensor([5.0, 3.0, 2.0, 0.0])), torch.diag(torch.tensor([5.0, 3.0, -1.0, 2.0]))]
    torch.testing.assert_close(merged(changes, common=0.5), 5 * torch.eye(4))
    torch.testing.assert_close(merged(changes, common=0.5, scale=0.2), torch.eye(4))
    # All of it common is Iso-C: a mean of 19 / 4.
    torch.testing.assert_close(merged(changes, common=1.0), 4.75 * torch.eye(4))


@pytest.mark.parametrize(
    ("size", "sources", "common", "shared", "own"),
    [
        (10, 2, 0.8, 8, 1),  # 10 - 8 = 2 for two sources
        (10, 3, 0.8, 7, 1),  # 2/3 of a direction each is rounded to 1, so the common ones give one up
        (10, 4, 0.8, 10, 0),  # 1/2 is rounded to 0, the even number
        (12, 4, 0.5, 4, 2),  # 6/4 is rounded to 2, the even number
        (10, 1, 0.8, 8, 2),
        (9, 2, 0.0, 1, 4),  # 9/2 is rounded to 4
        (5, 3, 0.0, 2, 1),  # 5/3 would be rounded to 2, six directions of five
        (3, 4, 0.5, 3, 0),  # fewer directions than sources
        (50, 2, 0.58, 30, 10),  # .58 * 50 is a little less than 29 in floating point; 21/2 is rounded to 10
    ],
)
def test_numbers_of_directions_by_hand(size: int, sources: int, common: float, shared: int, own: int) -> None:
    changes = [random_tensor(size + 1, size, seed=i) for i in range(sources)]
    expected = torch.from_numpy(reference([change.numpy() for change in changes], shared, own))
    torch.testing.assert_close(merged(changes, common=common), expected, rtol=1e-6, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    sources=st.integers(1, 4),
    own=st.integers(0, 3),
    seed=st.integers(0, 10_000),
)
def test_equals_the_formula_in_double_precision(rows: int, columns: int, sources: int, own: int, seed: int) -> None:
    size = min(rows, columns)
    own = min(own, size // sources)
    shared = size - own * sources
    changes = [random_tensor(rows, columns, seed=seed + i) for i in range(sources)]
    expected = torch.from_numpy(reference([change.numpy() for change in changes], shared, own))
    torch.testing.assert_close(merged(changes, common=shared / size), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
def test_single_precision_is_near_the_formula(shape: tuple[int, int]) -> None:
    changes = [random_tensor(*shape, seed=i).float() for i in range(3)]
    numbers = (31, 3) if shape == (40, 40) else (24, 2)
    expected = torch.from_numpy(reference([change.double().numpy() for change in changes], *numbers))
    torch.testing.assert_close(merged(changes, common=0.8).double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(10, 10), (12, 10), (10, 12)])
def test_all_singular_values_are_equal(shape: tuple[int, int]) -> None:
    after = torch.linalg.svdvals(merged([random_tensor(*shape, seed=i) for i in range(2)]))
    torch.testing.assert_close(after, after[0].expand_as(after))


def test_one_source_is_flattened() -> None:
    # Its common directions and what they leave are its own singular directions.
    change = random_tensor(7, 5)
    expected = merge("iso_c", {"s": {"w": change}}, {"w": torch.zeros_like(change)})["w"]
    for common in (0.0, 0.4, 0.8, 1.0):
        torch.testing.assert_close(merged([change], common=common), expected)


def test_changes_of_low_rank_give_no_direction_that_they_do_not_have() -> None:
    # One common direction of strength 2; nothing is left of either source.
    change = torch.outer(random_tensor(6), random_tensor(5, seed=1))
    change /= torch.linalg.matrix_norm(change)
    for common in (0.2, 0.8):
        torch.testing.assert_close(merged([change, change], common=common), 2 * change)
        torch.testing.assert_close(merged([change.float(), change.float()], common=common), 2 * change.float())
    # Of two changes that cancel there is no common direction: each has its own, and of both, opposite, nothing remains.
    torch.testing.assert_close(merged([change, -change], common=0.2), torch.zeros(6, 5, dtype=torch.float64))


def test_a_share_out_of_range_is_refused() -> None:
    message = "Expected argument `common` to be a number between 0 and 1, but got `1.5`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merged([random_tensor(2, 2)], common=1.5)
