from __future__ import annotations

import math
import re
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import merge_with
from tests.merge.tools import inverse_root, random_tensor

Matrix = NDArray[np.float64]
# Two changes worked out by hand in the first test.
BY_HAND = [torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.6], [0.0, 0.8]])]


def reference(
    changes: list[Matrix], limit: float = 1.96, centered: bool = True, kept: Literal["trim", "drop", "keep"] = "trim"
) -> tuple[Matrix, float]:
    """SCORE from the formula, entry by entry, and how near an entry comes to the threshold, relative to it."""
    left, right = basis(changes)
    merged = np.zeros_like(changes[0])
    nearest = math.inf
    for change in changes:
        own = left.T @ change @ right
        size = len(own)
        off = [0.0 if i == j else float(own[i, j]) for i in range(size) for j in range(size)]
        mean = sum(off) / len(off)
        spread = math.sqrt(sum((x - mean) ** 2 for x in off) / (len(off) - 1)) if len(off) > 1 else 0.0
        for i in range(size):
            for j in range(size):
                distance = abs(own[i, j] - (mean if centered else 0.0))
                if i != j and kept == "trim":
                    nearest = min(nearest, abs(distance - limit * spread) / (limit * spread))
                if i == j or kept == "keep" or (kept == "trim" and distance <= limit * spread):
                    merged += own[i, j] * np.outer(left[:, i], right[:, j])
    return merged, nearest


def basis(changes: list[Matrix]) -> tuple[Matrix, Matrix]:
    number = min(changes[0].shape) // len(changes)
    lefts, rights = [], []
    for change in changes:
        left, _, right = np.linalg.svd(change)
        for j in range(number):
            sign = 1.0 if right[j][np.argmax(np.abs(right[j]))] > 0 else -1.0
            lefts.append(sign * left[:, j])
            rights.append(sign * right[j])
    return inverse_root(np.stack(lefts, axis=1)), inverse_root(np.stack(rights, axis=1))


def merged(changes: list[Tensor], **options: object) -> Tensor:
    models = {f"s{i}": {"w": change} for i, change in enumerate(changes)}
    return merge_with("score", models, {"w": torch.zeros_like(changes[0])}, options)["w"]


def test_two_directions_by_hand() -> None:
    """N = 2 and r = 2: the left vectors (1, 0) and (.6, .8) have the polar factor U = [[3, 1], [-1, 3]] / sqrt(10).

    (See the test of TSV; the right ones are the axes.) In this basis the changes are [[6, 0], [2, 0]] / sqrt(10) and
    [[0, 1], [0, 3]] / sqrt(10). Diagonals only: U diag(6, 3) / sqrt(10) = [[1.8, .3], [-.6, .9]]. All: the plain sum.
    """
    diagonal, full = torch.tensor([[1.8, 0.3], [-0.6, 0.9]]), torch.tensor([[2.0, 0.6], [0.0, 0.8]])
    torch.testing.assert_close(merged(BY_HAND, off_diagonal="drop"), diagonal)
    torch.testing.assert_close(merged(BY_HAND, off_diagonal="keep"), full)


def test_the_threshold_by_hand() -> None:
    """Off the diagonal, the first change has the entries 2 and 0, with the diagonal's zeros 0, 0, 2, 0 (/ sqrt(10)).

    Their mean is .5, their variance (3 * .25 + 2.25) / 3 = 1, so the entry 2 lies 1.5 standard deviations from the mean
    and 2 from zero; so does the 1 of the second change, where all is half as large.
    """
    diagonal, full = torch.tensor([[1.8, 0.3], [-0.6, 0.9]]), torch.tensor([[2.0, 0.6], [0.0, 0.8]])
    for options, expected in (
        ({}, full),
        ({"divisor": "sources"}, diagonal),  # 1.96 / 2 = .98
        ({"center": "zero"}, diagonal),
        ({"threshold": 1.45}, diagonal),
        ({"threshold": 1.55}, full),
        ({"threshold": 3.05, "divisor": "sources"}, full),
        ({"threshold": 2.05, "center": "zero"}, full),
    ):
        torch.testing.assert_close(merged(BY_HAND, **options), expected, msg=str(options))
    torch.testing.assert_close(merged(BY_HAND, scale=2.0), 2 * full)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    sources=st.integers(1, 4),
    limit=st.sampled_from([1.96, 1.0, 0.5]),
    center=st.sampled_from(["mean", "zero"]),
    kept=st.sampled_from(["trim", "drop", "keep"]),
    seed=st.integers(0, 10_000),
)
def test_equals_the_formula_in_double_precision(
    rows: int,
    columns: int,
    sources: int,
    limit: float,
    center: str,
    kept: Literal["trim", "drop", "keep"],
    seed: int,
) -> None:
    if min(rows, columns) < sources:
        return
    changes = [random_tensor(rows, columns, seed=seed + i) for i in range(sources)]
    expected, nearest = reference([change.numpy() for change in changes], limit, center == "mean", kept)
    if nearest < 1e-6 or sources == 1:
        return
    result = merged(changes, threshold=limit, center=center, off_diagonal=kept)
    torch.testing.assert_close(result, torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(24, 24), (40, 21), (21, 40)])
def test_single_precision_is_near_the_formula(shape: tuple[int, int]) -> None:
    changes = [random_tensor(*shape, seed=i).float() for i in range(3)]
    expected, nearest = reference([change.double().numpy() for change in changes])
    # No entry is so near the threshold that rounding could decide.
    assert nearest > 2e-5
    torch.testing.assert_close(merged(changes).double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_one_source_gives_that_source() -> None:
    # In its own basis a change is diagonal, so there is nothing to prune but rounding.
    for shape in ((5, 5), (7, 3), (3, 7), (1, 1)):
        change = random_tensor(*shape)
        torch.testing.assert_close(merged([change]), change)


def test_equal_sources_of_low_rank_give_one_of_them_on_the_diagonal_and_their_sum_with_all() -> None:
    """With N copies of u s v^T every U_perp is (u, u) / sqrt(2), and every M_i is s / 2 in all four entries."""
    change = torch.outer(random_tensor(6), random_tensor(5, seed=1))
    torch.testing.assert_close(merged([change, change], off_diagonal="drop"), change)
    torch.testing.assert_close(merged([change, change], off_diagonal="keep"), 2 * change)


@pytest.mark.parametrize("shape", [(9, 9), (12, 9), (9, 12)])
@pytest.mark.parametrize("off_diagonal", ["drop", "keep", "trim"])
def test_sources_in_orthogonal_subspaces_of_low_rank_add_up(shape: tuple[int, int], off_diagonal: str) -> None:
    left, right = (torch.linalg.qr(random_tensor(size, 9, seed=size)).Q for size in shape)
    parts = [slice(0, 3), slice(3, 5), slice(5, 8)]
    changes = [left[:, part] @ random_tensor(8, 8)[part, part] @ right[:, part].mT for part in parts]
    torch.testing.assert_close(merged(changes, off_diagonal=off_diagonal), changes[0] + changes[1] + changes[2])


def test_square_matrices_whose_basis_is_complete_give_the_plain_sum_without_pruning() -> None:
    changes = [random_tensor(6, 6, seed=i) for i in range(3)]
    torch.testing.assert_close(merged(changes, off_diagonal="keep"), changes[0] + changes[1] + changes[2])
    torch.testing.assert_close(merged(changes, threshold=100.0), changes[0] + changes[1] + changes[2])
    assert not torch.allclose(merged(changes), changes[0] + changes[1] + changes[2])


def test_a_smaller_threshold_keeps_fewer_entries_down_to_the_diagonal() -> None:
    changes = [random_tensor(8, 8, seed=i) for i in range(2)]
    full = merged(changes, off_diagonal="keep")
    distances = [
        float(torch.linalg.matrix_norm(full - merged(changes, threshold=limit))) for limit in (9.0, 2.5, 1.5, 0.5, 0.0)
    ]
    assert distances == sorted(distances)
    assert distances[0] == pytest.approx(0.0, abs=1e-9)
    torch.testing.assert_close(merged(changes, threshold=0.0), merged(changes, off_diagonal="drop"))


def test_the_signs_of_singular_vectors_do_not_leak() -> None:
    """Negated rows are negated in the result; so are negated columns, if no mean of entries is the center."""
    changes = [random_tensor(8, 8, seed=i) for i in range(2)]
    flip = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64))
    flipped = [flip @ change for change in changes]
    torch.testing.assert_close(merged(flipped), flip @ merged(changes))
    both = [change @ flip for change in changes]
    torch.testing.assert_close(merged(both, center="zero"), merged(changes, center="zero") @ flip)


def test_a_matrix_with_fewer_rows_than_sources_is_averaged() -> None:
    changes = [random_tensor(2, 5, seed=i) for i in range(3)]
    torch.testing.assert_close(merged(changes), torch.stack(changes).mean(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1.0}, "Expected argument `threshold` to be a number of at least 0, but got `-1.0`."),
        (
            {"divisor": "models"},
            "Expected argument `divisor` to be one of `none`, `sources`, but got `'models'`.",
        ),
        ({"center": "median"}, "Expected argument `center` to be one of `mean`, `zero`, but got `'median'`."),
        (
            {"off_diagonal": "cut"},
            "Expected argument `off_diagonal` to be one of `trim`, `drop`, `keep`, but got `'cut'`.",
        ),
        ({"treshold": 1.0}, "Merge method `score` has no option `treshold`; did you mean `threshold`?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merged(BY_HAND, **options)
