from __future__ import annotations

import math
import re
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import MergeSettings, list_methods, merge, merge_with
from tests.merge.tools import SHAPES, State, Vector, random_state


class Information:
    """Fisher information that was worked out beforehand."""

    def __init__(self, tables: Mapping[str, State]) -> None:
        self.tables = tables

    def fisher(self, source: str) -> State:
        return self.tables[source]


def information(sources: str = "abc") -> Information:
    return Information({s: {n: t.square() for n, t in random_state(10 + ord(s)).items()} for s in sources})


def reference(values: list[Vector], fishers: list[Vector], factors: Vector, floor: float) -> Vector:
    merged = []
    for k in range(len(values[0])):
        above = below = 0.0
        for value, fisher, factor in zip(values, fishers, factors, strict=True):
            weight = factor * max(fisher[k], floor)
            above, below = above + weight * value[k], below + weight
        merged.append(above / below)
    return merged


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("floor", [1e-6, 0.3])
@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 2.0, "c": 0.5}])
def test_equals_the_slow_reference(normalize: bool, floor: float, weights: dict[str, float] | None) -> None:
    models, evidence = {s: random_state(ord(s)) for s in "abc"}, information()
    options: dict[str, object] = {"normalize": normalize, "floor": floor}
    merged = merge_with("fisher", models, None, options, MergeSettings(weights, evidence))
    factors = list((weights or dict.fromkeys("abc", 1.0)).values())
    if normalize:
        norms = [math.sqrt(sum(float(t.square().sum()) for t in own.values())) for own in evidence.tables.values()]
        factors = [factor / norm for factor, norm in zip(factors, norms, strict=True)]
    for name, shape in SHAPES.items():
        assert merged[name].shape == shape
        values = [m[name].flatten().tolist() for m in models.values()]
        fishers = [own[name].flatten().tolist() for own in evidence.tables.values()]
        expected = reference(values, fishers, factors, floor)
        assert merged[name].flatten().tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 9)), min_size=1, max_size=5), st.booleans())
def test_every_entry_stays_between_the_models(entries: list[tuple[float, float]], normalize: bool) -> None:
    models = {f"s{i}": {"w": torch.tensor([value])} for i, (value, _) in enumerate(entries)}
    evidence = Information({f"s{i}": {"w": torch.tensor([known])} for i, (_, known) in enumerate(entries)})
    merged = float(merge("fisher", models, evidence=evidence, normalize=normalize)["w"])
    values = [float(m["w"]) for m in models.values()]
    assert min(values) - 1e-6 <= merged <= max(values) + 1e-6


def two(fishers: list[Vector], weights: dict[str, float] | None = None, **options: object) -> Vector:
    models = {"art": {"w": torch.tensor([0.0, 0.0])}, "photo": {"w": torch.tensor([1.0, 8.0])}}
    tables = {s: {"w": torch.tensor(row)} for s, row in zip(models, fishers, strict=True)}
    found: Vector = merge_with("fisher", models, None, options, MergeSettings(weights, Information(tables)))[
        "w"
    ].tolist()
    return found


def test_numbers_by_hand() -> None:
    # 3 : 1 of the first entry, 1 : 3 of the second.
    assert two([[3, 1], [1, 3]]) == pytest.approx([0.25, 6])
    # Norms 5 and 10: (3/5, 4/5) against (6/10, 8/10) are equal shares; as they are, 1 : 2.
    assert two([[3, 4], [6, 8]]) == pytest.approx([0.5, 4])
    assert two([[3, 4], [6, 8]], normalize=False) == pytest.approx([2 / 3, 16 / 3])
    # A weight of 2 doubles the first model's: 6 : 1 and 2 : 3.
    assert two([[3, 1], [1, 3]], {"art": 2.0, "photo": 1.0}) == pytest.approx([1 / 7, 8 * 3 / 5])
    # On the second entry no data depend: the average; floored, 1 stays three times .5.
    assert two([[3, 0], [1, 0]], normalize=False) == pytest.approx([0.25, 4])
    assert two([[1.5, 0], [0, 0]], normalize=False, floor=0.5) == pytest.approx([0.25, 4])
    # No data depend on anything: a norm of zero counts as one.
    assert two([[0, 0], [0, 0]]) == pytest.approx([0.5, 4])


def test_tensors_without_information_are_averaged_with_the_weights() -> None:
    models = {"a": {"w": torch.tensor([0.0]), "b": torch.tensor([0.0])}, "b": {k: torch.tensor([4.0]) for k in "wb"}}
    evidence = Information({"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([3.0])}})
    merged = merge("fisher", models, weights={"a": 3.0, "b": 1.0}, evidence=evidence, normalize=False)
    assert merged["w"].tolist() == [2.0]
    assert merged["b"].tolist() == [1.0]


def test_information_may_be_tiny_and_in_half_precision() -> None:
    models = {s: {"w": torch.tensor([x])} for s, x in (("a", 0.0), ("b", 1.0))}
    tiny = {"a": {"w": torch.tensor([1e-30])}, "b": {"w": torch.tensor([3e-30])}}
    assert float(merge("fisher", models, evidence=Information(tiny), floor=1e-40)["w"]) == pytest.approx(0.5)
    merged = merge("fisher", models, evidence=Information(tiny), floor=1e-40, normalize=False)
    assert float(merged["w"]) == pytest.approx(0.75)
    half = {"a": {"w": torch.tensor([6e4]).half()}, "b": {"w": torch.tensor([2e4]).half()}}
    merged = merge("fisher", models, evidence=Information(half), normalize=False)
    assert float(merged["w"]) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("normalize", [True, False])
def test_laws(normalize: bool) -> None:
    models, evidence = {s: random_state(ord(s)) for s in "abc"}, information()

    def run(sources: dict[str, State], threads: int = 1, weights: dict[str, float] | None = None) -> State:
        return merge("fisher", sources, weights=weights, evidence=evidence, normalize=normalize, threads=threads)

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


def test_equal_information_gives_the_plain_average() -> None:
    models = {s: random_state(ord(s)) for s in "abc"}
    evidence = Information({source: {n: torch.ones(s) for n, s in SHAPES.items()} for source in "abc"})
    merged = merge("fisher", models, evidence=evidence)
    for name, tensor in merge("uniform", models).items():
        torch.testing.assert_close(merged[name], tensor)


def test_pieces_of_large_tensors_meet_their_own_information() -> None:
    size = 300_000
    models = {"a": {"w": torch.zeros(size)}, "b": {"w": torch.ones(size)}}
    share = torch.linspace(0.1, 0.9, size)
    evidence = Information({"a": {"w": 1 - share}, "b": {"w": share}})
    torch.testing.assert_close(merge("fisher", models, evidence=evidence, normalize=False)["w"], share)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_and_only_rounded_at_the_end(dtype: torch.dtype) -> None:
    models = {s: random_state(ord(s), dtype) for s in "abc"}
    wide = merge(
        "fisher", {s: {n: x.double() for n, x in m.items()} for s, m in models.items()}, evidence=information()
    )
    for name, tensor in merge("fisher", models, evidence=information()).items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wide[name].to(dtype))


ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"a": {"w": ONE}, "b": {"v": ONE}},
            "The Fisher information of `b` names `v`, which is not a tensor of the models; name tensors as the "
            "models do.",
        ),
        (
            {"a": {"w": ONE}, "b": {}},
            "The Fisher information of `b` lacks `w`, which that of another source has; give it for all sources or for",
        ),
        (
            {"a": {"w": ONE}, "b": {"w": torch.ones(2)}},
            "The Fisher information of `b` for `w` has the shape (2,); expected is (1,).",
        ),
        (
            {"a": {"w": ONE}, "b": {"w": torch.tensor([math.nan])}},
            "The Fisher information of `b` for `w` holds NaN or infinite values; look at the data",
        ),
        (
            {"a": {"w": ONE}, "b": {"w": -ONE}},
            "The Fisher information of `b` for `w` is negative; it is a mean of squares.",
        ),
    ],
)
def test_wrong_information_is_named(tables: dict[str, State], message: str) -> None:
    models = {"a": {"w": torch.zeros(1)}, "b": {"w": torch.ones(1)}}
    with pytest.raises(WeightsError, match=re.escape(message)):
        merge("fisher", models, evidence=Information(tables))


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"floor": 0.0}, None, "Expected argument `floor` to be a number above 0, but got `0.0`."),
        ({"normalize": 1}, None, "Expected argument `normalize` to be `True` or `False`, but got `1`."),
        ({}, {"a": 2.0, "b": -1.0}, "Merge method `fisher` takes no negative weights, but that of `b` is -1.0"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], weights: dict[str, float] | None, message: str) -> None:
    models = {"a": random_state(1), "b": random_state(2)}
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("fisher", models, None, options, MergeSettings(weights, information("ab")))


def test_what_it_is_given_is_not_changed() -> None:
    models, evidence = {s: random_state(ord(s)) for s in "abc"}, information()
    merge("fisher", models, weights={"a": 1.0, "b": 2.0, "c": 3.0}, evidence=evidence, floor=0.3)
    for source, own in information().tables.items():
        assert all(torch.equal(own[name], evidence.tables[source][name]) for name in own)
        assert all(torch.equal(t, models[source][n]) for n, t in random_state(ord(source)).items())


def test_it_says_what_it_looks_at() -> None:
    assert list_methods()["fisher"].needs == ("gradients",)
    assert not list_methods()["fisher"].target
