from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hamdg.merge import merge_with
from tests.merge.tools import inverse_root, random_tensor

Matrix = NDArray[np.float64]


def reference(changes: list[Matrix]) -> Matrix:
    """TSV-M from the formula, triplet by triplet; the polar factor by an inverse root, for columns of full rank."""
    rows, columns = changes[0].shape
    number = min(rows, columns) // len(changes)
    lefts, values, rights = [], [], []
    for change in changes:
        left, singular, right = np.linalg.svd(change)
        for j in range(number):
            lefts.append(left[:, j])
            values.append(singular[j])
            rights.append(right[j])
    left, right = inverse_root(np.stack(lefts, axis=1)), inverse_root(np.stack(rights, axis=1))
    merged = np.zeros((rows, columns))
    for j, value in enumerate(values):
        merged += value * np.outer(left[:, j], right[:, j])
    return merged


def merged(changes: list[Tensor], start: Tensor | None = None, **options: object) -> Tensor:
    base = torch.zeros_like(changes[0]) if start is None else start
    models = {f"s{i}": {"w": base + change} for i, change in enumerate(changes)}
    return merge_with("tsv", models, {"w": base}, options)["w"] - base


def test_two_directions_by_hand() -> None:
    """N = 2 and r = 2, so each source keeps one triplet: 2 (1, 0) (1, 0)^T and 1 (.6, .8) (0, 1)^T.

    The left vectors, as columns [[1, .6], [0, .8]], have as polar factor the rotation whose angle has the tangent
    (0 - .6) / (1 + .8) = -1/3, that is [[3, 1], [-1, 3]] / sqrt(10); the right ones are orthonormal already. Times
    diag(2, 1) this is [[6, 1], [-2, 3]] / sqrt(10).
    """
    changes = [torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.6], [0.0, 0.8]])]
    expected = torch.tensor([[6.0, 1.0], [-2.0, 3.0]]) / math.sqrt(10)
    torch.testing.assert_close(merged(changes), expected)
    torch.testing.assert_close(merged(changes, scale=0.5), expected / 2)


def test_the_weaker_half_of_each_source_is_dropped_by_hand() -> None:
    changes = [torch.diag(torch.tensor([3.0, 1.0, 0.5, 2.0])), torch.diag(torch.tensor([0.1, 5.0, 4.0, 0.2]))]
    assert merged(changes).diag().tolist() == pytest.approx([3.0, 5.0, 4.0, 2.0])


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(2, 9), columns=st.integers(2, 9), sources=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_equals_the_formula_in_double_precision(rows: int, columns: int, sources: int, seed: int) -> None:
    if min(rows, columns) < sources:
        return
    changes = [random_tensor(rows, columns, seed=seed + i) for i in range(sources)]
    expected = torch.from_numpy(reference([change.numpy() for change in changes]))
    torch.testing.assert_close(merged(changes), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
def test_single_precision_is_near_the_formula(shape: tuple[int, int]) -> None:
    changes = [random_tensor(*shape, seed=i).float() for i in range(3)]
    expected = torch.from_numpy(reference([change.double().numpy() for change in changes]))
    torch.testing.assert_close(merged(changes).double(), expected, rtol=0, atol=5e-6)


def test_one_source_gives_that_source() -> None:
    for shape in ((5, 5), (7, 3), (3, 7), (1, 1)):
        change = random_tensor(*shape)
        torch.testing.assert_close(merged([change], start=random_tensor(*shape, seed=1)), change)


def test_equal_sources_give_the_strongest_part_of_one() -> None:
    change = random_tensor(6, 5)
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    strongest = (left[:, :2] * values[:2]) @ right[:2]
    torch.testing.assert_close(merged([change, change]), strongest)
    # Single precision must see that the vectors are the same, too.
    torch.testing.assert_close(merged([change.float(), change.float()]), strongest.float())
    low = random_tensor(6, 2) @ random_tensor(2, 5, seed=1)
    torch.testing.assert_close(merged([low, low]), low)


@pytest.mark.parametrize("shape", [(9, 9), (12, 9), (9, 12)])
def test_sources_in_orthogonal_subspaces_of_low_rank_add_up(shape: tuple[int, int]) -> None:
    left, right = (torch.linalg.qr(random_tensor(size, 9, seed=size)).Q for size in shape)
    parts = [slice(0, 3), slice(3, 5), slice(5, 8)]
    changes = [left[:, part] @ random_tensor(8, 8)[part, part] @ right[:, part].mT for part in parts]
    torch.testing.assert_close(merged(changes), changes[0] + changes[1] + changes[2])


def test_a_matrix_with_fewer_rows_than_sources_is_averaged() -> None:
    changes = [random_tensor(2, 5, seed=i) for i in range(3)]
    torch.testing.assert_close(merged(changes), torch.stack(changes).mean(0))
    # With as many as sources, one triplet of each is kept.
    torch.testing.assert_close(
        merged(changes[:2]), torch.from_numpy(reference([change.numpy() for change in changes[:2]]))
    )
