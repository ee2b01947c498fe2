from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, State, random_state, zeros


def masks(sources: str, drop_rate: float, seed: int = 0) -> dict[str, State]:
    """Return which entries stay, seen from outside: they depend on names and places only, any change shows them."""
    ones = {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    found = {}
    for source in sources:
        merged = merge("dare", {source: ones}, zeros(ones), drop_rate=drop_rate, seed=seed, scale=1)
        found[source] = {name: tensor != 0 for name, tensor in merged.items()}
    return found


def thinned(change: State, mask: State, drop_rate: float, rescale: str) -> dict[str, list[float]]:
    result = {}
    for name, tensor in change.items():
        values, stays = tensor.flatten().tolist(), mask[name].flatten().tolist()
        kept = [value if stay else 0.0 for value, stay in zip(values, stays, strict=True)]
        factor = 1 / (1 - drop_rate)
        if rescale == "l1":
            norm = sum(map(abs, kept))
            factor = sum(map(abs, values)) / norm if norm else 1.0
        result[name] = [factor * value for value in kept]
    return result


@pytest.mark.parametrize("rescale", ["expectation", "l1"])
@pytest.mark.parametrize("drop_rate", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("weights", [None, {"a": 2.0, "b": -1.0, "c": 0.5}])
def test_task_arithmetic_equals_the_slow_reference(
    rescale: str, drop_rate: float, weights: dict[str, float] | None
) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    options: dict[str, object] = {"drop_rate": drop_rate, "rescale": rescale, "seed": 5, "scale": 0.4}
    merged = merge_with("dare", models, zeros(models["a"]), options, MergeSettings(weights=weights))
    stays = masks("abc", drop_rate, 5)
    parts = {source: thinned(models[source], stays[source], drop_rate, rescale) for source in models}
    for name, tensor in merged.items():
        columns = zip(*(parts[source][name] for source in "abc"), strict=True)
        factors = [(weights or {}).get(source, 1.0) for source in "abc"]
        expected = [0.4 * sum(f * x for f, x in zip(factors, column, strict=True)) for column in columns]
        assert tensor.flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert tensor.shape == SHAPES[name]


@pytest.mark.parametrize("rescale", ["expectation", "l1"])
@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("density", [0.4, 1.0])
def test_ties_after_it_is_ties_on_the_thinned_changes(rescale: str, scope: str, combine: str, density: float) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base, stays = zeros(models["a"]), masks("abc", 0.5)
    options = {"then": "ties", "drop_rate": 0.5, "rescale": rescale, "scale": 0.8}
    ties = {"ties_density": density, "ties_scope": scope, "ties_combine": combine, "ties_sign": "count"}
    merged = merge_with("dare", models, base, {**options, **ties})
    by_hand = {}
    for source, change in models.items():
        lists = thinned(change, stays[source], 0.5, rescale)
        by_hand[source] = {name: torch.tensor(lists[name]).double().view(SHAPES[name]) for name in change}
    expected = merge("ties", by_hand, base, density=density, scope=scope, combine=combine, sign="count", scale=0.8)
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)


def test_a_hand_case_of_ties_without_dropping() -> None:
    # Nothing is dropped or trimmed: sums 5, 1, .6, 2 elect plus; (4 + 3) / 2, 5, (.5 + .3) / 2 and (2 + 1) / 2 agree.
    models = {"a": [4.0, -1.0, 0.5, 2.0], "b": [3.0, 5.0, -0.2, -1.0], "c": [-2.0, -3.0, 0.3, 1.0]}
    tensors = {source: {"w": torch.tensor(row)} for source, row in models.items()}
    merged = merge("dare", tensors, {"w": torch.zeros(4)}, drop_rate=0, then="ties")
    assert merged["w"].tolist() == pytest.approx([3.5, 5.0, 0.4, 1.5])


def test_survivors_by_hand() -> None:
    # Of a change of 3 everywhere, what stays at a drop rate of .75 is 3 / .25 = 12, times the scale of 1 / 2.
    merged = merge("dare", {"a": {"w": torch.full((2000,), 3.0)}}, {"w": torch.zeros(2000)}, drop_rate=0.75, scale=0.5)
    assert set(merged["w"].tolist()) == {0.0, 6.0}
    assert 400 < int((merged["w"] != 0).sum()) < 600


@pytest.mark.parametrize(("then", "scale"), [("task_arithmetic", 0.3), ("ties", 1.0)])
def test_the_scale_is_that_of_the_method_which_follows(then: str, scale: float) -> None:
    models, base = {"a": random_state(1)}, zeros(random_state(1))
    plain, given = (
        merge_with("dare", models, base, {"then": then, "drop_rate": 0.5, **extra}) for extra in ({}, {"scale": scale})
    )
    assert all(torch.equal(plain[name], given[name]) for name in base)


@pytest.mark.parametrize("drop_rate", [0.5, 0.9])
def test_the_mean_over_seeds_tends_to_the_change(drop_rate: float) -> None:
    row, seeds, copies = torch.tensor([1.0, -2.0, 0.5]), 100, 30
    change = row.repeat(copies, 1)
    total = torch.zeros(copies, 3)
    for seed in range(seeds):
        options: dict[str, object] = {"drop_rate": drop_rate, "seed": seed, "scale": 1}
        total += merge_with("dare", {"a": {"w": change}}, {"w": torch.zeros(copies, 3)}, options)["w"]
    deviation = row.abs() * (drop_rate / (1 - drop_rate) / seeds) ** 0.5
    assert bool(((total / seeds - row).abs() < 5 * deviation).all())
    assert bool(((total / seeds - row).mean(0).abs() < 4 * deviation / copies**0.5).all())


def test_l1_keeps_the_norm_of_every_tensor() -> None:
    change = {"w": torch.randn(300_000, generator=torch.Generator().manual_seed(0)), "v": torch.ones(50)}
    merged = merge("dare", {"a": change}, zeros(change), rescale="l1", drop_rate=0.7, scale=1)
    for name, tensor in merged.items():
        assert float(tensor.abs().sum()) == pytest.approx(float(change[name].abs().sum()), rel=1e-5)
        assert 0 < int((tensor == 0).sum()) < tensor.numel()


def test_l1_where_everything_is_dropped_stays_at_the_base() -> None:
    base, dropped = {"w": torch.zeros(1)}, 0
    for seed in range(20):
        merged = merge("dare", {"a": {"w": torch.ones(1)}}, base, rescale="l1", seed=seed, scale=1)["w"]
        assert merged.item() in (0.0, 1.0)
        dropped += int(merged.item() == 0)
    assert 10 < dropped < 20


def test_nothing_dropped_is_plain_merging() -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base = random_state(9)
    for then, options in (("task_arithmetic", {}), ("ties", {"ties_density": 0.2})):
        merged = merge_with("dare", models, base, {"drop_rate": 0, "then": then, **options})
        expected = merge(then, models, base)
        for name in base:
            torch.testing.assert_close(merged[name], expected[name])


@pytest.mark.parametrize("then", ["task_arithmetic", "ties"])
def test_laws(then: str) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base = random_state(9)

    def run(sources: dict[str, State], seed: int = 0, threads: int = 1) -> State:
        options: dict[str, object] = {"then": then, "drop_rate": 0.5, "seed": seed}
        return merge_with("dare", sources, base, options, MergeSettings(threads=threads))

    merged, again = run(models), run(dict(reversed(models.items())), threads=3)
    doubled = run({s: {n: base[n] + 2 * (m[n] - base[n]) for n in base} for s, m in models.items()})
    still = run(dict.fromkeys("ab", base))
    for name in base:
        assert torch.equal(merged[name], again[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))
    assert any(not torch.equal(run(models, 1)[name], merged[name]) for name in base)


def test_sources_of_equal_values_have_masks_of_their_own() -> None:
    models = {source: {"w": torch.ones(1000)} for source in "ab"}
    merged = merge("dare", models, {"w": torch.zeros(1000)}, drop_rate=0.5, scale=0.5)["w"]
    # None, one or both survive.
    counts = torch.bincount(merged.long(), minlength=3).tolist()
    assert [round(count / 250) for count in counts] == [1, 2, 1]


def test_frozen_tensors_keep_their_values_however_many_sources_there_are() -> None:
    base = {"w": torch.zeros(4), "frozen": torch.full((4,), 5.0)}
    models = {source: {"w": torch.ones(4), "frozen": torch.full((4,), 5.0)} for source in "abc"}
    for then in ("task_arithmetic", "ties"):
        merged = merge("dare", models, base, {"a": 1, "b": 1, "c": 1}, then=then)
        assert merged["frozen"].tolist() == [5.0] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("then", ["task_arithmetic", "ties"])
def test_dtypes_have_the_same_masks(dtype: torch.dtype, then: str) -> None:
    models = {source: random_state(i, dtype) for i, source in enumerate("abc")}
    base = {**random_state(9, dtype), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**model, "none": base["none"]} for source, model in models.items()}
    merged = merge("dare", models, base, then=then, drop_rate=0.5)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("dare", wide, {n: t.double() for n, t in base.items()}, then=then, drop_rate=0.5)
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"drop_rate": 1.0},
            "Expected argument `drop_rate` to be a number of at least 0 and below 1, but got `1.0`.",
        ),
        ({"rescale": "l2"}, "Expected argument `rescale` to be one of `expectation`, `l1`, but got `'l2'`."),
        ({"seed": 1.5}, "Expected argument `seed` to be an integer, but got `1.5`."),
        ({"then": "linear"}, "Expected argument `then` to be one of `task_arithmetic`, `ties`, but got `'linear'`."),
        ({"density": 0.5}, "Merge method `dare` has no option `density`; mergekit's `density` is 1 - `drop_rate`."),
        (
            {"ties_combine": "sum"},
            "Options that begin with `ties_` belong to TIES; set `then` to `ties`, or leave them out.",
        ),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("dare", {"a": random_state(1)}, random_state(0), options)
