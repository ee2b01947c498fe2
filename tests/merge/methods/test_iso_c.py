from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hamdg.merge import merge_with
from tests.merge.tools import random_tensor

Matrix = NDArray[np.float64]


def reference(changes: list[Matrix]) -> Matrix:
    """Iso-C from the formula, triplet by triplet; values below 1e-9 of the largest do not exist."""
    total = np.zeros_like(changes[0])
    for change in changes:
        total = total + change
    left, values, right = np.linalg.svd(total)
    real = [j for j, value in enumerate(values) if value > 1e-9 * values[0]]
    merged = np.zeros_like(total)
    for j in real:
        merged += sum(values[i] for i in real) / len(real) * np.outer(left[:, j], right[j])
    return merged


def merged(changes: list[Tensor], start: Tensor | None = None, **options: object) -> Tensor:
    base = torch.zeros_like(changes[0]) if start is None else start
    models = {f"s{i}": {"w": base + change} for i, change in enumerate(changes)}
    return merge_with("iso_c", models, {"w": base}, options)["w"] - base


def test_by_hand() -> None:
    """The sum [[0, 3], [1, 0]] has the singular values 3 and 1, their mean is 2."""
    changes = [torch.tensor([[0.0, 2.0], [1.5, 0.0]]), torch.tensor([[0.0, 1.0], [-0.5, 0.0]])]
    torch.testing.assert_close(merged(changes), torch.tensor([[0.0, 2.0], [2.0, 0.0]]))
    torch.testing.assert_close(merged(changes, scale=1.5), torch.tensor([[0.0, 3.0], [3.0, 0.0]]))


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    rank=st.integers(0, 9),
    sources=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_equals_the_formula_in_double_precision(rows: int, columns: int, rank: int, sources: int, seed: int) -> None:
    shared = random_tensor(rows, rank, seed=seed)
    changes = [shared @ random_tensor(rank, columns, seed=seed + 1 + i) for i in range(sources)]
    expected = torch.from_numpy(reference([change.numpy() for change in changes]))
    torch.testing.assert_close(merged(changes), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
def test_single_precision_is_near_the_formula(shape: tuple[int, int]) -> None:
    changes = [random_tensor(*shape, seed=i).float() for i in range(3)]
    expected = torch.from_numpy(reference([change.double().numpy() for change in changes]))
    torch.testing.assert_close(merged(changes).double(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", [(6, 6), (8, 5), (5, 8), (1, 7), (7, 1)])
def test_all_singular_values_are_equal_and_their_sum_stays(shape: tuple[int, int]) -> None:
    changes = [random_tensor(*shape, seed=i) for i in range(3)]
    before = torch.linalg.svdvals(changes[0] + changes[1] + changes[2])
    after = torch.linalg.svdvals(merged(changes))
    torch.testing.assert_close(after, before.mean().expand_as(after))
    torch.testing.assert_close(after.sum(), before.sum())


def test_directions_without_any_strength_get_none() -> None:
    change = random_tensor(6, 2) @ random_tensor(2, 5, seed=1)
    for dtype in (torch.float32, torch.float64):
        after = torch.linalg.svdvals(merged([change.to(dtype)]).double())
        before = torch.linalg.svdvals(change)
        assert after.tolist() == pytest.approx([float(before.sum()) / 2] * 2 + [0.0] * 3, abs=1e-5)


def test_flattening_twice_changes_nothing_more() -> None:
    once = merged([random_tensor(6, 4), random_tensor(6, 4, seed=1)])
    torch.testing.assert_close(merged([once]), once)


def test_only_the_sum_of_the_changes_counts() -> None:
    change = random_tensor(5, 4)
    torch.testing.assert_close(merged([change, change]), merged([2 * change]))
    torch.testing.assert_close(
        merged([change, random_tensor(5, 4, seed=1)]), merged([change + random_tensor(5, 4, seed=1)])
    )
