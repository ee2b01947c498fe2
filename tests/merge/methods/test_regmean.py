from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import MergeSettings, list_methods, merge, merge_with
from tests.merge.tools import State, random_state

Matrix = list[list[float]]
SHAPES: dict[str, tuple[int, ...]] = {
    "linear": (4, 3),
    "bias": (4,),
    "one": (1,),
    "scalar": (),
    "empty": (0, 3),
    "conv": (2, 2, 3, 1),
}


class Grams:
    """Inner products of inputs that were worked out beforehand."""

    def __init__(self, tables: Mapping[str, State]) -> None:
        self.tables = tables

    def gram(self, source: str) -> State:
        return self.tables[source]


def inputs(seed: int, count: int, width: int) -> Tensor:
    """Correlated inputs of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return mixed @ torch.randn(width, width, generator=generator, dtype=torch.float64)


def evidence(sources: str = "abc", count: int = 20) -> Grams:
    tables = {}
    for source in sources:
        linear, conv = inputs(ord(source), count, 3), inputs(2 * ord(source), count, 6)
        tables[source] = {"linear": linear.T @ linear, "conv": conv.T @ conv}
    return Grams(tables)


def solved(matrix: Matrix, right: Matrix) -> Matrix:
    """Gauss and Jordan's elimination with pivots."""
    size = len(matrix)
    rows = [[*matrix[i], *right[i]] for i in range(size)]
    for k in range(size):
        pivot = max(range(k, size), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(size):
            if i != k:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows]


def reference(weights: list[Matrix], grams: list[Matrix], shares: list[float], alpha: float) -> Matrix:
    """RegMean with loops; weights are outputs x inputs."""
    size, outputs = len(grams[0]), len(weights[0])
    left = [[0.0] * size for _ in range(size)]
    right = [[0.0] * outputs for _ in range(size)]
    for weight, gram, share in zip(weights, grams, shares, strict=True):
        for i in range(size):
            for j in range(size):
                entry = share * gram[i][j] * (1.0 if i == j else alpha)
                left[i][j] += entry
                for o in range(outputs):
                    right[i][o] += entry * weight[o][j]
    return [list(column) for column in zip(*solved(left, right), strict=True)]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 2.0, "c": 0.5}])
def test_equals_the_slow_reference(alpha: float, weights: dict[str, float] | None) -> None:
    models, grams = {s: random_state(ord(s), shapes=SHAPES) for s in "abc"}, evidence()
    merged = merge_with("regmean", models, None, {"alpha": alpha}, MergeSettings(weights, grams))
    shares = list((weights or dict.fromkeys("abc", 1.0)).values())
    average = merge_with("weighted", models, None, {}, MergeSettings(weights))
    for name, shape in SHAPES.items():
        assert merged[name].shape == shape
        if name not in ("linear", "conv"):
            torch.testing.assert_close(merged[name], average[name])
            continue
        tables: list[Matrix] = [m[name].flatten(1).tolist() for m in models.values()]
        own: list[Matrix] = [grams.tables[s][name].tolist() for s in "abc"]
        expected = torch.tensor(reference(tables, own, shares, alpha), dtype=torch.float64)
        torch.testing.assert_close(merged[name].flatten(1), expected, rtol=1e-8, atol=1e-10)


def test_linear_regressions_merge_into_the_pooled_one() -> None:
    # Each model solves least squares on its own data; with alpha = 1 the merge solves it on all of them.
    generator = torch.Generator().manual_seed(0)
    models, tables, stacked = {}, {}, []
    for source, count in (("a", 30), ("b", 50), ("c", 12)):
        x = inputs(ord(source), count, 5)
        y = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        models[source] = {"w": torch.linalg.lstsq(x, y).solution.T.contiguous()}
        tables[source] = {"w": x.T @ x}
        stacked.append((x, y))
    pooled = torch.linalg.lstsq(torch.cat([x for x, _ in stacked]), torch.cat([y for _, y in stacked])).solution.T
    torch.testing.assert_close(merge("regmean", models, evidence=Grams(tables), alpha=1.0)["w"], pooled)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3), min_size=2, max_size=4))
def test_no_other_weight_is_nearer_to_all_outputs(rows: list[list[float]]) -> None:
    models = {f"s{i}": {"w": torch.tensor([row], dtype=torch.float64)} for i, row in enumerate(rows)}
    data = {source: inputs(i, 2, 3) for i, source in enumerate(models)}
    grams = Grams({source: {"w": x.T @ x} for source, x in data.items()})
    merged = merge("regmean", models, evidence=grams, alpha=1.0)["w"]

    def loss(weight: Tensor) -> float:
        return sum(float((data[s] @ (weight - models[s]["w"]).T).square().sum()) for s in models)

    for axis in torch.eye(3, dtype=torch.float64):
        for sign in (-1, 1):
            assert loss(merged) <= loss(merged + sign * 1e-3 * axis) + 1e-9


def one_layer(first: Matrix, second: Matrix, alpha: float) -> list[float]:
    models = {"a": {"w": torch.tensor([[0.0, 0.0]])}, "b": {"w": torch.tensor([[1.0, 10.0]])}}
    grams = Grams({"a": {"w": torch.tensor(first)}, "b": {"w": torch.tensor(second)}})
    found: list[float] = merge("regmean", models, evidence=grams, alpha=alpha)["w"][0].tolist()
    return found


def test_numbers_by_hand() -> None:
    # Diagonal: every input by its own size, 3 : 1 and 1 : 1.
    assert one_layer([[3, 0], [0, 2]], [[1, 0], [0, 2]], 1.0) == pytest.approx([0.25, 5])
    # (G_a + G_b) W = G_b (1, 10): ((4, 1), (1, 4)) W = ((2, 1), (1, 2)) (1, 10) = (12, 21), so W = (27, 72) / 15.
    assert one_layer([[2, 0], [0, 2]], [[2, 1], [1, 2]], 1.0) == pytest.approx([1.8, 4.8])
    # Off-diagonals halved: ((4, .5), (.5, 4)) W = (7, 20.5), so W = (17.75, 78.5) / 15.75.
    assert one_layer([[2, 0], [0, 2]], [[2, 1], [1, 2]], 0.5) == pytest.approx([17.75 / 15.75, 78.5 / 15.75])
    # Off-diagonals dropped: equal shares.
    assert one_layer([[2, 0], [0, 2]], [[2, 1], [1, 2]], 0.0) == pytest.approx([0.5, 5])


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_inputs_that_are_never_active_keep_the_average(alpha: float) -> None:
    assert one_layer([[3, 0], [0, 0]], [[1, 0], [0, 0]], alpha) == pytest.approx([0.25, 5])
    assert one_layer([[0, 0], [0, 0]], [[0, 0], [0, 0]], alpha) == pytest.approx([0.5, 5])


def test_of_many_solutions_the_one_nearest_to_the_average_is_taken() -> None:
    # Both saw the input (1, 1) only, a three times as often: w_1 + w_2 = 11 / 4, where the average (.5, 5) has 5.5.
    assert one_layer([[3, 3], [3, 3]], [[1, 1], [1, 1]], 1.0) == pytest.approx([0.5 - 1.375, 5 - 1.375])


def test_fewer_examples_than_inputs_do_not_blow_up_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    models, tables, exact = {}, {}, {}
    for source in "ab":
        x = torch.randn(5, 40, generator=generator)
        models[source] = {"w": torch.randn(3, 40, generator=generator)}
        tables[source] = {"w": x.T @ x}
        exact[source] = {"w": x.double().T @ x.double()}
    merged = merge("regmean", models, evidence=Grams(tables), alpha=1.0)["w"]
    # Directions that no source saw keep the average, whatever the rounding of the products says about them.
    torch.testing.assert_close(
        merged, merge("regmean", models, evidence=Grams(exact), alpha=1.0)["w"], rtol=0, atol=1e-3
    )
    # With ten examples in all, both models' outputs on their own data can be met, by weights of their size.
    for source in "ab":
        miss = merged - models[source]["w"]
        assert float(torch.einsum("oi,ij,oj->", miss, tables[source]["w"], miss)) < 1e-4
    assert float(merged.abs().max()) < 10


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_laws(alpha: float) -> None:
    models, grams = {s: random_state(ord(s), shapes=SHAPES) for s in "abc"}, evidence()

    def run(sources: dict[str, State], threads: int = 1, weights: dict[str, float] | None = None) -> State:
        return merge("regmean", sources, weights=weights, evidence=grams, alpha=alpha, threads=threads)

    merged, backwards, one = run(models), run(dict(reversed(models.items())), 2), run({"b": models["b"]})
    equal, longer = (
        run(dict.fromkeys("abc", models["a"])),
        run({s: {n: 3 * x for n, x in m.items()} for s, m in models.items()}),
    )
    weighted = run(models, weights=dict.fromkeys("abc", 7.0))
    for name in SHAPES:
        assert torch.equal(merged[name], backwards[name])
        torch.testing.assert_close(one[name], models["b"][name])
        torch.testing.assert_close(equal[name], models["a"][name])
        torch.testing.assert_close(longer[name], 3 * merged[name])
        torch.testing.assert_close(weighted[name], merged[name])


def test_equal_inputs_give_the_plain_average() -> None:
    models = {s: random_state(ord(s), shapes=SHAPES) for s in "abc"}
    grams = Grams(dict.fromkeys("abc", evidence().tables["a"]))
    merged = merge("regmean", models, evidence=grams)
    for name, tensor in merge("uniform", models).items():
        torch.testing.assert_close(merged[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {s: random_state(ord(s), dtype, shapes=SHAPES) for s in "abc"}
    wide = merge("regmean", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()}, evidence=evidence())
    for name, tensor in merge("regmean", models, evidence=evidence()).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"v": torch.eye(2)}, "The Gram matrix of `b` names `v`, which is not a tensor of the models"),
        ({"w": torch.eye(3)}, "The Gram matrix of `b` for `w` has the shape (3, 3); expected is (2, 2)."),
        ({}, "The Gram matrix of `b` lacks `w`, which that of another source has"),
        ({"w": torch.full((2, 2), torch.inf)}, "The Gram matrix of `b` for `w` holds NaN or infinite values"),
        ({"w": torch.tensor([[1.0, 9.0], [9.0, 1.0]])}, "The Gram matrices for `w` are none: some sum of squares of"),
    ],
)
def test_wrong_matrices_are_named(table: State, message: str) -> None:
    models = {"a": {"w": torch.zeros(1, 2)}, "b": {"w": torch.ones(1, 2)}}
    with pytest.raises(WeightsError, match=re.escape(message)):
        merge("regmean", models, evidence=Grams({"a": {"w": torch.eye(2)}, "b": table}))


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"alpha": -1.0}, None, "Expected argument `alpha` to be a number between 0 and 1, but got `-1.0`."),
        ({"alfa": 0.9}, None, "did you mean `alpha`?"),
        ({}, {"a": 2.0, "b": -1.0}, "Merge method `regmean` takes no negative weights, but that of `b` is -1.0"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], weights: dict[str, float] | None, message: str) -> None:
    models = {"a": random_state(1, shapes=SHAPES), "b": random_state(2, shapes=SHAPES)}
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("regmean", models, None, options, MergeSettings(weights, evidence("ab")))


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_what_it_is_given_is_not_changed(alpha: float) -> None:
    models, grams = {s: random_state(ord(s), shapes=SHAPES) for s in "abc"}, evidence()
    merge("regmean", models, weights={"a": 1.0, "b": 2.0, "c": 3.0}, evidence=grams, alpha=alpha)
    for source, own in evidence().tables.items():
        assert all(torch.equal(own[name], grams.tables[source][name]) for name in own)
        assert all(torch.equal(t, models[source][n]) for n, t in random_state(ord(source), shapes=SHAPES).items())


def test_it_says_what_it_looks_at() -> None:
    assert list_methods()["regmean"].needs == ("activations",)
    assert not list_methods()["regmean"].target
