from __future__ import annotations

import math

import pytest
import torch

from hamdg.algorithms.vl2v import Vl2vLearner
from hamdg.config.recipe import TrainConfig
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.tracking.keys import MetricKey
from tests.algorithms.pooled import CLIP, OWN, TEXT, batches, whole

TRAIN = TrainConfig(steps=4, lr=1e-3)


def learner(weight: float = 0.5) -> Vl2vLearner:
    own, teacher = ClipClassifier(CLIP, TEXT), ClipClassifier(CLIP, TEXT)
    with torch.no_grad():
        for number, parameter in enumerate(own.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return Vl2vLearner(own, teacher, OWN, TRAIN, weight)


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.8])
def test_the_loss_is_written_out_in_loops(weight: float) -> None:
    own, given = learner(weight), batches()
    images, labels = whole(given)
    found = own.loss(given, 0)
    # The towers themselves, whose features are not normalized.
    student, before = (one.visual(images).double().tolist() for one in (own.network, own.teacher))
    total = 0.0
    for feature, wanted, label in zip(student, before, labels.tolist(), strict=True):
        total -= weight * cosine(feature, wanted) + (1 - weight) * cosine(feature, TEXT[label].tolist())
    assert float(found.value.detach()) == pytest.approx(total / len(labels), rel=1e-5)


def test_at_the_start_the_image_is_its_own_target() -> None:
    own = Vl2vLearner(ClipClassifier(CLIP, TEXT), ClipClassifier(CLIP, TEXT), OWN, TRAIN, 1.0)
    found = own.loss(batches(), 0)
    assert float(found.value.detach()) == pytest.approx(-1.0, abs=1e-6)
    assert float(found.logs[MetricKey("cosine/image")]) == pytest.approx(1.0, abs=1e-6)


def test_the_teacher_stays_what_it_is_and_is_no_part_of_checkpoints() -> None:
    own = learner()
    own.loss(batches(), 0).value.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in own.teacher.parameters())
    assert all(parameter.grad is not None for parameter in own.network.parameters())
    assert not own.teacher.training
    assert all(name.startswith("network.") for name in own.state_dict())
    assert [one.shape for group in own.parameter_groups() for one in group["params"]] == [
        one.shape for one in own.network.parameters()
    ]
