from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.merge.topk import largest

# Few distinct values, so that ties are the rule; zero, subnormal and huge numbers among them.
VALUES = st.sampled_from([0.0, 1e-40, 1e-3, 0.5, 0.5000001, 1.0, 1.5, 2.0, 3e38])


def sorted_selection(scores: dict[str, list[float]], count: int) -> dict[str, list[bool]]:
    entries = [(-value, order, i) for order, row in enumerate(scores.values()) for i, value in enumerate(row)]
    chosen = {(order, i) for _, order, i in sorted(entries)[: max(count, 0)]}
    return {name: [(order, i) in chosen for i in range(len(row))] for order, (name, row) in enumerate(scores.items())}


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.lists(VALUES, max_size=12), min_size=1, max_size=4),
    count=st.integers(-1, 50),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_a_stable_sort(rows: list[list[float]], count: int, dtype: torch.dtype) -> None:
    tensors = {f"t{i}": torch.tensor(row, dtype=dtype) for i, row in enumerate(rows)}
    expected = sorted_selection({name: tensor.tolist() for name, tensor in tensors.items()}, count)
    assert {name: mask.tolist() for name, mask in largest(tensors, count).items()} == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 777, 5000, 9999])
def test_finds_the_threshold_among_many_close_numbers(dtype: torch.dtype, count: int) -> None:
    scores = 1 + torch.rand(10_000, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 1e-4
    mask = largest({"x": scores}, count)["x"]
    assert int(mask.sum()) == count
    assert scores[mask].min() >= scores[~mask].max()


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3, 4, 5)])
def test_keeps_shapes(shape: tuple[int, ...]) -> None:
    masks = largest({"x": torch.ones(shape), "y": torch.zeros(3)}, 1)
    assert masks["x"].shape == shape
    assert masks["x"].dtype == torch.bool
    assert int(masks["x"].sum() + masks["y"].sum()) == 1


def test_of_equal_scores_the_first_win() -> None:
    masks = largest({"b": torch.tensor([1.0, 2.0, 1.0]), "a": torch.tensor([1.0, 1.0])}, 3)
    assert masks["b"].tolist() == [True, True, True]
    assert masks["a"].tolist() == [False, False]


def test_minus_zero_is_zero() -> None:
    assert largest({"x": torch.tensor([-0.0, 0.0, 1.0])}, 2)["x"].tolist() == [True, False, True]


def test_takes_tensors_that_are_not_contiguous() -> None:
    scores = torch.arange(6.0).view(2, 3).T
    expected: Tensor = scores >= 4
    assert torch.equal(largest({"x": scores}, 2)["x"], expected)


def test_mixed_widths_are_compared_in_the_wider() -> None:
    wide = torch.tensor([1.0 + 1e-12], dtype=torch.float64)
    masks = largest({"narrow": torch.tensor([1.0]), "wide": wide}, 1)
    assert masks["wide"].item()
    assert not masks["narrow"].item()


@pytest.mark.gpu
def test_the_gpu_selects_the_same() -> None:
    scores = torch.rand(100_000, generator=torch.Generator().manual_seed(0)).round(decimals=3)
    assert torch.equal(largest({"x": scores.cuda()}, 31_234)["x"].cpu(), largest({"x": scores}, 31_234)["x"])
