"""Distills models into one by their soft labels on images, while it stays near to what it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hamdg.algorithms.dmm.inversion import rolled
from hamdg.algorithms.dmm.loop import Loop, State
from hamdg.cohort.learner import seeded
from hamdg.config.algorithms.dmm import DistillConfig
from hamdg.data.batches import sample_positions
from hamdg.data.splits import seed_hash
from hamdg.models.network import Network, frozen
from hamdg.tasks.distillation import distillation_loss

_CHUNK = 256
_POINTS = 30


class Lesson(NamedTuple):
    """What a teacher is asked.

    Args:
        images: Normalized images [n, 3, h, w].
        teacher: The frozen network that says what they are.
        prior: What is taken off its scores [classes], such as `log_shares`; 0 for nothing.
    """

    images: Tensor
    teacher: Network
    prior: Tensor


class Distilled(NamedTuple):
    """The student's weights, and steps with the losses after them: of the teachers, and of the term that stays put."""

    weights: dict[str, Tensor]
    curve: list[tuple[int, float, float]]


def weight_distance(parameters: Mapping[str, Tensor], anchors: Mapping[str, Tensor]) -> Tensor:
    """Return half of the squared distance of all parameters from where they were."""
    return torch.stack([(own - anchors[name]).square().sum() for name, own in parameters.items()]).sum() / 2


def log_shares(counts: Sequence[int]) -> Tensor:
    """Return the logarithms of the shares of classes, log((n_c + 1) / (n + classes)), float32 [classes].

    Scores without them are those of a model that saw every class as often (https://arxiv.org/abs/2007.07314), classes
    that it has never seen within limits.
    """
    more = torch.tensor(counts, dtype=torch.float64) + 1
    return (more / more.sum()).log().float()


def lesson(teacher: Network, images: Tensor, device: torch.device, prior: Tensor | None = None) -> Lesson:
    """Return images with their teacher, frozen, and the prior of its scores, all on a device."""
    return Lesson(
        images.to(device), frozen(teacher).to(device), (torch.zeros(()) if prior is None else prior).to(device)
    )


def moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return images [n, 3, h, w], each mirrored or not, and all rolled by up to `most` pixels down and across.

    With `most` 0 they stay as they are.
    """
    if most == 0:
        return images
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return rolled(torch.where(mirrored.to(images.device), images.flip(dims=(3,)), images), most, generator)


def distill(
    student: Network,
    lessons: Mapping[str, Lesson],
    own: Mapping[str, Lesson],
    config: DistillConfig,
    seed: int,
    loop: Loop,
    device: torch.device,
) -> Distilled:
    """Let a student learn from all teachers at once, going on where a killed process stopped.

    Args:
        student: The merged model; it is trained in place.
        lessons: Each teacher, with its images.
        own: The merged model as it was, with its images, for `stay: outputs`.
        config: Steps, learning rate, temperature, weights.
        seed: The run's seed.
        loop: Counts the steps.
        device: Where it is computed.
    """
    student.live_statistics = config.statistics == "live"
    student.to(device).train()
    everything = student.trainable()
    parameters = {name: own for name, own in everything.items() if config.towers in ("both", student.tower_of(name))}
    fixed = [own for name, own in everything.items() if name not in parameters]
    # No gradient is computed for a text tower that does not learn.
    for parameter in fixed:
        parameter.requires_grad_(False)
    anchors = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=config.lr)
    state: State | None = loop.resumed()
    curve: list[tuple[int, float, float]] = []
    if state is not None:
        student.body.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        curve = [(step, teachers, stay) for step, teachers, stay in state["curve"]]
    for step in range(0 if state is None else state["step"], config.steps):
        optimizer.param_groups[0]["lr"] = config.lr * (1 + math.cos(math.pi * step / config.steps)) / 2
        optimizer.zero_grad()
        with seeded(seed, step, "distill", device):
            teachers, stay = _losses(student, lessons, own if config.stay == "outputs" else {}, config, seed, step)
        if config.stay == "weights":
            stay = weight_distance(parameters, anchors)
        loss = teachers + config.stay_weight * stay
        torch.autograd.backward(loss)
        measured = float(teachers.detach()), float(stay.detach())
        nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm or float("inf"))
        optimizer.step()
        if step % max(1, config.steps // _POINTS) == 0 or step == config.steps - 1:
            curve.append((step + 1, *measured))
        described = "distillation {:.3f}, stay {:.3f}".format(*measured)
        loop.done(step + 1, float(loss.detach()), described, partial(_state, student, optimizer, step + 1, curve))
    for parameter in fixed:
        parameter.requires_grad_()
    # Statistics belong to the result, whether they have moved or not.
    student.live_statistics = True
    weights = {name: tensor.detach().cpu().clone() for name, tensor in student.eval().weights().items()}
    return Distilled(weights, curve)


def mixed_parts(images: Tensor) -> Iterator[Tensor]:
    """Yield images [n, 3, h, w] in a random order, so that each part has some of all models.

    There are as few parts of the same size, but for one image, as a limit of memory allows.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    yield from torch.tensor_split(images[order], -(-len(images) // (2 * _CHUNK)))


def _state(student: Network, optimizer: torch.optim.Adam, step: int, curve: list[tuple[int, float, float]]) -> State:
    return {
        "student": student.body.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "curve": curve,
    }


def _losses(
    student: Network,
    lessons: Mapping[str, Lesson],
    own: Mapping[str, Lesson],
    config: DistillConfig,
    seed: int,
    step: int,
) -> tuple[Tensor, Tensor]:
    """Return the mean losses over teachers and over the merged model itself, from one pass of all images."""
    generator = torch.Generator().manual_seed(seed_hash("distill", seed, step))
    given = (*lessons.values(), *own.values())
    batches = [
        moved(_batch(one.images, config.batch_size, step, seed, index), config.jitter, generator)
        for index, one in enumerate(given)
    ]
    with torch.no_grad():
        said = [one.teacher(batch) - one.prior for one, batch in zip(given, batches, strict=True)]
    scores = student(torch.cat(batches)).split(list(map(len, batches)))
    losses = torch.stack(
        [distillation_loss(found, teacher, config.temperature) for found, teacher in zip(scores, said, strict=True)]
    )
    taught, stayed = losses[: len(lessons)], losses[len(lessons) :]
    return taught.mean(), stayed.mean() if len(stayed) else taught.new_zeros(())


def _batch(images: Tensor, size: int, step: int, seed: int, index: int) -> Tensor:
    count = len(images)
    return images[torch.from_numpy(sample_positions(np.arange(count), min(size, count), step, seed, index))]
