"""Synthesizes images from trained models: noise, moved until a model's layers see what they saw in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hamdg.algorithms.dmm.inversion import (
    Moments,
    batch_moments,
    rolled,
    statistics_loss,
    stored_moments,
    total_variation,
)
from hamdg.algorithms.dmm.loop import Loop, State
from hamdg.config.algorithms.dmm import SynthesizeConfig, Targets
from hamdg.data.preprocess import Preprocess
from hamdg.data.splits import seed_hash
from hamdg.models.network import Network

# How many points of every curve are kept.
_POINTS = 20


class Objective(NamedTuple):
    """The loss of synthesized images (0-d), and what it is made of."""

    value: Tensor
    statistics: float
    cross_entropy: float


class Synthesis(NamedTuple):
    """What was synthesized.

    Args:
        images: Normalized images [n, 3, h, w] by model.
        curves: By model, steps and the statistics' loss after them.
        recognized: By model, the share of its images that it takes for their targets.
    """

    images: dict[str, Tensor]
    curves: dict[str, list[tuple[int, float]]]
    recognized: dict[str, float]


def objective(
    network: Network, stored: Mapping[str, Moments], images: Tensor, targets: Tensor, config: SynthesizeConfig
) -> Objective:
    """Return the loss of images: their moments in every BatchNorm layer, their smoothness, and their classes.

    Args:
        network: The model, frozen.
        stored: Its running statistics.
        images: Normalized images [n, 3, h, w].
        targets: The class of every image [n].
        config: The weights of the terms.
    """
    with batch_moments(network) as found:
        scores = network(images)
    statistics = statistics_loss(found, stored, config.statistics)
    classes = cross_entropy(scores, targets)
    value = (
        config.statistics_weight * statistics
        + config.variation_weight * total_variation(images)
        + config.target_weight * classes
    )
    return Objective(value, float(statistics.detach()), float(classes.detach()))


def target_classes(count: int, classes: int, counts: Sequence[int], kind: Targets) -> Tensor:
    """Return the classes of images that are to be synthesized, int64 [count], in ascending order.

    Args:
        count: How many images.
        classes: How many classes there are.
        counts: Images of each class that the model was trained on.
        kind: Every class as often, every one that has images, or in proportion to these, by largest remainders.
    """
    shares = {
        "uniform": [1.0] * classes,
        "present": [float(number > 0) for number in counts],
        "counts": [float(number) for number in counts],
    }[kind]
    exact = [count * share / sum(shares) for share in shares]
    whole = [int(value) for value in exact]
    rest = sorted(range(classes), key=lambda label: (whole[label] - exact[label], label))
    for label in rest[: count - sum(whole)]:
        whole[label] += 1
    return torch.arange(classes).repeat_interleave(torch.tensor(whole))


def noise(name: str, count: int, side: int, seed: int) -> Tensor:
    """Return what the images of a model start from: standard normal, by the seed and the model's name alone."""
    generator = torch.Generator().manual_seed(seed_hash("synthesize", name, seed))
    return torch.randn(count, 3, side, side, generator=generator)


def synthesize(
    models: Mapping[str, Callable[[], Network]],
    targets: Mapping[str, Tensor],
    preprocess: Preprocess,
    config: SynthesizeConfig,
    seed: int,
    loop: Loop,
    device: torch.device,
) -> Synthesis:
    """Synthesize images from one model after another, going on where a killed process stopped.

    Args:
        models: Makes each model, frozen, by its name.
        targets: The classes of each model's images [n].
        preprocess: What the models expect of images; pixels stay within its range.
        config: Steps, learning rate and weights.
        seed: The run's seed.
        loop: Counts the steps of all models.
        device: Where it is computed.
    """
    state: State = loop.resumed() or {"images": {}, "curves": {}, "name": ""}
    found = Synthesis(dict(state["images"]), dict(state["curves"]), {})
    lowest, highest = (preprocess.fit(torch.full((1, 3, preprocess.side, preprocess.side), end)) for end in (0.0, 1.0))
    lowest, highest = lowest.to(device), highest.to(device)
    for number, (name, build) in enumerate(models.items()):
        network, own = build().to(device), targets[name].to(device)
        if name not in found.images:
            begun = state if state["name"] == name else None
            work = _Work(name, network, own, (lowest, highest), config, seed)
            found.images[name] = work.run(found, begun, loop, number * config.steps, preprocess.side)
        with torch.no_grad():
            predicted = network(found.images[name].to(device)).argmax(dim=1)
        found.recognized[name] = float((predicted == own).double().mean())
    return found


class _Work(NamedTuple):
    """The images of one model."""

    name: str
    network: Network
    targets: Tensor
    limits: tuple[Tensor, Tensor]
    config: SynthesizeConfig
    seed: int

    def run(self, found: Synthesis, begun: State | None, loop: Loop, before: int, side: int) -> Tensor:
        """Move the images from their start to their end.

        Args:
            found: What has been synthesized so far; the model's curve is added.
            begun: The state of a killed process that was at this model.
            loop: Counts steps.
            before: Steps of the models before.
            side: Of the images.
        """
        config, device = self.config, self.targets.device
        start = noise(self.name, len(self.targets), side, self.seed) if begun is None else begun["current"]
        images = start.to(device).clamp(*self.limits).requires_grad_()
        optimizer = torch.optim.Adam([images], lr=config.lr)
        if begun is not None:
            optimizer.load_state_dict(begun["optimizer"])
        stored, curve = stored_moments(self.network), found.curves.setdefault(self.name, [])
        for step in range(0 if begun is None else begun["step"], config.steps):
            generator = torch.Generator().manual_seed(seed_hash("jitter", self.name, self.seed, step))
            optimizer.zero_grad()
            moved = rolled(images, config.jitter, generator)
            loss = objective(self.network, stored, moved, self.targets, config)
            torch.autograd.backward(loss.value, inputs=[images])
            optimizer.step()
            with torch.no_grad():
                images.clamp_(*self.limits)
            if step % max(1, config.steps // _POINTS) == 0 or step == config.steps - 1:
                curve.append((step + 1, loss.statistics))
            state = partial(self._state, found, step + 1, images, optimizer)
            loop.done(before + step + 1, float(loss.value.detach()), self._described(loss), state)
        return images.detach().cpu()

    def _described(self, loss: Objective) -> str:
        return f"{self.name}: statistics {loss.statistics:.3f}, cross-entropy {loss.cross_entropy:.2f}"

    def _state(self, found: Synthesis, step: int, images: Tensor, optimizer: torch.optim.Adam) -> State:
        own = {"name": self.name, "step": step, "current": images.detach().cpu(), "optimizer": optimizer.state_dict()}
        return own | {"images": found.images, "curves": found.curves}
