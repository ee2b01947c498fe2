"""The learner of both trainings: a classifier first, then everything, and a running average as the result."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hamdg.algorithms.erm_pp.plateau import drops
from hamdg.cohort.learner import Learner, Loss, ParamGroup
from hamdg.config.algorithms.erm_pp import ErmPpSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.models.network import Network
from hamdg.models.schedule import SCHEDULES


class ErmPpLearner(Learner):
    """Learns as ERM does, with a running average as its result and a learning rate that falls where that tells.

    Args:
        network: What is trained.
        own: The domains that it learns from.
        config: Learning rate and clipping; at most how many steps.
        settings: The classifier's steps, the average, and what lowers the learning rate.
        schedule: After which steps the learning rate falls; without it, losses on the hold-out sets tell.
    """

    follows_validation: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        own: tuple[str, ...],
        config: TrainConfig,
        settings: ErmPpSettings,
        schedule: Sequence[int] = (),
    ) -> None:
        super().__init__(network, own, config)
        self.settings = settings
        self.average = copy.deepcopy(network)
        self.schedule = list(schedule)
        self.losses: dict[int, float] = {}

    @property
    def result(self) -> Network:
        """The running average."""
        return self.average

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the task's loss, at first with gradients for the classifier alone."""
        own = self.own_batch(batches)
        # Parameters without a gradient are passed over by the optimizer, which does not move them either.
        with torch.set_grad_enabled(step >= self.settings.classifier_steps):
            features = self.network.features(own.images)
        return Loss(self.task.loss(self.network.scores(features), own.labels))

    @torch.no_grad()
    def after_update(self, batches: Mapping[str, Batch], step: int) -> None:
        """Take the weights and buffers into the average, and let it see the batch where BatchNorm statistics move."""
        others = max(0, step + 2 - self.settings.average_start)
        for mean, new in zip(_tensors(self.average), _tensors(self.network), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 / (others + 1))
        if self.average.live_statistics:
            self.average(self.own_batch(batches).images)

    def validated(self, step: int, loss: float) -> bool:
        """Lower the learning rate where the loss has stopped to fall; return whether that was the last time."""
        if step > self.settings.classifier_steps:
            self.losses[step] = loss
            steps = list(self.losses)
            self.schedule = [steps[number] for number in drops(list(self.losses.values()), self.settings.patience)]
        return len(self.schedule) >= self.settings.drops

    def parameter_groups(self) -> list[ParamGroup]:
        """Return the trained network alone: the average moves by itself."""
        return [{"params": list(self.network.trainable().values()), "schedule": self.rate}]

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step, from 0.

        The step right after a validation was given its rate before that: a fall takes effect one step later. It does so
        in both trainings.
        """
        warm = SCHEDULES["constant"](step, self.config.warmup, self.config.steps)
        return warm * self.settings.factor ** sum(step > fall for fall in self.schedule)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the losses and what they led to; called when a resumable checkpoint is written."""
        return {"losses": self.losses, "schedule": self.schedule}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from these; called when a killed run goes on."""
        self.losses, self.schedule = state["losses"], state["schedule"]


def _tensors(network: Network) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
