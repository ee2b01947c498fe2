"""HAM's loss: enrichment, on a tiny CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from hamdg.config.algorithms.ham import EnrichmentConfig
from hamdg.data.batches import Batch
from hamdg.models.network import statistics
from hamdg.tracking.keys import MetricKey
from tests.cohort.conftest import World

if TYPE_CHECKING:
    from hamdg.models import LoadedClip


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_the_loss_has_the_gradient_of_a_selection_made_beforehand(world: World, combine: str) -> None:
    combined = world.but(enrichment=EnrichmentConfig(combine=combine))  # type: ignore[arg-type]
    model, batches = combined.ham_learner("photo"), world.loader().batches(0)
    parameters = model.network.trainable()
    model.loss(batches, 0).value.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}

    def probabilities(batch: Batch) -> list[float]:
        with torch.no_grad():
            table = model(batch.images).softmax(dim=1)
        return [float(row[label]) for row, label in zip(table, batch.labels, strict=True)]

    own = probabilities(batches["photo"])
    others = [batches["art"], batches["cartoon"]]
    images = torch.cat([batch.images for batch in others])
    labels = torch.cat([batch.labels for batch in others])
    chosen = [k for k, p in enumerate(probabilities(others[0]) + probabilities(others[1])) if p > sum(own) / len(own)]
    assert 0 < len(chosen) < 8
    own_sum = nn.functional.cross_entropy(model(batches["photo"].images), batches["photo"].labels, reduction="sum")
    added_sum = nn.functional.cross_entropy(model(images[chosen]), labels[chosen], reduction="sum")
    count = len(own)
    loss = (
        (own_sum + added_sum) / (count + len(chosen))
        if combine == "mean"
        else own_sum / count + added_sum / len(chosen)
    )
    expected = torch.autograd.grad(loss, list(parameters.values()))
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_statistics_that_move_are_of_own_and_accepted_samples_together(rn: LoadedClip) -> None:
    world = World(rn)
    learner, batches = world.ham_learner("art"), world.loader().batches(0)
    learner.network.live_statistics = True
    learner.train()
    with_gradient: list[int] = []
    learner.network.register_forward_hook(
        lambda _, given, __: with_gradient.append(len(given[0])) if torch.is_grad_enabled() else None
    )
    counts = learner.loss(batches, 0).counts
    added = int(counts[MetricKey("enrichment/added")])
    assert added > 0
    assert with_gradient == [len(batches["art"].positions) + added]
    tracked = [value for name, value in statistics(learner.network) if name.endswith("num_batches_tracked")]
    assert {int(value) for value in tracked} == {1}


def test_what_enrichment_did_is_counted(world: World) -> None:
    learner, batches = world.but(noise_known=True).ham_learner("art"), world.loader().batches(0)
    loss = learner.loss(batches, 0)
    measured = {**loss.logs, **loss.counts}
    found = {key.name.removeprefix("enrichment/"): float(value) for key, value in measured.items()}

    wrong = sum(int((batches[name].labels != batches[name].clean_labels).sum()) for name in ("cartoon", "photo"))
    assert (found["candidates"], found["noisy_candidates"]) == (8, wrong)
    assert 0 <= found["noisy_added"] <= found["added"] <= 8
    own = batches["art"]
    with torch.no_grad():
        table = learner(own.images).softmax(dim=1)
    mean = sum(float(row[label]) for row, label in zip(table, own.labels, strict=True)) / len(own.labels)
    assert found["threshold"] == pytest.approx(mean, rel=1e-5)
    noted = learner.samples.samples
    assert {sample.model for sample in noted} == {"art"}
    assert {sample.domain for sample in noted} <= {"cartoon", "photo"}
    assert sum(sample.accepted for sample in noted) == min(3, found["added"])
    for sample in noted:
        assert sample.position in batches[sample.domain].positions.tolist()
        assert sample.accepted == (sample.confidence > sample.threshold)


def test_without_enrichment_a_model_sees_its_own_domain_alone(world: World) -> None:
    batches = world.loader().batches(0)
    learner = world.but(enrichment=EnrichmentConfig(enabled=False)).ham_learner("art")
    loss = learner.loss(batches, 0)
    others = {**batches, "photo": batches["cartoon"]}

    assert torch.equal(learner.loss(others, 0).value, loss.value)
    assert loss.logs == loss.counts == {}
    assert not torch.equal(world.ham_learner("art").loss(batches, 0).value, loss.value)


def test_the_random_control_has_as_many_samples_of_each_domain(world: World) -> None:
    batches = world.loader().batches(0)
    counts, samples = [], []
    for kind in ("true_class", "random"):
        learner = world.but(enrichment=EnrichmentConfig(confidence=kind)).ham_learner("art")
        torch.manual_seed(1)
        counts.append(learner.loss(batches, 0).counts)
        samples.append([(one.position, one.threshold) for one in learner.samples.samples if one.accepted])
    assert {key: int(value) for key, value in counts[0].items()} == {k: int(v) for k, v in counts[1].items()}
    # The threshold, which says how many, is the rule's; which ones they are is not.
    assert samples[0][0][1] == samples[1][0][1]
    assert {position for position, _ in samples[0]} != {position for position, _ in samples[1]}


def test_enrichment_begins_when_it_is_told_to(world: World) -> None:
    batches, steps = world.loader().batches(0), world.ham_learner("art").config.steps
    learner = world.but(enrichment=EnrichmentConfig(start=0.5)).ham_learner("art")
    alone = world.but(enrichment=EnrichmentConfig(enabled=False)).ham_learner("art")
    first = steps // 2

    assert torch.equal(learner.loss(batches, first - 1).value, alone.loss(batches, first - 1).value)
    assert learner.loss(batches, first - 1).counts == {}
    assert learner.loss(batches, first).counts != {}
    assert {sample.step for sample in learner.samples.samples} == {first + 1}


def test_pooled_models_have_no_candidates(world: World) -> None:
    assert world.ham_learner("pooled", world.sources).loss(world.loader().batches(0), 0).logs == {}
