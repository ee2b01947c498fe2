from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from hamdg.cohort.alignment import AlignmentLearner
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.coupling import Coupling
from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.learner import Learner, Loss, check_whole
from hamdg.cohort.resume import ResumeCheckpoint
from hamdg.config.algorithms.ham import EnrichmentConfig, HarmonizationConfig
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.batches import Batch
from hamdg.errors import ConfigError, TrainingError
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.keys import MetricKey
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
    before = {name: b.clone() for name, b in cohort.named_buffers() if name.startswith("members.")}
    each_world.fit(cohort)

    heads = [name for name in before if name.endswith("class_features")]
    assert len(heads) == 3
    for name in before:
        buffer = cohort.get_buffer(name)
        assert torch.equal(buffer, before[name])
        assert not buffer.requires_grad
        assert buffer.grad is None
    assert all(torch.equal(before[name], each_world.text_head()) for name in heads)
    trained = {name.partition(".network.visual.")[0] for name, p in cohort.named_parameters() if p.requires_grad}
    assert trained == {f"members.{number}" for number in range(3)}


def test_a_loss_that_is_no_number_stops_the_training(world: World) -> None:
    apart = world.but(enrichment=EnrichmentConfig(enabled=False))
    cohort = apart.cohort()
    calls = iter(range(10))

    def poison(module: nn.Module, arguments: object, scores: Tensor) -> Tensor:
        return scores * float("nan") if next(calls) == 3 else scores

    cohort.learners["cartoon"].network.register_forward_hook(poison)
    message = (
        "the loss of source `cartoon` became nan at step 4 (learning rate 0.000854); nothing was overwritten. "
        "Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        apart.fit(cohort)


@pytest.mark.parametrize("log_every", [1, 4, 100])
def test_nothing_is_written_after_a_gradient_that_is_not_finite(world: World, tmp_path: Path, log_every: int) -> None:
    cohort = world.but(log_every=log_every).cohort()
    parameter = next(iter(cohort.learners["photo"].network.trainable().values()))
    calls = iter(range(10))
    parameter.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * (float("inf") if next(calls) == 2 else 1.0)
    )
    history = CheckpointHistory(tmp_path, HistoryConfig("snapshots", start=0.0, every=1))
    with pytest.raises(TrainingError, match=r"^the gradient norm of source `photo` became (inf|nan) at step 3 "):
        world.fit(cohort, [history, ResumeCheckpoint(tmp_path / "resume.ckpt", every=1)])

    assert sorted(path.name for path in (tmp_path / "snapshots" / "photo").iterdir()) == [
        f"step-{step:06d}.safetensors" for step in (1, 2)
    ]
    assert torch.load(tmp_path / "resume.ckpt", weights_only=True)["global_step"] == 2


def test_gradients_of_each_model_are_clipped_on_their_own(world: World) -> None:
    short = world.but(train=TrainConfig(steps=1, clip_norm=0.01))
    cohort = short.cohort()
    short.fit(cohort)
    norms = {key.source: value for key, value in cohort.latest.items() if key.name == "gradient_norm"}

    assert set(norms) == set(world.sources)
    assert min(norms.values()) > 0.01
    for learner in cohort.learners.values():
        squares = [p.grad.square().sum() for p in learner.parameters() if p.grad is not None]
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


def test_learners_may_have_any_names(world: World) -> None:
    names = ("train", "v1.0", "v1%2E0", "%train", "values", "clear", "forward")
    cohort = Cohort({name: world.learner(("art",)) for name in names})
    assert list(cohort.learners) == list(names)
    assert list(cohort.members) == list(cohort.learners.values())
    assert cohort.hparams["learners"]["v1.0"]["own"] == ["art"]


class Dropout(Learner):
    """A learner whose loss draws random numbers."""

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        own = self.own_batch(batches)
        features = nn.functional.dropout(self.network.features(own.images), 0.5)
        return Loss(self.task.loss(self.network.scores(features), own.labels))


def test_what_a_loss_draws_depends_on_seed_step_and_name_alone(world: World) -> None:
    def trained(names: tuple[str, ...], seed: int = 0) -> dict[str, dict[str, Tensor]]:
        learners = {name: Dropout(world.network(), (name,), world.train) for name in names}
        torch.manual_seed(len(names))
        state = torch.get_rng_state()
        found = world.fit(Cohort(learners, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        return found

    together = trained(world.sources)
    for name in world.sources:
        assert equal(trained((name,)), {name: together[name]})
    assert not equal(trained(("photo",), seed=1), {"photo": together["photo"]})


class Steps(Coupling):
    """Notes what it is asked, and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, bool]] = []

    def before_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Mapping[MetricKey, Tensor]:
        assert all(p.grad is not None for learner in learners.values() for p in learner.network.parameters())
        self.seen.append(("before", step, log_now))
        return {MetricKey("asked"): torch.tensor(float(step))}

    def after_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Mapping[MetricKey, Tensor]:
        self.seen.append(("after", step, log_now))
        return {}


def test_couplings_act_before_and_after_every_update(world: World) -> None:
    coupling = Steps()
    cohort = Cohort({"art": world.learner(("art",))}, [coupling], log_every=4)
    world.fit(cohort)

    assert coupling.seen == [(when, step, step in (0, 4, 5)) for step in range(6) for when in ("before", "after")]
    assert cohort.latest[MetricKey("asked")] == 5.0


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_gradients_are_those_of_the_whole_batch(world: World, parts: int) -> None:
    short = world.but(train=TrainConfig(steps=3, lr=1e-3, warmup=2))

    def trained(accumulate: int) -> tuple[dict[str, dict[str, Tensor]], Cohort]:
        learners = {"art": short.learner(("art", "photo")), "cartoon": short.learner(("cartoon",))}
        cohort = Cohort(learners, accumulate=accumulate)
        return short.fit(cohort), cohort

    (whole, one), (found, several) = trained(1), trained(parts)
    for name, weights in whole.items():
        for key, tensor in weights.items():
            torch.testing.assert_close(found[name][key], tensor, rtol=1e-3, atol=2e-4)
    for metric in (MetricKey("loss", "art"), MetricKey("gradient_norm", "cartoon")):
        assert several.latest[metric] == pytest.approx(one.latest[metric], rel=1e-3)


class Confident(Learner):
    """Learns from some of the samples; how many they are shows only once they are there."""

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        own = self.own_batch(batches)
        chosen = own.positions % 3 > 0
        losses = nn.functional.cross_entropy(self(own.images), own.labels, reduction="none")[chosen]
        count = chosen.sum()
        return Loss(losses.sum() / count.clamp(min=1), counts={MetricKey("chosen"): count}, weight=count)


def test_parts_count_by_the_samples_that_their_losses_are_means_of(world: World) -> None:
    short = world.but(train=TrainConfig(steps=3, lr=1e-3, warmup=2))

    def trained(accumulate: int) -> tuple[dict[str, dict[str, Tensor]], Cohort]:
        learner = Confident(short.network(), ("art", "photo"), short.train)
        cohort = Cohort({"art": learner}, accumulate=accumulate)
        return short.fit(cohort), cohort

    (whole, one), (found, several) = trained(1), trained(4)
    # AdamW moves an entry by its gradient's sign, which rounding decides for the smallest: the whole step is compared.
    start = world.network().weights()
    apart = torch.cat([(found["art"][key] - tensor).flatten() for key, tensor in whole["art"].items()]).norm()
    moved = torch.cat([(tensor - start[key]).flatten() for key, tensor in whole["art"].items()]).norm()
    assert apart < 0.02 * moved
    assert several.latest == pytest.approx(one.latest, rel=1e-3)
    assert 0 < one.latest[MetricKey("chosen", "art")] < 8


def test_a_loss_that_needs_the_whole_batch_is_not_split(world: World) -> None:
    message = (
        "The loss of `HamLearner` (learner `art`) needs the whole batch, which cannot be split into 2 parts; set "
        "`train.accumulate` to 1."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        world.fit(Cohort({"art": world.ham_learner("art")}, accumulate=2))
    aligned = AlignmentLearner(world.network(), ("art", "photo"), world.train, torch.dist, 1.0)
    with pytest.raises(ConfigError, match=r"cannot be split over 4 processes; use one device\.$"):
        check_whole({"art": aligned}, 1, processes=4)
    check_whole({"art": aligned}, 1, processes=1)


def test_a_loss_that_gathers_what_it_needs_is_split_over_processes(world: World) -> None:
    check_whole({"art": world.ham_learner("art")}, 1, processes=4)


class Late(Learner):
    """Notes a random number that it draws after every update."""

    drawn: tuple[float, ...] = ()

    def after_update(self, batches: Mapping[str, Batch], step: int) -> None:
        self.drawn += (float(torch.rand(())),)


def test_what_is_drawn_after_an_update_is_a_function_of_seed_step_and_name(world: World) -> None:
    """A resumed run has another state of torch's generator than the killed one had, and must draw the same."""
    short = world.but(train=TrainConfig(steps=2))

    def drawn(state: int, seed: int = 0) -> list[tuple[float, ...]]:
        learners = {name: Late(short.network(), (name,), short.train) for name in ("art", "photo")}
        torch.manual_seed(state)
        short.fit(Cohort(learners, seed=seed))
        return [learner.drawn for learner in learners.values()]

    first = drawn(1)
    assert drawn(2) == first
    assert len({number for own in [*first, *drawn(1, seed=5)] for number in own}) == 8


def test_batches_are_not_split_where_statistics_move(world: World) -> None:
    learner = world.learner(("art",))
    learner.network.live_statistics = True
    check_whole({"art": learner}, accumulate=2, processes=2)
    learner.network.normalized = nn.BatchNorm2d(3)
    check_whole({"art": learner}, accumulate=1)
    start = r"^`ClipClassifier` \(learner `art`\) has BatchNorm statistics that move, which each of "
    with pytest.raises(ConfigError, match=start + r"2 processes would move by its own part of the batch; use one dev"):
        check_whole({"art": learner}, accumulate=1, processes=2)
    remedy = r"3 parts of a batch would move by itself; set `train\.accumulate` to 1\.$"
    with pytest.raises(ConfigError, match=start + remedy):
        check_whole({"art": learner}, accumulate=3)
    learner.network.live_statistics = False
    check_whole({"art": learner}, accumulate=3, processes=2)
