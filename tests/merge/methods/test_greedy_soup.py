from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import merge
from tests.merge.tools import EDGE_SHAPES

EPSILON = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-12}
Accept = Literal["ge", "gt"]


class Nearness:
    """Scores a model by how near its sum is to a number, in steps of a grid, and remembers what it was given."""

    def __init__(self, aim: float, grid: float | None = None) -> None:
        self.aim, self.grid = aim, grid
        self.seen: list[dict[str, Tensor]] = []

    def score(self, weights: Mapping[str, Tensor]) -> float:
        self.seen.append(dict(weights))
        return self.rounded(float(weights["w"].double().sum()))

    def rounded(self, value: float) -> float:
        # Rounded first, for the rounding of sums must not decide at the edges of the grid.
        score = -abs(round(value, 9) - self.aim)
        return score if self.grid is None else math.floor(score / self.grid) * self.grid


def models_of(values: Mapping[str, float], dtype: torch.dtype = torch.float64) -> dict[str, dict[str, Tensor]]:
    return {name: {"w": torch.tensor([value], dtype=dtype)} for name, value in values.items()}


@pytest.mark.parametrize(("accept", "expected"), [("ge", 2.0), ("gt", 4.0)])
def test_by_hand(accept: Accept, expected: float) -> None:
    # Aim 3: scores -3, -1, -7, so b comes first. With a the mean is 2, as good as b alone; with c it is 14/3: worse.
    models = models_of({"a": 0.0, "b": 4.0, "c": 10.0})
    assert merge("greedy_soup", models, evidence=Nearness(3), accept=accept)["w"].item() == expected


def test_a_soup_as_good_as_before_is_accepted_by_default() -> None:
    assert merge("greedy_soup", models_of({"a": 0.0, "b": 4.0}), evidence=Nearness(3))["w"].item() == 2.0


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.integers(-40, 40).map(lambda eighths: eighths / 8), min_size=1, max_size=7),
    accept=st.sampled_from(["ge", "gt"]),
)
def test_equals_a_plain_loop(values: list[float], accept: Accept) -> None:
    evidence = Nearness(1.0, grid=0.5)
    order = sorted(range(len(values)), key=lambda i: -evidence.rounded(values[i]))
    soup = [values[order[0]]]
    for i in order[1:]:
        before = evidence.rounded(sum(soup) / len(soup))
        after = evidence.rounded(sum([*soup, values[i]]) / (len(soup) + 1))
        if after > before or (accept == "ge" and after == before):
            soup.append(values[i])
    models = models_of({f"s{i}": value for i, value in enumerate(values)})
    merged = merge("greedy_soup", models, evidence=evidence, accept=accept)["w"].item()
    assert merged == pytest.approx(sum(soup) / len(soup), abs=1e-9)
    assert len(evidence.seen) == 2 * len(values) - 1


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", EDGE_SHAPES)
def test_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {name: {"w": torch.randn(shape, generator=generator).to(dtype)} for name in "abc"}
    merged = merge("greedy_soup", models, evidence=_Constant())["w"]
    expected = sum((model["w"].double() / 3 for model in models.values()), torch.zeros(shape, dtype=torch.float64))
    assert merged.dtype == dtype
    assert merged.shape == shape
    assert torch.allclose(merged.double(), expected, rtol=EPSILON[dtype], atol=EPSILON[dtype])


class _Constant:
    def score(self, weights: Mapping[str, Tensor]) -> float:
        return 0.5


def test_equal_scores_are_sorted_by_name() -> None:
    # Where everything scores the same, `gt` accepts nothing after the first.
    models = models_of({"b": 5.0, "a": 7.0})
    assert merge("greedy_soup", models, evidence=_Constant(), accept="gt")["w"].item() == 7.0
    assert merge("greedy_soup", dict(reversed(models.items())), evidence=_Constant(), accept="gt")["w"].item() == 7.0
    assert merge("greedy_soup", models, evidence=_Constant())["w"].item() == 6.0


def test_a_soup_of_all_is_the_uniform_average() -> None:
    generator = torch.Generator().manual_seed(0)
    models = {name: {"w": torch.randn(50, generator=generator)} for name in "abcde"}
    soup = merge("greedy_soup", models, evidence=_Constant())["w"]
    assert torch.allclose(soup, merge("uniform", models)["w"], rtol=0, atol=1e-6)


def test_one_source_and_equal_sources_stay_as_they_are() -> None:
    same = {"w": torch.tensor([1 / 3, 0.1])}
    assert torch.equal(merge("greedy_soup", {"a": same}, evidence=_Constant())["w"], same["w"])
    assert torch.equal(merge("greedy_soup", {"a": same, "b": same, "c": same}, evidence=_Constant())["w"], same["w"])


def test_buffers_are_pooled_over_the_chosen_models_only() -> None:
    def model(value: float, batches: int) -> dict[str, Tensor]:
        return {
            "w": torch.tensor([value]),
            "bn.running_mean": torch.tensor([value]),
            "bn.running_var": torch.tensor([1.0]),
            "bn.num_batches_tracked": torch.tensor(batches),
            "ids": torch.arange(3),
        }

    evidence = Nearness(3)
    models = {"a": model(0.0, 10), "b": model(4.0, 30), "c": model(10.0, 500)}
    merged = merge("greedy_soup", models, evidence=evidence)
    assert merged["w"].item() == 2.0
    assert merged["bn.running_mean"].item() == 3.0
    assert merged["bn.num_batches_tracked"].item() == 40
    assert merged["bn.num_batches_tracked"].dtype == torch.int64
    assert merged["ids"].tolist() == [0, 1, 2]
    # What was scored is what would be written: single models, then soups, each with buffers of its own.
    assert [weights["bn.num_batches_tracked"].item() for weights in evidence.seen] == [10, 30, 500, 40, 540]
    assert [weights["bn.running_mean"].item() for weights in evidence.seen[:4]] == [0.0, 4.0, 10.0, 3.0]


def test_complete_models_are_scored() -> None:
    shared = torch.tensor([1.0])
    models = {
        name: {"w": torch.tensor([value]).half(), "frozen": torch.tensor([2.0]), "tied": shared, "twin": shared}
        for name, value in {"a": 1.0, "b": 3.0}.items()
    }
    evidence = Nearness(2)
    merge("greedy_soup", models, evidence=evidence)
    assert len(evidence.seen) == 3
    for weights in evidence.seen:
        assert list(weights) == ["w", "frozen", "tied", "twin"]
        assert weights["w"].dtype == torch.float16
    assert [weights["w"].item() for weights in evidence.seen] == [1.0, 3.0, 2.0]


def test_half_precision_is_averaged_in_single() -> None:
    models = models_of({"a": 60_000.0, "b": 60_064.0}, torch.float16)
    assert merge("greedy_soup", models, evidence=_Constant())["w"].item() == 60_032.0


def test_a_validation_is_asked_for() -> None:
    message = (
        "Merge method `greedy_soup` needs validation: give `evidence`, an object with the method `score` "
        "(`hamdg.merge.evidence.Validation`)."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("greedy_soup", models_of({"a": 1.0}))


def test_a_score_that_is_no_number_is_named() -> None:
    class Broken:
        def score(self, weights: Mapping[str, Tensor]) -> float:
            return math.nan if weights["w"].item() == 2.0 else 1.0

    message = "Expected the validation score of `a` + `b` to be a finite number, but got `nan`; leave such a model out."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("greedy_soup", models_of({"b": 1.0, "a": 3.0}), evidence=Broken())


def test_a_wrong_rule() -> None:
    message = "Expected argument `accept` to be one of `ge`, `gt`, but got `'>='`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("greedy_soup", models_of({"a": 1.0}), evidence=_Constant(), accept=">=")
