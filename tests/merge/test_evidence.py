from __future__ import annotations

import math
import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import list_methods, merge
from hamdg.merge.evidence import KINDS, Activations, Gradients, Target, Validation, check_evidence

State = dict[str, Tensor]


class LinearModels:
    """Softmax classifiers p(y | x) = softmax(W x), one per source, with data of their own."""

    def __init__(self, models: Mapping[str, State], data: Mapping[str, Tensor]) -> None:
        self.models, self.data = models, data

    def fisher(self, source: str) -> State:
        """E_x[p_k (1 - p_k) x_j^2]: the gradient by W_kj is (1[y = k] - p_k) x_j, whose square has this mean over y."""
        x = self.data[source]
        p = (x @ self.models[source]["w"].T).softmax(1)
        return {"w": torch.einsum("nk,nj->kj", p * (1 - p), x.square()) / len(x)}

    def gram(self, source: str) -> State:
        return {"w": self.data[source].T @ self.data[source]}

    def score(self, weights: Mapping[str, Tensor]) -> float:
        return -float(weights["w"].square().sum())

    def outcomes(self, weights: Mapping[str, Tensor], source: str) -> list[float]:
        return [self.score(weights)]

    def loss(self, source: str) -> float:
        return float(len(source))

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, State]:
        """The gradient of -sum_k p_k log p_k by logit k is -p_k (log p_k + entropy)."""
        x = next(iter(self.data.values()))
        p = (x @ weights["w"].T).softmax(1)
        each = -(p * p.log()).sum(1, keepdim=True)
        return float(each.mean()), {"w": (-p * (p.log() + each)).T @ x / len(x)}


def toy() -> LinearModels:
    generator = torch.Generator().manual_seed(0)
    models = {s: {"w": torch.randn(3, 2, generator=generator, dtype=torch.float64)} for s in "ab"}
    data = {s: torch.randn(7, 2, generator=generator, dtype=torch.float64) for s in "ab"}
    return LinearModels(models, data)


def test_the_closed_fisher_information_is_the_mean_of_squared_gradients() -> None:
    evidence = toy()
    x = evidence.data["a"]
    total = torch.zeros(3, 2, dtype=torch.float64)
    for example in x:
        p = (evidence.models["a"]["w"] @ example).softmax(0)
        for label in range(3):
            w = evidence.models["a"]["w"].clone().requires_grad_()
            (gradient,) = torch.autograd.grad((w @ example).log_softmax(0)[label], w)
            total += p[label] * gradient.square()
    torch.testing.assert_close(evidence.fisher("a")["w"], total / len(x))


def test_the_closed_entropy_gradient_is_that_of_autograd() -> None:
    evidence = toy()
    w = evidence.models["b"]["w"].clone().requires_grad_()
    logits = evidence.data["a"] @ w.T
    mean = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    (gradient,) = torch.autograd.grad(mean, w)
    value, closed = evidence.entropy({"w": w.detach()})
    assert value == pytest.approx(float(mean.detach()))
    torch.testing.assert_close(closed["w"], gradient)


def test_one_object_may_answer_everything() -> None:
    evidence = toy()
    for protocol in (Validation, Gradients, Activations, Target):
        assert isinstance(evidence, protocol)
    base = {"w": torch.zeros(3, 2, dtype=torch.float64)}
    asking = [name for name, info in list_methods().items() if info.needs and info.needs != ("losses",)]
    assert {"fisher", "regmean", "adamerging"} <= set(asking)
    for name in ("fisher", "regmean"):
        assert merge(name, evidence.models, evidence=evidence)["w"].shape == (3, 2)
    start, _ = evidence.entropy(merge("task_arithmetic", evidence.models, base, scale=0.3))
    ended, _ = evidence.entropy(merge("adamerging", evidence.models, base, evidence=evidence, rate=0.02, steps=60))
    assert ended < start


def test_fisher_merging_of_a_coin_by_hand() -> None:
    # Two classes with logits (w, 0) and x = 1, 2: p = 1 / (1 + e^(-w x)), F = mean of p (1 - p) x^2.
    # At w = 0 that is (1/4 + 4/4) / 2 = 5/8; at w = ln 3, p = 3/4 and 9/10: (3/16 + 4 * 9/100) / 2 = .27375.
    models = {"a": {"w": torch.zeros(2, 1)}, "b": {"w": torch.tensor([[math.log(3)], [0.0]])}}
    evidence = LinearModels(models, dict.fromkeys("ab", torch.tensor([[1.0], [2.0]])))
    assert float(evidence.fisher("a")["w"][0]) == pytest.approx(0.625)
    assert float(evidence.fisher("b")["w"][0]) == pytest.approx(0.27375)
    merged = merge("fisher", models, evidence=evidence, normalize=False)["w"]
    assert float(merged[0]) == pytest.approx(math.log(3) * 0.27375 / (0.625 + 0.27375))


def test_gaussian_models_of_one_weight_merge_into_the_pooled_least_squares_solution() -> None:
    # y ~ N(w x, 1) has F = E[x^2]; each w is sum x y / sum x^2, so the weighted mean is that of all data together.
    class Gaussian:
        def __init__(self, inputs: Mapping[str, Tensor]) -> None:
            self.inputs = inputs

        def fisher(self, source: str) -> State:
            return {"w": self.inputs[source].square().mean(0)}

    generator = torch.Generator().manual_seed(0)
    inputs = {s: scale * torch.randn(9, 1, generator=generator) for s, scale in (("a", 1.0), ("b", 3.0), ("c", 0.2))}
    labels = {s: torch.randn(9, 1, generator=generator) for s in inputs}
    models = {s: {"w": (x * labels[s]).sum(0) / x.square().sum(0)} for s, x in inputs.items()}
    x, y = torch.cat(list(inputs.values())), torch.cat(list(labels.values()))
    merged = merge("fisher", models, evidence=Gaussian(inputs), normalize=False)["w"]
    torch.testing.assert_close(merged, (x * y).sum(0) / x.square().sum(0))


@pytest.mark.parametrize(
    ("kind", "call", "protocol"),
    [
        ("validation", "score", "Validation"),
        ("holdout", "outcomes", "HoldOut"),
        ("losses", "loss", "Losses"),
        ("gradients", "fisher", "Gradients"),
        ("activations", "gram", "Activations"),
        ("target", "entropy", "Target"),
    ],
)
def test_what_evidence_lacks_is_named(kind: str, call: str, protocol: str) -> None:
    assert kind in KINDS
    message = (
        f"Merge method `some` needs {kind}: give `evidence`, an object with the method `{call}` "
        f"(`hamdg.merge.evidence.{protocol}`)."
    )
    for evidence in (None, object()):
        with pytest.raises(ConfigError, match=re.escape(message)):
            check_evidence("some", (kind,), evidence)
    check_evidence("some", (kind,), toy())


@pytest.mark.parametrize(("method", "call"), [("fisher", "fisher"), ("regmean", "gram"), ("adamerging", "entropy")])
def test_methods_refuse_to_go_without(method: str, call: str) -> None:
    state = {"w": torch.zeros(2)}
    with pytest.raises(ConfigError, match=f"`{method}` needs .* an object with the method `{call}`"):
        merge(method, {"a": state, "b": state}, state)
    with pytest.raises(ConfigError, match=f"`{method}` needs "):
        merge(method, {"a": state, "b": state}, state, evidence={"a": state})


def test_gradients_can_be_taken_while_evidence_is_asked() -> None:
    class Asks:
        def __init__(self) -> None:
            self.enabled: list[bool] = []

        def fisher(self, source: str) -> State:
            self.enabled.append(torch.is_grad_enabled())
            return {"w": torch.ones(1, requires_grad=True)}

        def gram(self, source: str) -> State:
            self.enabled.append(torch.is_grad_enabled())
            return {}

        def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, State]:
            self.enabled.append(torch.is_grad_enabled())
            return 0.0, {"w": torch.ones(1, requires_grad=True)}

    models = {s: {"w": torch.tensor([x])} for s, x in (("a", 1.0), ("b", 2.0))}
    for method in ("fisher", "regmean", "adamerging"):
        evidence = Asks()
        merged = merge(method, models, {"w": torch.zeros(1)}, evidence=evidence)["w"]
        assert evidence.enabled
        assert all(evidence.enabled)
        assert not merged.requires_grad


@pytest.mark.parametrize("name", ["head", "wte"])
def test_evidence_of_a_tied_tensor_counts_by_either_of_its_names(name: str) -> None:
    class Coin:
        def fisher(self, source: str) -> dict[str, Tensor]:
            return {name: torch.tensor([3.0 if source == "a" else 1.0])}

        def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
            return 1.0, {name: torch.ones(1)}

    models = {
        source: dict.fromkeys(("head", "wte"), torch.tensor([value])) for source, value in (("a", 4.0), ("b", 0.5))
    }
    merged = merge("fisher", models, evidence=Coin(), normalize=False)
    assert merged["head"].tolist() == merged["wte"].tolist() == [(3 * 4.0 + 0.5) / 4]
    base = dict.fromkeys(("head", "wte"), torch.zeros(1))
    # Adam's first step is the rate, whatever the gradient's size.
    learned = merge("adamerging", models, base, evidence=Coin(), start=0.5, rate=0.1, steps=1)
    assert learned["wte"].item() == pytest.approx(0.4 * 4.5)
