from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hamdg.algorithms.dmm.distillation import (
    Distilled,
    Lesson,
    distill,
    lesson,
    log_shares,
    mixed_parts,
    moved,
    weight_distance,
)
from hamdg.algorithms.dmm.loop import Loop
from hamdg.config.algorithms.dmm import DistillConfig
from hamdg.models.network import Network

CPU = torch.device("cpu")


class Linear(Network):
    """One BatchNorm layer before a linear one, in float64."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(weight.shape[1], affine=False).double()
        self.fc = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        self.fc.weight.data.copy_(weight)
        self.live_statistics = True

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.norm(images)
        return found

    def scores(self, features: Tensor) -> Tensor:
        found: Tensor = self.fc(features)
        return found


class Counting(Loop):
    """A loop that only counts, or stops."""

    def __init__(self, stop: int | None = None, state: Any = None) -> None:
        self.stop, self.state, self.count = stop, state, 0

    def resumed(self) -> Any:
        return self.state

    def done(self, step: int, loss: float, text: str, state: Any) -> None:
        self.count += 1
        if step == self.stop:
            torch.save(state(), "state.ckpt")
            raise KeyboardInterrupt


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def taught(
    student: Network,
    lessons: dict[str, Lesson],
    own: dict[str, Lesson],
    config: DistillConfig,
    loop: Loop | None = None,
) -> Distilled:
    return distill(student, lessons, own, config, 0, loop or Counting(), CPU)


def test_a_linear_student_becomes_its_linear_teacher() -> None:
    teacher, student = Linear(drawn(3, 4)), Linear(drawn(3, 4, seed=1))
    images = drawn(64, 4, seed=2)
    # Images with exactly the statistics that the layer has stored.
    images = (images - images.mean(0)) / images.var(0, unbiased=False).sqrt()
    config = DistillConfig(jitter=0, steps=600, lr=0.05, batch_size=64, stay="none", clip_norm=0)
    found = taught(student, {"a": lesson(teacher, images, CPU)}, {}, config)
    assert found.curve[-1][1] < 1e-6
    scores = [network.scores(network.features(images)) for network in (student.eval(), teacher)]
    # Softmax does not see what all classes have in common.
    centered = [one - one.mean(dim=1, keepdim=True) for one in scores]
    torch.testing.assert_close(centered[0], centered[1], atol=5e-3, rtol=0)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    images = drawn(16, 4, seed=2)
    config = DistillConfig(jitter=0, steps=1)
    found = taught(Linear(drawn(3, 4)), {"a": lesson(Linear(drawn(3, 4)), images, CPU)}, {}, config)
    assert found.curve[0][1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("stay", ["outputs", "weights"])
def test_the_term_that_stays_put_keeps_the_student_near(stay: Any) -> None:
    images, start, teacher = drawn(32, 4, seed=2), drawn(3, 4), Linear(drawn(3, 4, seed=1))
    moved = {}
    for weight in (0.0, 100.0):
        config = DistillConfig(jitter=0, steps=30, lr=0.01, stay=stay, stay_weight=weight)
        own = {"main": lesson(Linear(start), images, CPU)}
        found = taught(Linear(start), {"a": lesson(teacher, images, CPU)}, own, config)
        moved[weight] = float((found.weights["fc.weight"] - start).norm())
    assert moved[100.0] < 0.3 * moved[0.0]


def test_statistics_are_frozen_unless_they_are_to_follow() -> None:
    lessons = {"a": lesson(Linear(drawn(3, 4, seed=1)), drawn(32, 4, seed=2) + 3, CPU)}
    found = taught(Linear(drawn(3, 4)), lessons, {}, DistillConfig(jitter=0, steps=3))
    assert not found.weights["norm.running_mean"].any()
    assert set(found.weights) == {"fc.weight", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    live = taught(Linear(drawn(3, 4)), lessons, {}, DistillConfig(jitter=0, steps=3, statistics="live"))
    assert bool((live.weights["norm.running_mean"] > 0.5).all())


def test_all_teachers_count_alike() -> None:
    images, config = drawn(8, 4, seed=2), DistillConfig(jitter=0, steps=1, batch_size=8)
    teachers = {name: lesson(Linear(drawn(3, 4, seed=seed)), images, CPU) for name, seed in (("a", 1), ("b", 2))}
    own = [taught(Linear(drawn(3, 4)), {name: one}, {}, config).curve[0][1] for name, one in teachers.items()]
    both = taught(Linear(drawn(3, 4)), teachers, {}, config).curve[0][1]
    assert both == pytest.approx(sum(own) / 2)


@pytest.mark.parametrize("stop", [1, 6])
def test_a_killed_distillation_goes_on_to_the_same_weights(
    stop: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lessons = {"a": lesson(Linear(drawn(3, 4, seed=1)), drawn(40, 4, seed=2), CPU)}
    config = DistillConfig(jitter=0, steps=7, batch_size=8)
    whole = taught(Linear(drawn(3, 4)), lessons, {}, config)
    with pytest.raises(KeyboardInterrupt):
        taught(Linear(drawn(3, 4)), lessons, {}, config, Counting(stop))
    rest = Counting(state=torch.load("state.ckpt", weights_only=True))
    again = taught(Linear(drawn(3, 4)), lessons, {}, config, rest)
    assert rest.count == 7 - stop
    assert all(torch.equal(again.weights[name], own) for name, own in whole.weights.items())
    assert again.curve == whole.curve


def test_images_are_mirrored_and_rolled() -> None:
    images = torch.arange(2.0 * 5 * 5).view(1, 2, 5, 5).repeat(40, 1, 1, 1)
    rolls = [torch.roll(images[0], (down, across), dims=(1, 2)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    kinds = set()
    for seed in range(20):
        found = moved(images, 1, torch.Generator().manual_seed(seed))
        kinds |= {number for number, one in enumerate(rolls) if torch.equal(one, found[0])}
        # Some as they were, some mirrored, all rolled alike.
        assert len({tuple(one.flatten().tolist()) for one in found}) == 2
        assert torch.equal(found, moved(images, 1, torch.Generator().manual_seed(seed)))
    assert len(kinds) > 4
    assert moved(images, 0, torch.Generator()) is images


class Shadow(Linear):
    """Notes what it is asked about."""

    asked: list[Tensor]

    def features(self, images: Tensor) -> Tensor:
        self.asked.append(images.detach().clone())
        return super().features(images.flatten(1))


def test_teachers_are_asked_about_the_images_that_the_student_sees() -> None:
    teacher, student = Shadow(drawn(3, 12)), Shadow(drawn(3, 12, seed=1))
    teacher.asked, student.asked = [], []
    config = DistillConfig(steps=4, batch_size=3, jitter=1)
    taught(student, {"a": lesson(teacher, drawn(3, 1, 3, 4, seed=2), CPU)}, {}, config)
    assert all(torch.equal(one, other) for one, other in zip(teacher.asked, student.asked, strict=True))
    assert len({tuple(one.sort(dim=0).values.flatten().tolist()) for one in student.asked}) > 1


def test_what_a_teacher_has_mostly_seen_is_taken_off_its_scores() -> None:
    shares = log_shares([0, 1, 4])
    torch.testing.assert_close(shares, torch.tensor([1 / 8, 2 / 8, 5 / 8]).log())
    images, config = drawn(8, 4, seed=2), DistillConfig(jitter=0, steps=1, batch_size=8, temperature=1.0)
    # Where all classes score alike, the student is to say the opposite of the shares: 8 / 1, 8 / 2, 8 / 5.
    found = taught(Linear(torch.zeros(3, 4)), {"a": lesson(Linear(torch.zeros(3, 4)), images, CPU, shares)}, {}, config)
    wanted = torch.tensor([8.0, 4.0, 1.6])
    wanted /= wanted.sum()
    assert found.curve[0][1] == pytest.approx(float((wanted * (3 * wanted).log()).sum()), abs=1e-6)


def test_the_learning_rate_falls(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lessons = {"a": lesson(Linear(drawn(3, 4, seed=1)), drawn(40, 4, seed=2), CPU)}
    for stop, share in ((1, 1.0), (3, 0.5), (4, 0.1464)):
        with pytest.raises(KeyboardInterrupt):
            taught(Linear(drawn(3, 4)), lessons, {}, DistillConfig(jitter=0, steps=4, lr=0.1), Counting(stop))
        (group,) = torch.load("state.ckpt", weights_only=True)["optimizer"]["param_groups"]
        assert group["lr"] == pytest.approx(0.1 * share, abs=1e-5)


def test_parts_hold_every_image_once_in_one_random_order() -> None:
    images = torch.arange(1030.0).view(-1, 1)
    parts = list(mixed_parts(images))
    assert [len(part) for part in parts] == [344, 343, 343]
    mixed = torch.cat(parts)
    assert not torch.equal(mixed, images)
    assert torch.equal(mixed.sort(dim=0).values, images)
    assert torch.equal(torch.cat(list(mixed_parts(images))), mixed)


def test_the_distance_of_weights_by_hand() -> None:
    own = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    assert float(weight_distance(own, {"a": torch.zeros(2), "b": torch.tensor([[1.0]])})) == (1 + 4 + 4) / 2
