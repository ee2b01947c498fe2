"""AHP's learner: cross-entropy, and a discrepancy between domains whose gradient reaches a part of what is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hamdg.cohort.alignment import mean_over_pairs, mmd
from hamdg.cohort.learner import Learner, Loss, ParamGroup
from hamdg.config.algorithms.ahp import AhpSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.models.adapters.gates import head_gates
from hamdg.models.layer_outputs import layer_outputs
from hamdg.models.network import Network
from hamdg.tracking.keys import MetricKey


class AhpLearner(Learner):
    """Trains the adapters of a network; the discrepancy between its domains teaches the gates alone by default.

    Args:
        network: What is trained: gates and low-rank updates of its attention.
        own: The domains that it learns from; with one there is no discrepancy.
        config: Learning rate, schedule, clipping.
        settings: Which discrepancy, and what it teaches.
        blocks: Names of the blocks, as those of the weights, whose tokens [n, l, d] are compared.
        class_token: Whether their first token stands for the image; otherwise the mean of all does.
    """

    # Kernels of a part of the batch are not those of the whole.
    whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        own: tuple[str, ...],
        config: TrainConfig,
        settings: AhpSettings,
        blocks: Sequence[str],
        class_token: bool = True,
    ) -> None:
        super().__init__(network, own, config)
        self.settings = settings
        self.blocks = tuple(blocks)
        self.class_token = class_token

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the mean loss of the domains, plus the weighted discrepancy of their pairs."""
        own = [batches[name] for name in self.own]
        with layer_outputs(self.network.body, self.blocks) as tokens:
            features = self.network.features(torch.cat([batch.images for batch in own]))
        sizes = [len(batch.images) for batch in own]
        scores = torch.split(self.network.scores(features), sizes)
        losses = [self.task.loss(one, batch.labels) for one, batch in zip(scores, own, strict=True)]
        value = torch.stack(losses).mean()
        if len(own) < 2 or not self.settings.mmd.weight:
            return Loss(value)
        penalty = self._discrepancy(list(tokens.values()), features, sizes)
        logs = {MetricKey("penalty"): penalty.detach()}
        if self.settings.mmd.to != "all":
            penalty = only_to(self._taught(), penalty)
        return Loss(value + self.settings.mmd.weight * penalty, logs)

    def parameter_groups(self) -> list[ParamGroup]:
        """Return the gates, without weight decay and with a learning rate of their own, and all else."""
        others: ParamGroup = {"params": self._others()}
        gates: ParamGroup = {"params": self._gates(), "weight_decay": 0.0}
        if self.settings.gate_lr is not None:
            gates["lr"] = self.settings.gate_lr
        return [group for group in (others, gates) if group["params"]]

    def _gates(self) -> list[nn.Parameter]:
        return [gates.logits for gates in head_gates(self.network)]

    def _others(self) -> list[nn.Parameter]:
        gates = set(map(id, self._gates()))
        return [one for one in self.parameters() if one.requires_grad and id(one) not in gates]

    def _taught(self) -> list[nn.Parameter]:
        """Return the parameters that the discrepancy teaches."""
        return self._gates() if self.settings.mmd.to == "gates" else self._others()

    def _discrepancy(self, tokens: Sequence[Tensor], features: Tensor, sizes: list[int]) -> Tensor:
        """Return the discrepancy of the domains, over the layers and the features that are compared."""
        config = self.settings.mmd
        layers = [one[:, 0] if self.class_token else one.mean(dim=1) for one in tokens]
        compared = {"layers": layers, "features": [features], "both": [*layers, features]}[config.of]
        discrepancy = partial(mmd, gammas=config.gammas)
        lengths_of_1 = [normalize(one.float(), dim=1) for one in compared]
        found = torch.stack([mean_over_pairs(torch.split(one, sizes), discrepancy) for one in lengths_of_1])
        return found.mean() if config.reduction == "mean" else found.sum()


def only_to(parameters: Sequence[Tensor], value: Tensor) -> Tensor:
    """Return a value (0-d) whose gradient reaches some of the parameters that it depends on, and no others.

    Args:
        parameters: Those that it reaches.
        value: The value; its graph is kept.
    """
    gradients = torch.autograd.grad(value, parameters, retain_graph=True)
    linear = torch.stack([(one * gradient).sum() for one, gradient in zip(parameters, gradients, strict=True)]).sum()
    # The same number, and the gradient of its linear part at the same place.
    return value.detach() + (linear - linear.detach())
