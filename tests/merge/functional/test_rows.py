from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.merge import TensorSet
from hamdg.merge.functional.cutoff import TieRule
from hamdg.merge.functional.rows import by_rows, descending, largest, row_length, rows
from hamdg.merge.model_set import PIECE

# Few distinct values, so that ties are the rule; zero with either sign, subnormal and huge numbers among them.
VALUES = st.sampled_from([0.0, -0.0, 1e-40, 1e-3, 0.5, 0.5000001, 1.0, 3e38])
TABLES = st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1, max_size=4))
WIDTHS = st.sampled_from([torch.float32, torch.float64])


def ranked(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


@settings(deadline=None, max_examples=150)
@given(table=TABLES, dtype=WIDTHS)
def test_the_order_of_each_row_is_that_of_a_stable_sort(table: list[list[float]], dtype: torch.dtype) -> None:
    scores = torch.tensor(table, dtype=dtype)
    assert descending(scores).tolist() == [ranked(row) for row in scores.tolist()]


@settings(deadline=None, max_examples=150)
@given(table=TABLES, count=st.integers(-1, 8), dtype=WIDTHS)
def test_the_largest_of_each_row_are_the_first_of_a_stable_sort(
    table: list[list[float]], count: int, dtype: torch.dtype
) -> None:
    scores = torch.tensor(table, dtype=dtype)
    chosen = [set(ranked(row)[: max(count, 0)]) for row in scores.tolist()]
    assert largest(scores, count).tolist() == [[i in own for i in range(len(table[0]))] for own in chosen]


@pytest.mark.parametrize(
    ("ties", "expected"), [("exact", [True, False, True, False]), ("threshold", [True, True, True, False])]
)
def test_equal_scores_at_the_edge(ties: TieRule, expected: list[bool]) -> None:
    assert largest(torch.tensor([[1.0, 1.0, 2.0, 0.0]]), 2, ties).tolist() == [expected]


@pytest.mark.parametrize(
    ("shape", "length"), [((), 1), ((1,), 1), ((7,), 7), ((2, 3), 3), ((2, 3, 4), 12), ((0, 5), 5), ((5, 0), 0)]
)
def test_a_row_is_all_but_the_first_axis(shape: tuple[int, ...], length: int) -> None:
    tensor = torch.zeros(shape)
    assert row_length(tensor) == length
    assert rows(tensor).shape == (shape[0] if len(shape) > 1 else 1, length)


@pytest.mark.parametrize(
    "shape", [(), (1,), (0,), (0, 4), (5, 0), (3, 4, 5), (7, PIECE // 3), (2, PIECE + 5), (PIECE + 3,)]
)
def test_pieces_hold_whole_rows_and_return_to_their_places(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    sizes = []

    def rule(piece: TensorSet, length: int) -> Tensor:
        size = piece.like.numel()
        assert size % length == piece.start % length == 0
        sizes.append(size)
        return piece.tensors["a"] * 2

    assert torch.equal(by_rows(TensorSet("w", {"a": tensor}), rule), tensor * 2)
    assert all(size <= max(PIECE, row_length(tensor)) for size in sizes)


def test_a_piece_of_a_site_has_places_of_its_own() -> None:
    tensor = torch.arange(12.0)
    piece = next(iter(TensorSet("w", {"a": tensor}).pieces(8)))
    later = list(TensorSet("w", {"a": tensor}).pieces(8))[1]
    assert torch.equal(by_rows(piece, lambda part, _: part.tensors["a"]), tensor[:8])
    assert torch.equal(by_rows(later, lambda part, _: part.tensors["a"] + part.start), tensor[8:] + 8)
