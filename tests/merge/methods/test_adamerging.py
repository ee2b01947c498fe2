from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError, TrainingError
from hamdg.merge import MergeSettings, list_methods, merge, merge_with
from tests.merge.tools import State, random_state


class Bowl:
    """Stands for an entropy: half the squared distance to a known model, whose gradient is the difference."""

    def __init__(self, goal: Mapping[str, Tensor]) -> None:
        self.goal = goal
        self.seen: list[dict[str, Tensor]] = []

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, State]:
        self.seen.append(dict(weights))
        gradient = {name: weights[name] - goal for name, goal in self.goal.items()}
        return sum(float(g.square().sum()) for g in gradient.values()) / 2, gradient


class Images:
    """Unlabeled examples for a linear classifier; every call takes the next batch."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches
        self.entropies: list[float] = []

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, State]:
        batch = self.batches[len(self.entropies) % len(self.batches)]
        weight = weights["w"].detach().clone().requires_grad_()
        logits = batch @ weight.T
        mean = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        self.entropies.append(float(mean.detach()))
        return self.entropies[-1], {"w": weight.grad}


def random_models(base: State) -> dict[str, State]:
    return {
        s: {n: (t.double() + random_state(i + 1, spread=0.3)[n]).to(t.dtype) for n, t in base.items()}
        for i, s in enumerate("abc")
    }


def adam(slope: Callable[[list[float]], list[float]], start: list[float], rate: float, steps: int) -> list[float]:
    """Adam with its published constants, number by number."""
    factors, first, second = list(start), [0.0] * len(start), [0.0] * len(start)
    for step in range(1, steps + 1):
        gradient = slope(factors)
        for k, g in enumerate(gradient):
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            factors[k] -= rate * (first[k] / (1 - 0.9**step)) / (math.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
    return factors


@pytest.mark.parametrize("scope", ["layer", "task"])
@pytest.mark.parametrize(("rate", "steps"), [(0.001, 3), (0.1, 25)])
def test_equals_the_slow_reference(scope: str, rate: float, steps: int) -> None:
    base, goal = random_state(0), random_state(4)
    models = random_models(base)
    names = [name for name in sorted(base) if base[name].numel()]
    start = {n: base[n].flatten().tolist() for n in names}
    tau = {(s, n): (models[s][n] - base[n]).flatten().tolist() for s in models for n in names}
    # Which factor belongs to which source and tensor.
    place = {(s, n): (i if scope == "layer" else 0) * 3 + j for i, n in enumerate(names) for j, s in enumerate("abc")}

    def model(factors: list[float]) -> dict[str, list[float]]:
        clamped = [min(1.0, max(0.0, f)) for f in factors]
        return {
            n: [x + sum(clamped[place[s, n]] * tau[s, n][k] for s in "abc") for k, x in enumerate(start[n])]
            for n in names
        }

    def slope(factors: list[float]) -> list[float]:
        found, now = [0.0] * len(factors), model(factors)
        for (source, name), index in place.items():
            if 0 <= factors[index] <= 1:
                wanted = goal[name].flatten().tolist()
                found[index] += sum(t * (x - g) for t, x, g in zip(tau[source, name], now[name], wanted, strict=True))
        return found

    factors = adam(slope, [0.3] * (max(place.values()) + 1), rate, steps)
    assert rate < 0.1 or any(f < 0 or f > 1 for f in factors), "the clamp is to be tried"
    merged = merge("adamerging", models, base, evidence=Bowl(goal), scope=scope, rate=rate, steps=steps)
    for name, expected in model(factors).items():
        assert merged[name].shape == base[name].shape
        assert merged[name].flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_known_best_factors_are_found() -> None:
    base = {"v": torch.zeros(2), "w": torch.zeros(2)}
    models = {
        "a": {"v": torch.tensor([1.0, 0.0]), "w": torch.tensor([2.0, 0.0])},
        "b": {"v": torch.tensor([0.0, 1.0]), "w": torch.tensor([0.0, 4.0])},
    }
    goal = {"v": torch.tensor([0.7, 0.2]), "w": torch.tensor([1.0, 9.0])}
    merged = merge("adamerging", models, base, evidence=Bowl(goal), rate=0.02, steps=600)
    assert merged["v"].tolist() == pytest.approx([0.7, 0.2], abs=1e-3)
    # The last would take a factor of 9/4; it may be 1.
    assert merged["w"].tolist() == pytest.approx([1.0, 4.0], abs=1e-3)
    # One factor for both tensors: least (f - .7)^2 + (2 f - 1)^2 gives f = 2.7 / 5.
    merged = merge("adamerging", models, base, evidence=Bowl(goal), rate=0.02, steps=600, scope="task")
    assert merged["v"].tolist() == pytest.approx([0.54, 1.0], abs=1e-3)


def test_the_first_step_is_as_long_as_the_rate() -> None:
    # Adam's first step is the rate against the sign of the slope: .3 + .001 here.
    base, models = {"w": torch.zeros(1)}, {"a": {"w": torch.ones(1)}}
    merged = merge("adamerging", models, base, evidence=Bowl({"w": torch.ones(1)}), steps=1)
    assert float(merged["w"]) == pytest.approx(0.301)


def test_the_entropy_of_predictions_falls() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(60, 4, generator=generator)
    base = {"w": 0.1 * torch.randn(3, 4, generator=generator), "frozen": torch.ones(2)}
    models = {s: {"w": base["w"] + torch.randn(3, 4, generator=generator), "frozen": torch.ones(2)} for s in "ab"}
    target = Images([data[:20], data[20:40], data[40:]])
    merged = merge("adamerging", models, base, evidence=target, rate=0.01, steps=150)
    whole = Images([data])
    before, _ = whole.entropy(merge("task_arithmetic", models, base, scale=0.3))
    after, _ = whole.entropy(merged)
    assert len(target.entropies) == 150
    assert after < 0.8 * before


def test_one_factor_of_a_sure_model_goes_to_its_bound() -> None:
    # Two classes, logits +-x: entropy falls with the size of the only weight, so the factor rises to 1 and stays.
    base, models = {"w": torch.zeros(2, 1)}, {"a": {"w": torch.tensor([[1.0], [-1.0]])}}
    target = Images([torch.tensor([[1.0], [-2.0]])])
    merged = merge("adamerging", models, base, evidence=target, rate=0.05, steps=60)
    assert merged["w"].flatten().tolist() == [1.0, -1.0]
    p = 1 / (1 + math.exp(-2 * 0.3)), 1 / (1 + math.exp(-2 * 0.6))
    by_hand = sum(-x * math.log(x) - (1 - x) * math.log(1 - x) for x in p) / 2
    assert target.entropies[0] == pytest.approx(by_hand)


def test_the_target_sees_complete_models_with_tied_tensors_and_buffers() -> None:
    shared = torch.zeros(2)
    base = {"w": shared, "tied": shared, "bn.num_batches_tracked": torch.tensor(3), "frozen": torch.ones(1)}
    models = {}
    for source, step in (("a", 1.0), ("b", 2.0)):
        own = shared + step
        models[source] = {**base, "w": own, "tied": own}
    bowl = Bowl({"tied": torch.zeros(2)})
    merge("adamerging", models, base, evidence=bowl, steps=2)
    for seen in bowl.seen:
        assert list(seen) == list(base)
        assert torch.equal(seen["w"], seen["tied"])
        assert int(seen["bn.num_batches_tracked"]) == 3
    assert bowl.seen[0]["w"].tolist() == pytest.approx([0.9, 0.9])


def test_without_steps_it_is_task_arithmetic() -> None:
    base = random_state(0)
    models = random_models(base)
    bowl = Bowl(base)
    merged = merge("adamerging", models, base, evidence=bowl, steps=0)
    for name, tensor in merge("task_arithmetic", models, base, scale=0.3).items():
        torch.testing.assert_close(merged[name], tensor)
    assert not bowl.seen


def test_a_tensor_without_gradient_keeps_its_first_factors() -> None:
    base = random_state(0)
    models = random_models(base)
    merged = merge("adamerging", models, base, evidence=Bowl({"bias": base["bias"]}), rate=0.1, steps=5)
    plain = merge("task_arithmetic", models, base, scale=0.3)
    torch.testing.assert_close(merged["conv"], plain["conv"])
    assert not torch.allclose(merged["bias"], plain["bias"])


@pytest.mark.parametrize("scope", ["layer", "task"])
def test_laws(scope: str) -> None:
    base, goal = random_state(0), random_state(9)
    models = random_models(base)

    def run(sources: dict[str, State], threads: int = 1) -> State:
        return merge(
            "adamerging", sources, base, evidence=Bowl(goal), scope=scope, steps=20, rate=0.05, threads=threads
        )

    merged, backwards = run(models), run(dict(reversed(models.items())), 2)
    unmoved = run({"a": base, "b": base})
    for name in base:
        assert torch.equal(merged[name], backwards[name])
        assert torch.equal(unmoved[name], base[name])


def test_gradients_are_matched_across_pieces_of_large_tensors() -> None:
    size = 300_000
    base, models = {"w": torch.zeros(size)}, {"a": {"w": torch.ones(size)}}
    goal = torch.zeros(size)
    goal[size // 2 :] = 1.0
    merged = merge("adamerging", models, base, evidence=Bowl({"w": goal}), rate=0.02, steps=100)
    assert merged["w"][[0, -1]].tolist() == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    base = random_state(0, dtype=dtype)
    models = random_models(base)
    goal = random_state(9, dtype=dtype)
    merged = merge("adamerging", models, base, evidence=Bowl(goal), steps=5)
    exact = {s: {n: t.double() for n, t in m.items()} for s, m in models.items()}
    wide = merge("adamerging", exact, {n: t.double() for n, t in base.items()}, evidence=Bowl(goal), steps=5)
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        # Where a gradient is near zero its rounding turns a step of .001 round.
        torch.testing.assert_close(tensor.double(), wide[name], rtol=0.02, atol=0.02)


def test_an_entropy_that_is_no_number_ends_it() -> None:
    class Broken:
        def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
            return math.nan, weights

    base = random_state(0)
    with pytest.raises(TrainingError, match="The entropy on target data is nan in step 1; look at these data"):
        merge("adamerging", random_models(base), base, evidence=Broken())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "Expected argument `rate` to be a number above 0, but got `0.0`."),
        ({"start": 2.0}, "Expected argument `start` to be a number between 0 and 1, but got `2.0`."),
        ({"steps": -1}, "Expected argument `steps` to be an integer of at least 0, but got `-1`."),
        ({"scope": "block"}, "Expected argument `scope` to be one of `layer`, `task`, but got `'block'`."),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    base = random_state(0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_with("adamerging", random_models(base), base, options, MergeSettings(evidence=Bowl(base)))


def test_it_says_that_it_looks_at_the_target() -> None:
    info = list_methods()["adamerging"]
    assert info.target
    assert info.needs == ("target",)
    assert "unlabeled data of the target domain: no domain generalization" in info.summary
