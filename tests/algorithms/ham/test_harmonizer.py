from __future__ import annotations

import io
from collections.abc import Mapping
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from hamdg.algorithms.ham.harmonization import cosines, gram
from hamdg.algorithms.ham.harmonizer import Columns, Harmonizer, pull_together
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.ham import HarmonizationConfig, HarmonizationMethod, HarmonizationScope
from hamdg.models import layer_of
from hamdg.tracking.keys import MetricKey

SOURCES = ("art", "cartoon", "photo")
SHAPES = {"conv1.weight": (2, 3), "layer1.0.weight": (4,), "layer1.0.bias": (2, 2), "layer1.1.weight": (5,)}
LAYERS = {"conv1": ["conv1.weight"], "layer1.0": ["layer1.0.weight", "layer1.0.bias"], "layer1.1": ["layer1.1.weight"]}
PAIRS = ("art|cartoon", "art|photo", "cartoon|photo")
SCOPES: tuple[HarmonizationScope, ...] = ("global", "layer")
Models = Mapping[str, dict[str, Tensor]]


class Toy(dict[str, Tensor]):
    """Parameters that pass for a learner with a network."""

    @property
    def network(self) -> Toy:
        return self

    def trainable(self) -> Toy:
        return self


def as_learners(models: Models) -> dict[str, Learner]:
    return cast("dict[str, Learner]", models)


def draw(seed: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draws) for name, shape in SHAPES.items()}


START = draw(0)


def cohort(moved: bool = True) -> Models:
    """Three models with gradients, at the start or a step away from it."""
    models: dict[str, dict[str, Tensor]] = {}
    for number, source in enumerate(SOURCES):
        away, gradient = draw(10 + number), draw(20 + number)
        models[source] = Toy({name: START[name] + 0.1 * away[name] * moved for name in SHAPES})
        for name, parameter in models[source].items():
            parameter.grad = gradient[name]
    return models


def make(
    method: HarmonizationMethod, scope: HarmonizationScope = "global", every: int = 1, weight: float = 0.5
) -> Harmonizer:
    config = HarmonizationConfig(method, scope, every, weight, minority_scale=0.25)
    return Harmonizer(config, START, len(SOURCES), layer_of, seed=4)


def gradients(models: Models) -> Models:
    return {s: {n: cast("Tensor", p.grad).clone() for n, p in model.items()} for s, model in models.items()}


def values(models: Models) -> Models:
    return {s: {n: p.clone() for n, p in model.items()} for s, model in models.items()}


def same(first: Models, second: Models) -> bool:
    return all(torch.equal(first[s][n], second[s][n]) for s in first for n in first[s])


def flat(tensors: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in names])


def groups(scope: HarmonizationScope) -> list[list[str]]:
    return [list(SHAPES)] if scope == "global" else list(LAYERS.values())


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("method", ["cosine", "l2"])
def test_penalties_add_the_gradient_of_their_loss(method: HarmonizationMethod, scope: HarmonizationScope) -> None:
    models = cohort()
    before, parameters = gradients(models), values(models)
    make(method, scope).before_update(as_learners(models), 0, log_now=False)

    for names in groups(scope):
        moved = [(flat(models[s], names) - flat(START, names)).double().requires_grad_() for s in SOURCES]
        mean = torch.stack(moved).mean(dim=0).detach()
        terms = [
            1 - torch.nn.functional.cosine_similarity(m, mean, dim=0)
            if method == "cosine"
            else (m - mean).square().sum() / 2
            for m in moved
        ]
        pulls = torch.autograd.grad(torch.stack(terms).sum(), moved)
        for source, pull in zip(SOURCES, pulls, strict=True):
            found = flat(gradients(models)[source], names) - flat(before[source], names)
            torch.testing.assert_close(found.double(), 0.5 * pull, rtol=1e-3, atol=1e-5)
    assert same(values(models), parameters)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pcgrad_projects_the_vectors_of_its_scope(scope: HarmonizationScope) -> None:
    models = cohort()
    before = gradients(models)
    make("pcgrad", scope).before_update(as_learners(models), 3, log_now=False)

    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([4, 3])))
    orders = [[int(j) for j in rng.permutation(3) if j != i] for i in range(3)]
    changed = 0
    for names in groups(scope):
        vectors = [flat(before[source], names).double() for source in SOURCES]
        for i, source in enumerate(SOURCES):
            expected = vectors[i].clone()
            for j in orders[i]:
                overlap = expected @ vectors[j]
                if overlap < 0:
                    expected -= overlap / vectors[j].square().sum() * vectors[j]
            changed += int(not torch.equal(expected, vectors[i]))
            found = flat(gradients(models)[source], names)
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert changed > 0


def test_pcgrad_changes_its_order_from_step_to_step_and_repeats_it() -> None:
    def run(step: int) -> Models:
        models = cohort()
        others = gradients(models)
        for name, parameter in models["photo"].items():  # in conflict with both others, so that the order counts
            parameter.grad = -others["art"][name] - others["cartoon"][name]
        make("pcgrad").before_update(as_learners(models), step, log_now=False)
        return gradients(models)

    assert same(run(1), run(1))
    assert len({float(run(step)["photo"]["conv1.weight"].sum()) for step in range(12)}) > 1


@pytest.mark.parametrize("method", ["cosine", "l2", "pcgrad"])
def test_only_every_nth_step_is_harmonized(method: HarmonizationMethod) -> None:
    harmonizer = make(method, every=3)
    changed = []
    for step in range(7):
        models = cohort()
        harmonizer.before_update(as_learners(models), step, log_now=step % 2 == 0)
        changed.append(not same(gradients(models), gradients(cohort())))

    assert changed == [False, False, True, False, False, True, False]


@pytest.mark.parametrize("log_now", [False, True])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_none_and_weight_zero_leave_everything_bit_for_bit(scope: HarmonizationScope, log_now: bool) -> None:
    for harmonizer in (make("none", scope), make("cosine", scope, weight=0.0), make("l2", scope, weight=0.0)):
        models = cohort()
        harmonizer.before_update(as_learners(models), 0, log_now)
        harmonizer.after_update(as_learners(models), 0, log_now)
        assert same(gradients(models), gradients(cohort()))
        assert same(values(models), values(cohort()))


def test_models_at_the_start_are_not_pulled() -> None:
    models = cohort(moved=False)
    make("cosine").before_update(as_learners(models), 0, log_now=True)

    assert same(gradients(models), gradients(cohort(moved=False)))


@pytest.mark.parametrize("method", ["none", "cosine", "l2", "pcgrad", "project", "sign_consensus"])
def test_a_single_model_is_left_alone(method: HarmonizationMethod) -> None:
    models: Models = {"photo": cohort()["photo"]}
    harmonizer = make(method)

    assert harmonizer.before_update(as_learners(models), 0, log_now=True) == {}
    assert harmonizer.after_update(as_learners(models), 0, log_now=True) == {}
    assert same(gradients(models), gradients({"photo": cohort()["photo"]}))
    assert same(values(models), values({"photo": cohort()["photo"]}))


def random_step(models: Models, step: int) -> None:
    for number, source in enumerate(models):
        for name, change in draw(100 + 10 * step + number).items():
            models[source][name] += 0.01 * change


def advance(harmonizer: Harmonizer, models: Models, steps: range) -> None:
    for step in steps:
        harmonizer.before_update(as_learners(models), step, log_now=False)
        random_step(models, step)
        harmonizer.after_update(as_learners(models), step, log_now=False)


@pytest.mark.parametrize("every", [1, 3])
def test_sign_consensus_counts_updates_from_the_last_harmonized_step(every: int) -> None:
    models, expected = cohort(moved=False), values(cohort(moved=False))
    advance(make("sign_consensus", every=every), models, range(7))

    anchor = values(expected)
    for step in range(7):
        random_step(expected, step)
        if (step + 1) % every:
            continue
        for name in SHAPES:
            updates = [expected[s][name] - anchor[s][name] for s in SOURCES]
            total = sum(updates[1:], updates[0])
            for source, update in zip(SOURCES, updates, strict=True):
                factor = torch.where(update.sign() == -total.sign(), 0.25, 1.0)
                expected[source][name] = anchor[source][name] + factor * update
        anchor = values(expected)
    for source in SOURCES:
        torch.testing.assert_close(models[source], expected[source])


@pytest.mark.parametrize("scope", SCOPES)
def test_project_turns_the_updates_since_the_last_harmonized_step(scope: HarmonizationScope) -> None:
    models, expected = cohort(moved=False), values(cohort(moved=False))
    advance(make("project", scope, every=3), models, range(7))

    anchor, turned = values(expected), 0
    for step in range(7):
        random_step(expected, step)
        if (step + 1) % 3:
            continue
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([4, step])))
        orders = [[int(j) for j in rng.permutation(3) if j != i] for i in range(3)]
        for names in groups(scope):
            updates = [(flat(expected[s], names) - flat(anchor[s], names)).double() for s in SOURCES]
            for i, source in enumerate(SOURCES):
                own = updates[i].clone()
                for j in orders[i]:
                    own -= min(float(own @ updates[j]), 0.0) / float(updates[j] @ updates[j]) * updates[j]
                turned += int(not torch.equal(own, updates[i]))
                own *= updates[i].norm() / own.norm()
                for name, part in zip(names, torch.split(own.float(), [START[n].numel() for n in names]), strict=True):
                    expected[source][name] = anchor[source][name] + part.view(SHAPES[name])
        anchor = values(expected)
    assert turned > 0
    for source in SOURCES:
        for name in SHAPES:
            torch.testing.assert_close(models[source][name], expected[source][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["sign_consensus", "project"])
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_resumed_harmonizer_goes_on_bit_for_bit(stop: int, method: HarmonizationMethod) -> None:
    whole, part = cohort(), cohort()
    advance(make(method, every=3), whole, range(8))
    killed = make(method, every=3)
    advance(killed, part, range(stop))
    saved = io.BytesIO()
    torch.save(killed.state_dict(), saved)
    saved.seek(0)
    resumed = make(method, every=3)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    advance(resumed, part, range(stop, 8))

    assert same(whole, part)


def test_the_state_follows_the_models_to_their_device() -> None:
    harmonizer = make("sign_consensus").to("meta")
    remote = {s: Toy({n: p.to("meta") for n, p in model.items()}) for s, model in cohort().items()}
    harmonizer.before_update(as_learners(remote), 0, log_now=False)

    assert len(list(harmonizer.buffers())) == 4 * len(SHAPES)
    assert {buffer.device.type for buffer in harmonizer.buffers()} == {"meta"}


def keys(title: str) -> set[MetricKey]:
    return {MetricKey(title, pair, layer) for pair in PAIRS for layer in ("", *LAYERS)}


@pytest.mark.parametrize("method", ["none", "cosine", "l2", "pcgrad"])
def test_cosines_of_the_gradients_are_measured_whole_and_by_layer(method: HarmonizationMethod) -> None:
    models = cohort()
    measured = make(method).before_update(as_learners(models), 0, log_now=True)

    assert set(measured) == keys("cosine/before") | keys("cosine/after")
    for title, state in (("cosine/before", gradients(cohort())), ("cosine/after", gradients(models))):
        for layer, names in {"": list(SHAPES), **LAYERS}.items():
            a, b = flat(state["art"], names), flat(state["photo"], names)
            key = MetricKey(title, "art|photo", layer)
            assert float(measured[key]) == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-5)
    assert make(method).before_update(as_learners(cohort()), 0, log_now=False) == {}


@pytest.mark.parametrize("method", ["sign_consensus", "project"])
def test_cosines_of_the_updates_are_measured_and_rise(method: HarmonizationMethod) -> None:
    models, harmonizer = cohort(moved=False), make(method)
    assert harmonizer.before_update(as_learners(models), 0, log_now=True) == {}
    random_step(models, 0)
    measured = harmonizer.after_update(as_learners(models), 0, log_now=True)

    assert set(measured) == keys("cosine/before") | keys("cosine/after") | keys("cosine/history")
    for pair in PAIRS:
        assert measured[MetricKey("cosine/after", pair)] > measured[MetricKey("cosine/before", pair)]


def test_displacements_are_measured_from_the_start() -> None:
    measured = make("none").after_update(as_learners(cohort()), 0, log_now=True)

    assert set(measured) == keys("cosine/history")
    moved = [flat(draw(10 + number), list(SHAPES)) for number in range(3)]
    assert float(measured[MetricKey("cosine/history", "cartoon|photo")]) == pytest.approx(
        float(cosines(gram(moved))[1, 2]), abs=1e-5
    )
    at_start = make("none").after_update(as_learners(cohort(moved=False)), 0, log_now=True)
    assert {float(value) for value in at_start.values()} == {0.0}


def test_layer_scope_differs_from_global_scope() -> None:
    results = []
    for scope in SCOPES:
        models = cohort()
        make("cosine", scope).before_update(as_learners(models), 0, log_now=False)
        results.append(gradients(models))

    assert not same(*results)


def test_what_gpus_do_at_once_is_the_same_pull() -> None:
    models, expected = cohort(), cohort()
    make("l2", weight=0.5).before_update(as_learners(expected), 0, log_now=False)
    columns = [[models[source][name] for source in SOURCES] for name in SHAPES]
    own = [[cast("Tensor", parameter.grad) for parameter in column] for column in columns]
    pull_together(cast("Columns", columns), own, list(START.values()), weight=0.5)
    for source in SOURCES:
        torch.testing.assert_close(gradients(models)[source], gradients(expected)[source])
