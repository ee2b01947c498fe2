"""Self-training: which pseudo-labels count, what teacher and student see, and what moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.algorithms.mtda.learner import (
    ACCEPTED,
    PseudoLabels,
    SelfTraining,
    pseudo_labels,
    self_training_loss,
)
from hamdg.algorithms.mtda.training import train_config
from hamdg.algorithms.mtda.views import strong_view
from hamdg.cohort.learner import check_whole
from hamdg.config.algorithms.mtda import AdaptConfig
from hamdg.data.batches import Batch, Labels
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError
from hamdg.models.network import Network
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.tracking.keys import MetricKey

PLAIN = Preprocess(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class Pixels(Network):
    """Classifies images, or every pixel of them."""

    live_statistics = True

    def __init__(self, maps: bool = False) -> None:
        super().__init__()
        self.preprocess = PLAIN
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 3, 1)
        self.maps = maps

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.bn(self.conv(images)).relu()
        return found if self.maps else found.mean((2, 3), keepdim=True)

    def scores(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(features)
        return scores if self.maps else scores.flatten(1)


def batch(seed: int, labeled: bool = False, count: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    images = PLAIN.fit(torch.rand(count, 3, 16, 16, generator=draw) * (0.5 + seed / 4))
    labels = torch.arange(count) % 3
    return Batch(images, torch.arange(count), Labels(labels, labels) if labeled else None)


def learner(*targets: str, maps: bool = False, **options: object) -> SelfTraining:
    torch.manual_seed(0)
    adapt = AdaptConfig(steps=3, threshold=0.34, momentum=0.3, decay=0.9)
    config = train_config(adapt, targets)
    return SelfTraining(Pixels(maps), targets, config, adapt, CLASSIFICATION, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4, 2)])
def test_pseudo_labels_are_the_most_probable_classes_of_images_or_pixels(shape: tuple[int, ...]) -> None:
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = pseudo_labels(scores)
    assert found.labels.shape == found.confidence.shape == (shape[0], *shape[2:])
    assert torch.equal(found.labels, scores.argmax(1))
    torch.testing.assert_close(found.confidence, scores.softmax(1).amax(1))


def test_only_confident_labels_count_and_the_mean_is_over_all() -> None:
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]], requires_grad=True)
    given = PseudoLabels(torch.tensor([0, 0, 1, 1]), torch.tensor([0.9, 0.8, 0.79, 0.1]))
    loss, accepted = self_training_loss(scores, given, 0.8)
    wanted = sum(cross_entropy(scores[i : i + 1], given.labels[i : i + 1]) for i in (0, 1)) / 4
    torch.testing.assert_close(loss, wanted)
    assert float(accepted) == 0.5
    torch.autograd.backward(loss)
    assert scores.grad is not None
    assert scores.grad.abs().sum(1).gt(0).tolist() == [True, True, False, False]


def test_without_a_confident_label_nothing_is_learned() -> None:
    scores = torch.randn(4, 3, requires_grad=True)
    loss, accepted = self_training_loss(scores, pseudo_labels(scores.detach()), 1.0)
    torch.autograd.backward(loss)
    assert (float(loss.detach()), float(accepted)) == (0.0, 0.0)
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("maps", [False, True])
def test_the_student_is_trained_and_the_teacher_follows_it(maps: bool) -> None:
    own = learner("fog", maps=maps)
    names = {name for group in own.parameter_groups() for name in map(id, group["params"])}
    assert names == {id(one) for one in own.network.parameters()}
    before = [one.clone() for one in own.teacher.parameters()]
    loss = own.loss({"fog": batch(1)}, 0)
    torch.autograd.backward(loss.value)
    assert all(one.grad is None for one in own.teacher.parameters())
    assert all(one.grad is not None for one in own.network.parameters())
    with torch.no_grad():
        for one in own.network.parameters():
            one.add_(1.0)
    own.after_update({"fog": batch(1)}, 0)
    for old, new in zip(before, own.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
    assert own.result is own.network


def test_the_teacher_normalizes_by_the_batch_of_the_weak_view_and_the_student_sees_the_strong_one() -> None:
    own, given = learner("fog"), batch(2)
    twin = learner("fog").network
    torch.manual_seed(5)
    strong = strong_view(given.images, PLAIN)
    labels = pseudo_labels(twin.train()(given.images))
    torch.manual_seed(5)
    loss = own.loss({"fog": given}, 0)
    wanted, accepted = self_training_loss(learner("fog").network(strong), labels, 0.34)
    torch.testing.assert_close(loss.value, wanted)
    torch.testing.assert_close(loss.logs[MetricKey(ACCEPTED)], accepted)


def test_statistics_move_with_the_momentum_that_is_given_and_only_by_what_the_student_sees() -> None:
    own, given = learner("fog"), batch(2)
    network = own.network
    assert isinstance(network, Pixels)
    assert network.bn.momentum == 0.3
    torch.manual_seed(5)
    seen = network.conv(strong_view(given.images, PLAIN)).mean((0, 2, 3)).detach()
    torch.manual_seed(5)
    own.loss({"fog": given}, 0)
    torch.testing.assert_close(network.bn.running_mean, 0.3 * seen)
    assert int(network.bn.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_a_learner_that_is_done_while_others_go_on_stays_as_it_is() -> None:
    own = learner("fog")
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    loss = own.loss({"fog": batch(1)}, 3)
    torch.autograd.backward(loss.value)
    own.after_update({"fog": batch(1)}, 3)
    assert float(loss.value.detach()) == 0
    assert all(one.grad is not None and not one.grad.any() for one in own.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())


def test_all_targets_at_once_go_through_the_network_together_or_each_alone() -> None:
    batches = {"fog": batch(1), "night": batch(4)}
    mixed, apart = learner("fog", "night"), learner("fog", "night", apart=True)
    for own in (mixed, apart):
        own.loss(batches, 0)
    counts = [int(own.network.get_buffer("bn.num_batches_tracked")) for own in (mixed, apart)]
    assert counts == [1, 2]
    each = [learner("fog"), learner("night")]
    torch.manual_seed(5)
    whole = apart.loss(batches, 0).value
    torch.manual_seed(5)
    torch.testing.assert_close(whole, torch.stack([one.loss(batches, 0).value for one in each]).mean())


def test_labeled_batches_of_the_source_are_added_where_they_are_wanted() -> None:
    batches = {"fog": batch(1), "sun": batch(0, labeled=True)}
    free, fed = learner("fog"), learner("fog", sources=("sun",))
    torch.manual_seed(5)
    alone = free.loss(batches, 0).value
    torch.manual_seed(5)
    together = fed.loss(batches, 0).value
    labels = batches["sun"].labels
    torch.testing.assert_close(together - alone, cross_entropy(learner("fog").network(batches["sun"].images), labels))


def test_labels_of_a_target_are_never_asked_for() -> None:
    with pytest.raises(ConfigError, match="has no labels"):
        _ = batch(1).labels
    learner("fog").loss({"fog": batch(1)}, 0)


def test_batches_are_not_split() -> None:
    with pytest.raises(ConfigError, match=r"`SelfTraining` .* needs the whole batch"):
        check_whole({"fog": learner("fog")}, accumulate=2)


def test_the_strong_view_changes_colors_and_cuts_out_a_square_but_moves_nothing() -> None:
    images = batch(1, count=40).images
    torch.manual_seed(3)
    found = strong_view(images, PLAIN)
    torch.manual_seed(3)
    assert torch.equal(strong_view(images, PLAIN), found)
    assert found.shape == images.shape
    cut = (found == 0).all(1)
    assert cut.sum((1, 2)).tolist() == [25] * 40
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    assert (set(rows.tolist()), set(columns.tolist())) == ({5}, {5})
    half = (strong_view(images, PLAIN, 0.5) == 0).all(1)
    assert half.sum((1, 2)).tolist() == [4] * 40
    torch.testing.assert_close(strong_view(images, PLAIN, 0.0), images, atol=1e-5, rtol=0)
    # The brightest pixel that is not cut out stays where it is in a gray ramp.
    ramp = PLAIN.fit(torch.linspace(0.3, 0.5, 256).view(1, 1, 16, 16).expand(8, 3, 16, 16))
    seen = strong_view(ramp, PLAIN)[:, 0]
    for one in seen:
        inside = one[one != 0]
        assert bool((inside.diff() >= -1e-5).all())
