from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.merge.geometry import mean_vector, norm, norms, pairwise_cosines, task_vectors


def layer(name: str) -> str:
    return name.split(".")[0]


def test_task_vectors_are_differences_of_the_floating_point_tensors() -> None:
    base = {"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor(3)}
    models = {"b": {"w": torch.tensor([1.5, 0.0]), "steps": torch.tensor(9)}, "a": dict(base)}
    vectors = task_vectors(models, base)
    assert list(vectors) == ["a", "b"]
    assert {name: tensor.tolist() for name, tensor in vectors["b"].items()} == {"w": [0.5, -2.0]}
    assert vectors["a"]["w"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_task_vectors_are_at_least_single_precision(given_dtype: torch.dtype, expected: torch.dtype) -> None:
    start = torch.tensor([2048.0], dtype=given_dtype)
    vectors = task_vectors({"a": {"w": torch.tensor([1.0], dtype=given_dtype)}}, {"w": start})
    assert vectors["a"]["w"].dtype == expected
    assert vectors["a"]["w"].item() == -2047.0


def test_task_vectors_carry_no_gradient() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert not task_vectors({"a": {"w": weight}}, {"w": torch.zeros(2)})["a"]["w"].requires_grad


def test_norm_and_cosines_by_hand() -> None:
    vectors = {
        "sketch": {"one.w": torch.tensor([4.0, 3.0]), "two.w": torch.tensor([[0.0]])},
        "art": {"one.w": torch.tensor([3.0, 0.0]), "two.w": torch.tensor([[4.0]])},
    }
    assert norms(vectors) == {"art": 5.0, "sketch": 5.0}
    cosines = pairwise_cosines(vectors, layer)
    assert list(cosines) == ["art|sketch"]
    assert cosines["art|sketch"] == pytest.approx({"": 12 / 25, "one": 12 / 15, "two": 0.0})


def test_without_groups_there_is_the_whole_model_only() -> None:
    vectors = {source: {"w": torch.ones(3)} for source in "abc"}
    assert pairwise_cosines(vectors) == {pair: {"": 1.0} for pair in ("a|b", "a|c", "b|c")}


def test_a_group_called_like_the_whole_model_counts_once() -> None:
    vectors = {"a": {"w": torch.tensor([1.0, 0.0])}, "b": {"w": torch.tensor([1.0, 1.0])}}
    assert pairwise_cosines(vectors, lambda _: "")["a|b"] == pytest.approx({"": math.sqrt(0.5)})


def test_a_vector_without_length_has_cosine_zero() -> None:
    vectors = {"a": {"w": torch.zeros(3)}, "b": {"w": torch.ones(3)}}
    assert pairwise_cosines(vectors)["a|b"][""] == 0.0


def test_one_source_and_none_have_no_pairs() -> None:
    assert pairwise_cosines({"a": {"w": torch.ones(3)}}) == {}
    assert pairwise_cosines({}) == {}


def test_sums_run_in_double_precision() -> None:
    # In fp32 the square of 1e-30 is zero and that of 1e30 infinite.
    vectors = {"a": {"w": torch.tensor([1e-30])}, "b": {"w": torch.tensor([1e30])}}
    assert norms(vectors) == pytest.approx({"a": 1e-30, "b": 1e30})
    assert pairwise_cosines(vectors)["a|b"][""] == pytest.approx(1.0)


def test_the_norm_of_nothing_is_zero() -> None:
    assert norm({}) == 0.0
    assert norm({"w": torch.ones(0)}) == 0.0


def test_mean_by_hand() -> None:
    vectors = {"b": {"w": torch.tensor([3.0, -4.0])}, "a": {"w": torch.tensor([1.0, 2.0])}}
    assert mean_vector(vectors)["w"].tolist() == [2.0, -1.0]
    assert vectors["a"]["w"].tolist() == [1.0, 2.0]


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6), min_size=2, max_size=4))
def test_cosines_equal_a_plain_loop(rows: list[list[float]]) -> None:
    vectors = {
        f"s{i}": {"x.w": torch.tensor(row[:4]).view(2, 2), "y": torch.tensor(row[4:])} for i, row in enumerate(rows)
    }
    cosines = pairwise_cosines(vectors, layer)
    for i, left in enumerate(rows):
        for j in range(i + 1, len(rows)):
            for group, part in (("", slice(0, 6)), ("x", slice(0, 4)), ("y", slice(4, 6))):
                a, b = left[part], rows[j][part]
                length = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
                expected = math.fsum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0
                assert cosines[f"s{i}|s{j}"][group] == pytest.approx(expected, abs=1e-9)


def test_inputs_stay_as_they_are() -> None:
    weight: Tensor = torch.tensor([3.0, 4.0])
    vectors = {"a": {"w": weight}, "b": {"w": weight}}
    task_vectors(vectors, {"w": weight})
    pairwise_cosines(vectors)
    mean_vector(vectors)
    assert weight.tolist() == [3.0, 4.0]
