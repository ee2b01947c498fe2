from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from hamdg.cohort.cohort import Cohort
from hamdg.config.algorithms.ham import EnrichmentConfig, HarmonizationConfig
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.errors import TrainingError
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.rows import read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cohort.conftest import World

pytestmark = [
    # BatchNorm is in evaluation mode on purpose: its statistics are frozen.
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    # Lightning's own use of torch's pytree.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
]


def equal(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[source][name], second[source][name]) for source in first for name in first[source]
    )


def step_loss(cohort: Cohort, name: str, batches: dict[str, Batch]) -> Tensor:
    return cohort._loss(0, name, cohort.source_models()[name], batches)[0]


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_the_loss_has_the_gradient_of_a_selection_made_beforehand(world: World, combine: str) -> None:
    cohort = world.but(enrichment=EnrichmentConfig(combine=combine)).cohort()  # type: ignore[arg-type]
    model, batches = cohort.source_models()["photo"], world.loader().batches(0)
    step_loss(cohort, "photo", batches).backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in model.trainable().items() if p.grad is not None}

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
    expected = torch.autograd.grad(loss, list(model.trainable().values()))
    for name, gradient in zip(model.trainable(), expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_what_enrichment_did_is_counted(world: World) -> None:
    cohort, batches = world.cohort(), world.loader().batches(0)
    _, tally = cohort._loss(0, "art", cohort.source_models()["art"], batches)

    assert tally is not None
    wrong = sum(int((batches[name].labels != batches[name].clean_labels).sum()) for name in ("cartoon", "photo"))
    assert (tally.candidates, tally.noisy_candidates) == (8, wrong)
    assert 0 <= tally.noisy_added <= tally.added <= 8
    own = batches["art"]
    with torch.no_grad():
        table = cohort.source_models()["art"](own.images).softmax(dim=1)
    mean = sum(float(row[label]) for row, label in zip(table, own.labels, strict=True)) / len(own.labels)
    assert tally.threshold == pytest.approx(mean, rel=1e-5)
    noted = cohort.samples.samples
    assert {sample.model for sample in noted} == {"art"}
    assert {sample.domain for sample in noted} <= {"cartoon", "photo"}
    assert sum(sample.accepted for sample in noted) == min(3, tally.added)
    for sample in noted:
        assert sample.position in batches[sample.domain].positions.tolist()
        assert sample.accepted == (sample.confidence > sample.threshold)


def test_without_enrichment_a_model_sees_its_own_domain_alone(world: World) -> None:
    batches = world.loader().batches(0)
    cohort = world.but(enrichment=EnrichmentConfig(enabled=False)).cohort()
    loss = step_loss(cohort, "art", batches)
    others = {**batches, "photo": batches["cartoon"]}

    assert torch.equal(step_loss(cohort, "art", others), loss)
    assert cohort._loss(0, "art", cohort.source_models()["art"], batches)[1] is None
    assert not torch.equal(step_loss(world.cohort(), "art", batches), loss)


def test_pooled_models_have_no_candidates(world: World) -> None:
    cohort = world.cohort({"pooled": world.sources})

    assert cohort._loss(0, "pooled", cohort.source_models()["pooled"], world.loader().batches(0))[1] is None


@pytest.mark.parametrize("method", ["sign_consensus", "cosine"])
def test_a_repeated_training_is_equal_bit_for_bit(world: World, method: str) -> None:
    harmonized = world.but(harmonization=HarmonizationConfig(method=method))  # type: ignore[arg-type]
    first = harmonized.fit(harmonized.cohort())

    assert equal(first, harmonized.fit(harmonized.cohort()))


@pytest.mark.parametrize("method", ["cosine", "l2"])
def test_a_penalty_of_weight_zero_is_no_penalty_bit_for_bit(world: World, method: str) -> None:
    none = world.but(harmonization=HarmonizationConfig(method="none"))
    zero = world.but(harmonization=HarmonizationConfig(method=method, weight=0.0))  # type: ignore[arg-type]

    assert equal(none.fit(none.cohort()), zero.fit(zero.cohort()))


def test_the_order_of_the_sources_does_not_matter_without_harmonization(world: World) -> None:
    apart = world.but(enrichment=EnrichmentConfig(enabled=False), harmonization=HarmonizationConfig(method="none"))
    reversed_world = apart.but(sources=world.sources[::-1])
    found = reversed_world.fit(reversed_world.cohort())

    straight = apart.fit(apart.cohort())
    assert equal({name: found[name] for name in straight}, straight)


@pytest.mark.parametrize("method", ["none", "l2", "cosine", "pcgrad", "sign_consensus"])
def test_all_models_move_and_harmonization_changes_where_to(world: World, method: str) -> None:
    harmonized = world.but(harmonization=HarmonizationConfig(method=method))  # type: ignore[arg-type]
    found = harmonized.fit(harmonized.cohort())
    none = world.but(harmonization=HarmonizationConfig(method="none"))

    start = world.weights(world.cohort())
    assert all(not equal({s: found[s]}, {s: start[s]}) for s in world.sources)
    assert equal(found, none.fit(none.cohort())) == (method == "none")


def test_statistics_and_text_head_stay_bit_for_bit(each_world: World) -> None:
    cohort = each_world.cohort()
    before = {name: buffer.clone() for name, buffer in cohort.named_buffers()}
    each_world.fit(cohort)

    heads = [name for name in before if name.endswith("text_head")]
    assert len(heads) == 3
    for name, buffer in cohort.named_buffers():
        assert torch.equal(buffer, before[name])
        assert not buffer.requires_grad
        assert buffer.grad is None
    assert all(torch.equal(before[name], each_world.text_head()) for name in heads)
    trained = {name.split(".tower.")[0] for name, p in cohort.named_parameters() if p.requires_grad}
    assert trained == {f"models.{source}" for source in each_world.sources}


def test_a_loss_that_is_no_number_stops_the_training(world: World) -> None:
    apart = world.but(enrichment=EnrichmentConfig(enabled=False))
    cohort = apart.cohort()
    calls = iter(range(10))

    def poison(module: nn.Module, arguments: object, scores: Tensor) -> Tensor:
        return scores * float("nan") if next(calls) == 3 else scores

    cohort.source_models()["cartoon"].register_forward_hook(poison)
    message = (
        "the loss of source `cartoon` became nan at step 4 (learning rate 0.000854); nothing was overwritten. "
        "Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        apart.fit(cohort)


def test_gradients_that_are_no_numbers_stop_the_training_before_the_update(world: World) -> None:
    cohort = world.cohort()
    parameter = next(iter(cohort.source_models()["photo"].trainable().values()))
    parameter.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
    before = world.weights(cohort)
    with pytest.raises(TrainingError, match=r"^the gradient norm of source `photo` became (inf|nan) at step 1 "):
        world.fit(cohort)

    assert equal(world.weights(cohort), before)


def test_gradients_of_each_model_are_clipped_on_their_own(world: World) -> None:
    cohort = world.but(train=TrainConfig(steps=1, clip_norm=0.01)).cohort()
    for loss in cohort._losses(0, world.loader().batches(0))[0].values():
        loss.backward()  # type: ignore[no-untyped-call]
    norms = cohort._clip()

    assert set(norms) == set(world.sources)
    assert min(norms.values()) > 0.01
    for named in cohort.parameters_by_source().values():
        squares = [p.grad.square().sum() for p in named.values() if p.grad is not None]
        assert float(torch.stack(squares).sum().sqrt()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("noise_known", [False, True])
def test_every_step_is_logged_under_its_source(world: World, tmp_path: Path, noise_known: bool) -> None:
    known = world.but(noise_known=noise_known, train=TrainConfig(steps=4, lr=1e-3, warmup=2))
    known.fit(known.cohort(), logger=CsvTracker(tmp_path / "metrics.csv", last_step=0))
    rows = read_rows(tmp_path / "metrics.csv")

    each = {"loss", "gradient_norm", "enrichment/candidates", "enrichment/added", "enrichment/threshold"}
    each |= {"enrichment/noisy_candidates", "enrichment/noisy_added"} if noise_known else set()
    for step in range(1, 5):
        found = {(row.name, row.source) for row in rows if row.step == step and not row.name.startswith("cosine/")}
        assert found == {(name, source) for name in each for source in world.sources} | {("lr", "")}
    assert [row.value for row in rows if row.name == "lr"] == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4])
    cosines = {(row.step, row.name) for row in rows if row.name.startswith("cosine/")}
    titles = ("cosine/before", "cosine/after", "cosine/history")
    assert cosines == {(step, title) for step in (1, 3, 4) for title in titles}  # every second, and the last
    assert {row.source for row in rows if row.name == "cosine/after"} == {"art|cartoon", "art|photo", "cartoon|photo"}
    assert "transformer.resblocks.0" in {row.layer for row in rows if row.name == "cosine/after"}


def test_resumable_checkpoints_name_the_models_by_their_domains(world: World) -> None:
    assert list(world.cohort().models) == list(world.sources)
    names = ("train", "v1.0", "v1%2E0", "%train", "values", "training", "forward")
    models = dict(zip(names, [next(iter(world.cohort().source_models().values())) for _ in names], strict=True))
    own = world.cohort()
    cohort = Cohort(models, own.enrichment, own.train_config, own.harmonizer, own.samples, own.log_every, False)
    assert list(cohort.source_models()) == list(names)
    assert len(set(cohort.models)) == len(names)
    assert not any("." in name for name in cohort.models)
