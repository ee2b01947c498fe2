from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.merge import Family, Site
from hamdg.merge.parts.cutoff import TieRule, family_cutoffs, site_cutoffs

# Few distinct values, so that ties are the rule; zero, subnormal and huge numbers among them.
VALUES = st.sampled_from([0.0, 1e-40, 1e-3, -0.5, 0.5000001, 1.0, -1.0, 1.5, 2.0, 3e38])
WIDTHS = st.sampled_from([torch.float32, torch.float64])


def selected(tensors: Mapping[str, Tensor], count: int, ties: TieRule = "exact") -> dict[str, Tensor]:
    """Mark the largest magnitudes over all tensors of one source."""
    family = Family({"s": tensors})
    cutoff = family_cutoffs(family, lambda _: count, ties=ties)["s"]
    masks = {}
    for name in family.names:
        site = family.site(name)
        masks[name] = cutoff.mask(site, site.tensors["s"].abs())
        # Both ways of applying a cutoff agree, on the whole tensor and on pieces of it.
        assert torch.equal(cutoff.kept(site, site.tensors["s"]), site.tensors["s"] * masks[name])
        pieces = [cutoff.mask(piece, piece.tensors["s"].abs()) for piece in site.pieces(3)]
        assert torch.equal(torch.cat([*pieces, torch.zeros(0, dtype=torch.bool)]), masks[name].flatten())
    return masks


def sorted_selection(scores: dict[str, list[float]], count: int) -> dict[str, list[bool]]:
    entries = [(-abs(value), name, i) for name, row in scores.items() for i, value in enumerate(row)]
    chosen = {(name, i) for _, name, i in sorted(entries)[: max(count, 0)]}
    return {name: [(name, i) in chosen for i in range(len(row))] for name, row in scores.items()}


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.lists(VALUES, max_size=12), min_size=1, max_size=4), count=st.integers(-1, 50), dtype=WIDTHS)
def test_equals_a_stable_sort(rows: list[list[float]], count: int, dtype: torch.dtype) -> None:
    tensors = {f"t{i}": torch.tensor(row, dtype=dtype) for i, row in enumerate(rows)}
    expected = sorted_selection({name: tensor.tolist() for name, tensor in tensors.items()}, count)
    assert {name: mask.tolist() for name, mask in selected(tensors, count).items()} == expected


@settings(deadline=None, max_examples=60)
@given(row=st.lists(VALUES, min_size=1, max_size=12), count=st.integers(1, 12), dtype=WIDTHS)
def test_the_threshold_rule_keeps_all_that_are_as_large_as_the_last(
    row: list[float], count: int, dtype: torch.dtype
) -> None:
    values = torch.tensor(row, dtype=dtype)
    last = values.abs().sort(descending=True).values[min(count, len(row)) - 1]
    assert torch.equal(selected({"x": values}, count, "threshold")["x"], values.abs() >= last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 777, 5000, 9999])
def test_finds_the_threshold_among_many_close_numbers(dtype: torch.dtype, count: int) -> None:
    scores = 1 + torch.rand(10_000, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 1e-4
    mask = selected({"x": scores}, count)["x"]
    assert int(mask.sum()) == count
    assert scores[mask].min() >= scores[~mask].max()


def test_every_source_has_its_own_threshold_and_one_tensor_is_no_other() -> None:
    models = {
        "a": {"x": torch.tensor([1.0, 2.0, 3.0, 4.0]), "y": torch.tensor([9.0])},
        "b": {"x": torch.tensor([40.0, 30.0, 20.0, 10.0]), "y": torch.tensor([0.0])},
    }
    family = Family(models)
    site = family.site("x")
    cutoffs = site_cutoffs(site, lambda size: size // 2)
    assert {s: c.kept(site, site.tensors[s]).tolist() for s, c in cutoffs.items()} == {
        "a": [0.0, 0.0, 3.0, 4.0],
        "b": [40.0, 30.0, 0.0, 0.0],
    }
    assert {source: cutoff.threshold for source, cutoff in family_cutoffs(family, lambda size: 2).items()} == {
        "a": 4.0,
        "b": 30.0,
    }


def test_several_pieces_count_together() -> None:
    values = torch.randn(300_000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    mask = selected_site(values, 100_000)
    order = values.abs().sort(descending=True, stable=True).indices[:100_000]
    assert torch.equal(mask, torch.zeros(300_000, dtype=torch.bool).index_fill(0, order, True))


def selected_site(values: Tensor, count: int) -> Tensor:
    site = Site("x", {"s": values})
    return site_cutoffs(site, lambda _: count)["s"].mask(site, values.abs())


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3, 4, 5)])
def test_keeps_shapes(shape: tuple[int, ...]) -> None:
    masks = selected({"x": torch.ones(shape), "y": torch.zeros(3)}, 1)
    assert masks["x"].shape == shape
    assert masks["x"].dtype == torch.bool
    assert int(masks["x"].sum() + masks["y"].sum()) == 1


def test_of_equal_scores_the_first_by_name_and_position_win() -> None:
    masks = selected({"b": torch.tensor([1.0, 2.0, 1.0]), "a": torch.tensor([1.0, 1.0])}, 3)
    assert masks["a"].tolist() == [True, True]
    assert masks["b"].tolist() == [False, True, False]


def test_minus_zero_is_zero() -> None:
    assert selected({"x": torch.tensor([-0.0, 0.0, 1.0])}, 2)["x"].tolist() == [True, False, True]


def test_takes_tensors_that_are_not_contiguous() -> None:
    scores = torch.arange(6.0).view(2, 3).T
    assert torch.equal(selected({"x": scores}, 2)["x"], scores >= 4)


def test_mixed_widths_are_compared_in_the_wider() -> None:
    wide = torch.tensor([1.0 + 1e-12], dtype=torch.float64)
    masks = selected({"narrow": torch.tensor([1.0]), "wide": wide}, 1)
    assert masks["wide"].item()
    assert not masks["narrow"].item()


@pytest.mark.gpu
def test_the_gpu_selects_the_same() -> None:
    scores = torch.rand(100_000, generator=torch.Generator().manual_seed(0)).round(decimals=3)
    assert torch.equal(selected_site(scores.cuda(), 31_234).cpu(), selected_site(scores, 31_234))
