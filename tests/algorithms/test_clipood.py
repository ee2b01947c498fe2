from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from hamdg.algorithms.clipood import ClipoodLearner, with_margin
from hamdg.cohort.learner import Learner
from hamdg.config.recipe import TrainConfig
from hamdg.models.clip_classifier import ClipClassifier
from tests.algorithms.pooled import CLIP, OWN, TEXT, batches, whole

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

TRAIN = TrainConfig(steps=4, lr=1e-3)


def test_a_number_by_hand() -> None:
    # Two classes at right angles; an image at 60 degrees from its own: (0.5, 0.866) - 0.3 (1, 0).
    text = torch.eye(2)
    moved = with_margin(torch.tensor([[0.5, math.sqrt(0.75)]]), text, torch.tensor([0]), 0.3)
    torch.testing.assert_close(moved, torch.tensor([[0.2, math.sqrt(0.75)]]))
    loss = cross_entropy(10 * moved @ text.T, torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log(1 + math.exp(10 * (math.sqrt(0.75) - 0.2))), rel=1e-5)


def test_the_margin_is_that_of_the_paper_up_to_a_constant() -> None:
    """The paper adds l (1 - <t_y, t_c>) to the cosine of each class; softmax does not see what is added to all."""
    generator = torch.Generator().manual_seed(0)
    features, text = (normalize(torch.randn(n, 8, generator=generator, dtype=torch.float64)) for n in (6, 4))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    ours = 14 * with_margin(features, text, labels, 0.3) @ text.T
    papers = 14 * (features @ text.T + 0.3 * (1 - text[labels] @ text.T))
    torch.testing.assert_close(ours.softmax(dim=1), papers.softmax(dim=1))


def test_the_loss_is_written_out_in_loops() -> None:
    learner, given = ClipoodLearner(ClipClassifier(CLIP, TEXT, 14.0), OWN, TRAIN, 0.3), batches()
    images, labels = whole(given)
    features, losses = learner.network.features(images).double(), []
    for feature, label in zip(features, labels.tolist(), strict=True):
        moved = feature - 0.3 * TEXT[label].double()
        scores = [14.0 * float(moved.detach() @ text.double()) for text in TEXT]
        losses.append(math.log(sum(map(math.exp, scores))) - scores[label])
    assert float(learner.loss(given, 0).value.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_without_a_margin_it_is_plain_fine_tuning_bit_for_bit() -> None:
    one = ClipoodLearner(ClipClassifier(CLIP, TEXT, 14.0), OWN, TRAIN, 0.0)
    plain = Learner(ClipClassifier(CLIP, TEXT, 14.0), OWN, TRAIN)
    assert torch.equal(one.loss(batches(), 0).value, plain.loss(batches(), 0).value)


def test_rows_are_the_last_model_and_the_beta_average_of_all_states(done: Callable[..., Done]) -> None:
    """Every state is taken from a second run that keeps them all, and weighed by the closed form."""
    history = ("--history.start=0.0", "--history.every=1")
    own = done("clipood", "--history.kind=beta", *history).context()
    kept = done("clipood", "--history.kind=snapshots", *history)
    rows = {entry.key: entry.weights for entry in own.algorithm.entries(own)}
    assert list(rows) == ["zero_shot", "clipood_last", "clipood"]
    files = kept.context().step("train")
    states = [own.base(), *(files.load(f"snapshots/pooled/step-{step:06d}") for step in (1, 2, 3, 4))]
    states = [{name.removeprefix("visual."): tensor for name, tensor in state.items()} for state in states]
    shares = [1 / math.sqrt((t + 0.5) / 5 * (1 - (t + 0.5) / 5)) for t in range(5)]  # Beta(0.5, 0.5), unnormalized
    for name, average in rows["clipood"].items():
        wanted = sum(share * state[name].double() for share, state in zip(shares, states, strict=True)) / sum(shares)
        torch.testing.assert_close(average.double(), wanted, rtol=1e-5, atol=1e-7)
        assert torch.equal(rows["clipood_last"][name], states[-1][name])
