from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from hamdg.algorithms.scmd.functional import hardest
from hamdg.algorithms.scmd.learner import ScmdLearner, fresh_projector
from hamdg.algorithms.scmd.teacher import Teacher
from hamdg.cohort.learner import Learner
from hamdg.cohort.resume import CheckpointError
from hamdg.config.algorithms.scmd import ScmdSettings
from hamdg.config.recipe import ModelConfig, TrainConfig
from hamdg.data.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from hamdg.models.classifier import load_classifier
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.network import Network, frozen, statistics
from hamdg.tasks.distillation import distillation_loss
from hamdg.tracking.keys import MetricKey
from tests.algorithms.pooled import CLASSES, CLIP, OWN, SIDE, TEXT, batches, whole

TRAIN = TrainConfig(steps=8, lr=1e-3)
SETTINGS = ScmdSettings(hard_share=0.5, whole_share=0.5)
STUDENT = load_classifier(ModelConfig(name="mini-resnet8-16", image_size=SIDE))


def teacher(convert: bool = True, given: Preprocess = STUDENT.preprocess, text: Tensor = TEXT) -> Teacher:
    return frozen(Teacher(ClipClassifier(CLIP, text), given, convert))


def student(live: bool = False) -> ImageClassifier:
    network = ImageClassifier(STUDENT, fresh_head(CLASSES, STUDENT.width, seed=0))
    network.live_statistics = live
    return network


def learner(settings: ScmdSettings = SETTINGS, network: Network | None = None, **changes: Teacher) -> ScmdLearner:
    own = network or student()
    width = CLIP.width if isinstance(own, ClipClassifier) else STUDENT.width
    return ScmdLearner(own, OWN, TRAIN, settings, changes.get("teacher", teacher()), width, seed=3)


@pytest.mark.parametrize("step", [0, 4, 5, 7])
def test_the_loss_is_the_published_one_on_the_hardest_samples_and_later_on_all(step: int) -> None:
    one, given = learner(), batches(8)
    found = one.loss(given, step)
    images, labels = whole(given)
    count = 16
    if step <= 4:  # floor(8 (1 - 0.5))
        count = 8
        order = torch.argsort(cross_entropy(one.network(images), labels, reduction="none"), descending=True)
        images, labels = images[order[:count]], labels[order[:count]]
    features = one.network.features(images)
    scores = one.network.scores(features)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (STUDENT.preprocess.mean, STUDENT.preprocess.std))
    own = CLIP.preprocess.fit(images * std + mean)
    wanted = one.teacher.clip(own)
    projected = normalize(features @ one.projector.T, dim=1)
    crossed = one.log_scale.exp() * projected @ TEXT.T
    expected = cross_entropy(scores, labels) + 0.5 * distillation_loss(scores, wanted, 3.0)
    expected = expected + 0.5 * distillation_loss(crossed, wanted, 3.0)
    torch.testing.assert_close(found.value, expected)
    assert int(found.counts[MetricKey("samples")]) == count
    parts = [float(found.logs[MetricKey(f"part/{name}")]) for name in ("cross_entropy", "logits", "cross_modal")]
    assert parts[0] + 0.5 * parts[1] + 0.5 * parts[2] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(found.logs[MetricKey("scale")]) == pytest.approx(1 / 0.07, rel=1e-5)


def test_the_published_constant_counts_steps_that_the_run_does_not_have() -> None:
    assert [learner().selects(step) for step in range(8)] == [True] * 5 + [False] * 3
    constant = learner(replace(SETTINGS, selection_steps=5000))
    assert all(constant.selects(step) for step in range(2501))
    assert not constant.selects(2501)
    assert not learner(replace(SETTINGS, hard_share=1.0)).selects(0)


def test_the_teacher_has_no_say_in_the_selection() -> None:
    images, labels = whole(batches(8))
    first, second = learner(), learner(teacher=teacher(text=TEXT.flip(0)))
    chosen = [hardest(one._difficulty(images, labels), 0.5) for one in (first, second)]
    assert torch.equal(*chosen)
    assert not torch.equal(first.teacher(images), second.teacher(images))


def test_without_distances_and_selection_it_is_plain_fine_tuning_bit_for_bit() -> None:
    off = replace(SETTINGS, logit_weight=0.0, cross_modal_weight=0.0, hard_share=1.0)
    one, plain = learner(off), Learner(student(), OWN, TRAIN)
    losses = [each.loss(batches(8), 0).value for each in (one, plain)]
    assert torch.equal(*losses)
    for value in losses:
        value.backward()  # type: ignore[no-untyped-call]
    for name, parameter in one.network.trainable().items():
        assert torch.equal(parameter.grad, plain.network.trainable()[name].grad)  # type: ignore[arg-type]
    assert one.projector.grad is None
    assert one.log_scale.grad is None


def test_a_student_that_is_its_teacher_is_at_no_distance_from_it() -> None:
    clip = ClipClassifier(CLIP, TEXT)
    one = learner(network=clip, teacher=teacher(given=CLIP.preprocess))
    with torch.no_grad():
        one.projector.copy_(torch.eye(CLIP.width))
        one.log_scale.fill_(math.log(clip.logit_scale))
    found = one.loss(batches(8), 0)
    for name in ("logits", "cross_modal"):
        assert float(found.logs[MetricKey(f"part/{name}")]) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(found.value, found.logs[MetricKey("part/cross_entropy")])


def test_the_teacher_stays_as_it_is_and_all_else_moves() -> None:
    one = learner()
    before, buffers = (
        copy.deepcopy(one.teacher.state_dict()),
        {name: tensor.clone() for name, tensor in statistics(one.network)},
    )
    groups = one.parameter_groups()
    assert [group.get("lr") for group in groups] == [None, 1e-4]
    assert groups[1]["params"] == [one.log_scale]
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(p) for p in (*one.network.trainable().values(), one.projector, one.log_scale)}
    optimizer = torch.optim.AdamW([dict(group) for group in groups], lr=1e-2)
    start = {name: parameter.detach().clone() for name, parameter in one.named_parameters() if parameter.requires_grad}
    one.train()
    assert not any(module.training for module in one.teacher.modules())
    one.loss(batches(8), 0).value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in one.teacher.parameters())
    assert [name for name, tensor in statistics(one.network) if not torch.equal(tensor, buffers[name])] == []
    still = [
        name for name, parameter in one.named_parameters() if name in start and torch.equal(parameter, start[name])
    ]
    assert still == []


def test_a_teacher_is_known_by_its_weights_and_not_by_what_rounding_makes_of_its_class_features() -> None:
    one, rounded = teacher(), teacher(text=TEXT * (1 + 1e-6))
    assert rounded.sha256 == one.sha256
    assert not torch.equal(rounded.class_features, one.class_features)


@pytest.mark.parametrize(("value", "kept"), [(10.0, math.log(100)), (-2.0, 0.0), (2.0, 2.0)])
def test_the_scale_stays_between_1_and_100(value: float, kept: float) -> None:
    one = learner()
    with torch.no_grad():
        one.log_scale.fill_(value)
    one.after_update(batches(8), 0)
    assert float(one.log_scale.detach()) == pytest.approx(kept)


def test_the_pass_that_selects_does_not_move_statistics() -> None:
    one = learner(network=student(live=True))
    one.train()
    images, labels = whole(batches(8))
    before = {name: tensor.clone() for name, tensor in statistics(one.network)}
    one._difficulty(images, labels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(one.network))
    one.loss(batches(8), 0)
    assert not all(torch.equal(tensor, before[name]) for name, tensor in statistics(one.network))


@pytest.mark.parametrize("precision", ["fp32", "train"])
def test_under_half_precision_the_pass_that_selects_takes_no_gradient_away(precision: str) -> None:
    one = learner(replace(SETTINGS, selection_precision=precision))  # type: ignore[arg-type]
    images, labels = whole(batches(8))
    with torch.autocast("cpu", torch.bfloat16):
        difficulty = one._difficulty(images, labels)
        one.loss(batches(8), 0).value.backward()  # type: ignore[no-untyped-call]
    exact = cross_entropy(one.network(images), labels, reduction="none")
    assert torch.equal(difficulty, exact) == (precision == "fp32")
    assert [name for name, parameter in one.network.trainable().items() if parameter.grad is None] == []


def test_the_teacher_is_given_its_own_images_or_the_students() -> None:
    given = Preprocess(SIDE, IMAGENET_MEAN, IMAGENET_STD)
    assert (CLIP.preprocess.mean, CLIP.preprocess.std) == (CLIP_MEAN, CLIP_STD)
    pixels = torch.randint(256, (4, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    converted, as_they_are = teacher(given=given), teacher(convert=False, given=given)
    clip = converted.clip
    torch.testing.assert_close(converted(given(pixels)), clip(CLIP.preprocess(pixels)), atol=1e-3, rtol=1e-3)
    assert torch.equal(as_they_are(given(pixels)), as_they_are.clip(given(pixels)))
    assert not torch.allclose(as_they_are(given(pixels)), converted(given(pixels)), atol=1e-2)
    # Of a larger student's images the CLIP gets smaller ones.
    large = Preprocess(48, IMAGENET_MEAN, IMAGENET_STD)
    assert teacher(given=large)(torch.randn(2, 3, 48, 48)).shape == (2, CLASSES)


def test_the_start_of_the_linear_map_is_torchs_and_the_seeds() -> None:
    first = fresh_projector(512, 64, seed=0)
    assert torch.equal(first, fresh_projector(512, 64, seed=0))
    assert not torch.equal(first, fresh_projector(512, 64, seed=1))
    # Not the draw of the student's head, which has the same seed.
    assert not torch.equal(first[:7], fresh_head(7, 64, seed=0))
    assert float(first.abs().max()) == pytest.approx(1 / 8, rel=1e-3)
    assert float(first.std()) == pytest.approx(
        float(torch.nn.Linear(64, 512, bias=False).weight.detach().std()), rel=0.02
    )


def test_a_checkpoint_of_another_teachers_training_is_refused() -> None:
    clip = copy.deepcopy(CLIP)
    with torch.no_grad():
        next(clip.model.parameters()).add_(1)
    other = learner(teacher=frozen(Teacher(ClipClassifier(clip, TEXT), STUDENT.preprocess, convert=True)))
    state = learner().state_dict()
    learner().load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"^is of a training with another teacher$"):
        other.load_state_dict(state)
