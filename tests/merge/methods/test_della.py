from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, TensorSet, merge, merge_with
from hamdg.merge.functional.masks import uniforms
from hamdg.merge.methods.della import keep_probabilities
from tests.merge.tools import SHAPES, State, random_state, zeros


def slow_probabilities(values: list[float], length: int, drop_rate: float, window: float) -> list[float]:
    chances = []
    for start in range(0, len(values), length):
        row = values[start : start + length]
        order = sorted(range(length), key=lambda i: (-abs(row[i]), i))
        for i in range(length):
            rank = length - 1 - order.index(i)
            share = rank / (length - 1) if length > 1 else 0.5
            chances.append(1 - drop_rate - window / 2 + window * share)
    return chances


def sampled(name: str, change: Tensor, source: str, drop_rate: float, window: float, rescale: str) -> Tensor:
    """Return what is left of a change, with loops; only the random numbers are the library's own."""
    values = change.flatten().tolist()
    if not values:
        return change
    length = change[0].numel() if change.dim() > 1 else change.numel()
    chances = slow_probabilities(values, length, drop_rate, window)
    dice = uniforms(TensorSet(name, {source: change}), source, 0).flatten().tolist()
    kept = [v if die < chance else 0.0 for v, die, chance in zip(values, dice, chances, strict=True)]
    if rescale == "probability":
        kept = [value / chance for value, chance in zip(kept, chances, strict=True)]
    if rescale == "l1" and any(kept):
        factor = sum(map(abs, values)) / sum(map(abs, kept))
        kept = [factor * value for value in kept]
    return torch.tensor(kept, dtype=torch.float64).view(change.shape)


@pytest.mark.parametrize("rescale", ["probability", "l1", "none"])
@pytest.mark.parametrize(("drop_rate", "window"), [(0.3, 0.14), (0.5, 0.9), (0.5, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("then", ["ties", "task_arithmetic"])
@pytest.mark.parametrize("weights", [None, {"a": 2.0, "b": 1.0, "c": 0.5}])
def test_equals_the_slow_reference(
    rescale: str, drop_rate: float, window: float, then: str, weights: dict[str, float] | None
) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    options: dict[str, object] = {"rescale": rescale, "drop_rate": drop_rate, "window": window, "then": then}
    merged = merge_with("della", models, zeros(models["a"]), options, MergeSettings(weights=weights))
    factors = [(weights or {}).get(source, 1.0) for source in "abc"]
    for name, tensor in merged.items():
        parts = [
            sampled(name, models[s][name], s, drop_rate, window, rescale) * f
            for s, f in zip("abc", factors, strict=True)
        ]
        columns = zip(*(part.flatten().tolist() for part in parts), strict=True)
        expected = []
        for column in columns:
            total = sum(column)
            if then == "task_arithmetic":
                expected.append(1.1 * total)
                continue
            agreeing = [i for i, value in enumerate(column) if value * total > 0]
            voters = sum(factors[i] for i in agreeing)
            expected.append(1.1 * sum(column[i] for i in agreeing) / voters if agreeing else 0.0)
        # Chances are in fp32.
        assert tensor.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert tensor.shape == SHAPES[name]


def test_probabilities_by_hand() -> None:
    # Ranks 2, 0, 3, 1 of magnitude; from .7 - .07 to .7 + .07 in steps of .14 / 3.
    chances = keep_probabilities(torch.tensor([[3.0, -1.0, -4.0, 2.0]]), 0.3, 0.14)
    assert chances.tolist() == [pytest.approx([0.63 + 0.28 / 3, 0.63, 0.77, 0.63 + 0.14 / 3])]
    # Of equal magnitudes the first ranks higher.
    assert keep_probabilities(torch.tensor([[1.0, -1.0]]), 0.5, 0.2).tolist() == [pytest.approx([0.6, 0.4])]
    assert keep_probabilities(torch.tensor([[5.0], [0.0]]), 0.3, 0.14).tolist() == [pytest.approx([0.7])] * 2


def test_survivors_by_hand() -> None:
    # Two entries a row, the larger stays with .9 and becomes 9 / .9 = 10, the smaller with .1 and becomes 1 / .1 = 10.
    change = torch.tensor([[9.0, -1.0]]).repeat(2000, 1)
    merged = merge("della", {"a": {"w": change}}, {"w": torch.zeros(2000, 2)}, drop_rate=0.5, window=0.8, scale=1)["w"]
    assert sorted(set(merged.flatten().tolist())) == pytest.approx([-10.0, 0.0, 10.0])
    assert (merged != 0).double().mean(0).tolist() == pytest.approx([0.9, 0.1], abs=0.03)


def test_the_mean_over_seeds_tends_to_the_change() -> None:
    row, seeds, copies = torch.tensor([1.0, -2.0, 0.5]), 100, 30
    change = row.repeat(copies, 1)
    total = torch.zeros(copies, 3)
    for seed in range(seeds):
        options: dict[str, object] = {"drop_rate": 0.5, "window": 0.6, "scale": 1, "seed": seed}
        total += merge_with("della", {"a": {"w": change}}, {"w": torch.zeros(copies, 3)}, options)["w"]
    chances = torch.tensor([0.5, 0.8, 0.2])
    deviation = row.abs() * ((1 - chances) / chances / seeds).sqrt()
    assert bool(((total / seeds - row).abs() < 5 * deviation).all())
    assert bool(((total / seeds - row).mean(0).abs() < 4 * deviation / copies**0.5).all())


def test_without_a_window_it_is_dare() -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base = random_state(9)
    for then in ("ties", "task_arithmetic"):
        della = merge("della", models, base, drop_rate=0.5, window=0, then=then, scale=1)
        dare = merge("dare", models, base, drop_rate=0.5, then=then, scale=1)
        for name in base:
            torch.testing.assert_close(della[name], dare[name])


def test_without_dropping_it_is_ties_on_everything() -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, random_state(9)
    merged = merge("della", models, base, drop_rate=0, window=0, combine="sum", sign="count")
    expected = merge("ties", models, base, density=1.0, combine="sum", sign="count", scale=1.1)
    for name in base:
        torch.testing.assert_close(merged[name], expected[name])


@pytest.mark.parametrize("then", ["ties", "task_arithmetic"])
def test_laws(then: str) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base = random_state(9)

    def run(sources: dict[str, State], seed: int = 0, threads: int = 1) -> State:
        return merge_with("della", sources, base, {"then": then, "seed": seed}, MergeSettings(threads=threads))

    merged, again = run(models), run(dict(reversed(models.items())), threads=3)
    doubled = run({s: {n: base[n] + 2 * (m[n] - base[n]) for n in base} for s, m in models.items()})
    still = run(dict.fromkeys("ab", base))
    for name in base:
        assert torch.equal(merged[name], again[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))
    assert any(not torch.equal(run(models, 1)[name], merged[name]) for name in base)


def test_large_tensors_are_put_together_from_their_pieces() -> None:
    change = torch.randn(401, 701, generator=torch.Generator().manual_seed(0))
    merged = merge("della", {"a": {"w": change}}, {"w": torch.zeros(401, 701)}, rescale="none", scale=1)["w"]
    kept = merged != 0
    assert torch.equal(merged[kept], change[kept])
    ranks = torch.argsort(torch.argsort(change.abs(), dim=1), dim=1)
    low, high = kept[ranks < 70].double().mean(), kept[ranks >= 631].double().mean()
    assert [float(low), float(high)] == pytest.approx([0.637, 0.763], abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_have_the_same_masks(dtype: torch.dtype) -> None:
    base = {**zeros(random_state(9, dtype)), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**random_state(i, dtype), "none": base["none"]} for i, source in enumerate("abc")}
    merged = merge("della", models, base)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("della", wide, {n: t.double() for n, t in base.items()})
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_rate": 1.0}, "Expected argument `drop_rate` to be a number of at least 0 and below 1, but got `1.0`."),
        ({"window": 2}, "Expected argument `window` to be a number between 0 and 1, but got `2`."),
        ({"rescale": "l2"}, "Expected argument `rescale` to be one of `probability`, `l1`, `none`, but got `'l2'`."),
        (
            {"drop_rate": 0.05},
            "Expected argument `window` to be at most 2 `drop_rate` and below 2 (1 - `drop_rate`), so that all "
            "probabilities are between 0 and 1, but got `0.14` with `drop_rate` `0.05`.",
        ),
        (
            {"drop_rate": 0.5, "window": 1.0},
            "Expected argument `window` to be at most 2 `drop_rate` and below 2 (1 - `drop_rate`), so that all "
            "probabilities are between 0 and 1, but got `1.0` with `drop_rate` `0.5`.",
        ),
        (
            {"then": "task_arithmetic", "combine": "sum"},
            "Options `sign` and `combine` belong to TIES; set `then` to `ties`, or leave them out.",
        ),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("della", {"a": random_state(1)}, random_state(0), options)
