from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.merge import ModelSet, TensorSet, merge_with
from hamdg.merge.functional import selection
from hamdg.merge.functional.cutoff import TieRule, model_cutoffs, model_ranked, tensor_cutoffs

# Few distinct values, so that ties are the rule; zero, subnormal and huge numbers among them.
VALUES = st.sampled_from([0.0, 1e-40, 1e-3, -0.5, 0.5000001, 1.0, -1.0, 1.5, 2.0, 3e38])
WIDTHS = st.sampled_from([torch.float32, torch.float64])


def selected(tensors: Mapping[str, Tensor], count: int, ties: TieRule = "exact") -> dict[str, Tensor]:
    """Mark the largest magnitudes over all tensors of one source."""
    model_set = ModelSet({"s": tensors})
    (cutoffs,) = model_cutoffs(model_set, lambda _: count, ties=ties)
    own = cutoffs["s"]
    masks = {}
    for name in model_set.names:
        tensor_set = model_set.tensor_set(name)
        masks[name] = own.mask(tensor_set, tensor_set.tensors["s"].abs())
        # Both ways of applying a cutoff agree, on the whole tensor and on pieces of it.
        assert torch.equal(own.kept(tensor_set, tensor_set.tensors["s"]), tensor_set.tensors["s"] * masks[name])
        pieces = [own.mask(piece, piece.tensors["s"].abs()) for piece in tensor_set.pieces(3)]
        assert torch.equal(torch.cat([*pieces, torch.zeros(0, dtype=torch.bool)]), masks[name].flatten())
    return masks


def sorted_selection(scores: dict[str, list[float]], count: int) -> dict[str, list[bool]]:
    entries = [(-abs(value), name, i) for name, row in scores.items() for i, value in enumerate(row)]
    chosen = {(name, i) for _, name, i in sorted(entries)[: max(count, 0)]}
    return {name: [(name, i) in chosen for i in range(len(row))] for name, row in scores.items()}


# What is held after how many passes: all scores at once, those of one bucket, or none because too many are equal.
LIMITS = {"few": (1 << 14, 1 << 22), "bucket": (0, 1 << 22), "none": (0, 0)}


@pytest.fixture(params=LIMITS)
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go every way through the search, though there are but a few scores."""
    few, held = LIMITS[request.param]
    monkeypatch.setattr(selection, "_FEW", few)
    monkeypatch.setattr(selection, "_HELD", held)


# The limits are the same for all examples.
ONE_FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.mark.usefixtures("limits")
@settings(deadline=None, max_examples=60, suppress_health_check=ONE_FIXTURE)
@given(rows=st.lists(st.lists(VALUES, max_size=12), min_size=1, max_size=4), count=st.integers(-1, 50), dtype=WIDTHS)
def test_equals_a_stable_sort(rows: list[list[float]], count: int, dtype: torch.dtype) -> None:
    tensors = {f"t{i}": torch.tensor(row, dtype=dtype) for i, row in enumerate(rows)}
    expected = sorted_selection({name: tensor.tolist() for name, tensor in tensors.items()}, count)
    assert {name: mask.tolist() for name, mask in selected(tensors, count).items()} == expected


@pytest.mark.usefixtures("limits")
@settings(deadline=None, max_examples=40, suppress_health_check=ONE_FIXTURE)
@given(row=st.lists(VALUES, min_size=1, max_size=12), count=st.integers(1, 12), dtype=WIDTHS)
def test_the_threshold_rule_keeps_all_that_are_as_large_as_the_last(
    row: list[float], count: int, dtype: torch.dtype
) -> None:
    values = torch.tensor(row, dtype=dtype)
    last = values.abs().sort(descending=True).values[min(count, len(row)) - 1]
    assert torch.equal(selected({"x": values}, count, "threshold")["x"], values.abs() >= last)


@pytest.mark.usefixtures("limits")
@settings(deadline=None, max_examples=40, suppress_health_check=ONE_FIXTURE)
@given(row=st.lists(VALUES, min_size=1, max_size=12), counts=st.lists(st.integers(-1, 14), max_size=4), dtype=WIDTHS)
def test_several_counts_give_what_each_gives_alone(row: list[float], counts: list[int], dtype: torch.dtype) -> None:
    model_set = ModelSet({"s": {"x": torch.tensor(row, dtype=dtype)}, "t": {"x": torch.tensor(row[::-1], dtype=dtype)}})
    given = [partial(min, count) for count in counts]
    alone = [model_cutoffs(model_set, count)[0] for count in given]
    assert list(model_cutoffs(model_set, *given)) == alone
    assert list(tensor_cutoffs(model_set.tensor_set("x"), *given)) == alone


@pytest.mark.usefixtures("limits")
@settings(deadline=None, max_examples=40, suppress_health_check=ONE_FIXTURE)
@given(row=st.lists(VALUES, min_size=1, max_size=12), data=st.data(), dtype=WIDTHS)
def test_scores_of_some_ranks(row: list[float], data: st.DataObject, dtype: torch.dtype) -> None:
    values = torch.tensor(row, dtype=dtype)
    ranks = data.draw(st.lists(st.integers(1, len(row)), max_size=3))
    found = model_ranked(ModelSet({"s": {"x": values}}), *ranks)
    ordered = values.abs().sort(descending=True).values
    assert found == tuple({"s": ordered[rank - 1].item()} for rank in ranks)


@pytest.mark.usefixtures("limits")
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
    model_set = ModelSet(models)
    tensor_set = model_set.tensor_set("x")
    (cutoffs,) = tensor_cutoffs(tensor_set, lambda size: size // 2)
    assert {s: c.kept(tensor_set, tensor_set.tensors[s]).tolist() for s, c in cutoffs.items()} == {
        "a": [0.0, 0.0, 3.0, 4.0],
        "b": [40.0, 30.0, 0.0, 0.0],
    }
    (cutoffs,) = model_cutoffs(model_set, lambda size: 2)
    assert {source: own.threshold for source, own in cutoffs.items()} == {
        "a": 4.0,
        "b": 30.0,
    }


@pytest.mark.usefixtures("limits")
def test_several_pieces_count_together() -> None:
    values = torch.randn(300_000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    mask = selected_site(values, 100_000)
    order = values.abs().sort(descending=True, stable=True).indices[:100_000]
    assert torch.equal(mask, torch.zeros(300_000, dtype=torch.bool).index_fill(0, order, True))


def selected_site(values: Tensor, count: int) -> Tensor:
    tensor_set = TensorSet("x", {"s": values})
    (cutoffs,) = tensor_cutoffs(tensor_set, lambda _: count)
    return cutoffs["s"].mask(tensor_set, values.abs())


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


@pytest.mark.parametrize(
    ("method", "options", "passes"),
    [
        # A look at every tensor, first digits, the scores in the bucket of the threshold, and the merge.
        ("ties", {}, 4),
        ("rhm", {"scope": "global"}, 4),
        ("breadcrumbs", {"scope": "global"}, 4),
        # Ranges of magnitudes and of scores.
        ("pcb", {}, 6),
    ],
)
def test_how_often_a_method_reads_the_models(
    method: str, options: dict[str, object], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_FEW", 0)
    opened: list[str] = []
    before = ModelSet.tensor_set

    def tensor_set(model_set: ModelSet, name: str) -> TensorSet:
        opened.append(name)
        return before(model_set, name)

    monkeypatch.setattr(ModelSet, "tensor_set", tensor_set)
    # Many equal scores, so that the places of some of them count.
    values = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    merge_with(method, {"a": {"w": values[0]}, "b": {"w": values[1]}}, {"w": torch.zeros(1000)}, options)
    assert opened == ["w"] * passes


@pytest.mark.gpu
def test_the_gpu_selects_the_same() -> None:
    scores = torch.rand(100_000, generator=torch.Generator().manual_seed(0)).round(decimals=3)
    assert torch.equal(selected_site(scores.cuda(), 31_234).cpu(), selected_site(scores, 31_234))
