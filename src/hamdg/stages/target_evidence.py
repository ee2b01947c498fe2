"""Images of the held-out domain for the merge: only where a recipe asks for it by name (`merge.target_data`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from hamdg.data.batches import sample_positions
from hamdg.data.domain import Domain
from hamdg.data.module import adaptation_part
from hamdg.models.network import Weights
from hamdg.stages.context import Context
from hamdg.stages.evidence import SourceEvidence

NOTE = "uses unlabeled target data"


class TargetEvidence(SourceEvidence):
    """Also answers `Target`: how sure a model is of the held-out domain's images, whose labels are withheld.

    This is test-time adaptation, no domain generalization; tables and records of such runs say so. It sees DomainBed's
    80 % part of the domain, so that the other 20 % are unseen.

    Args:
        context: The step.
        models: The models that are merged, by name.
        own: The domains that each of them learned from.
        examples: How many training images of each domain are looked at.
    """

    def __init__(
        self, context: Context, models: Mapping[str, Weights], own: Mapping[str, Sequence[str]], examples: int
    ) -> None:
        super().__init__(context, models, own, examples)
        self._step = 0

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
        """Return the mean entropy of the predictions on the next `data.batch_size` images, and its gradient."""
        network = self.put(weights)
        with torch.enable_grad():
            logs = network(self._next()).log_softmax(dim=1)
            entropy = -(logs.exp() * logs).sum(dim=1).mean()
            parameters = network.trainable()
            gradients = torch.autograd.grad(entropy, list(parameters.values()), materialize_grads=True)
        return float(entropy.detach()), {name: value.cpu() for name, value in zip(parameters, gradients, strict=True)}

    @cached_property
    def _domains(self) -> list[Domain]:
        return list(self.context.data(self.context.targets).values())

    def _next(self) -> Tensor:
        """Return the next batch; of several held-out domains, each in turn."""
        domain = self._domains[self._step % len(self._domains)]
        recipe, pool = self.context.recipe, adaptation_part(self.context.recipe, domain)
        index = self.context.bench.domains.index(domain.name)
        positions = sample_positions(pool, min(recipe.data.batch_size, len(pool)), self._step, recipe.seed, index)
        self._step += 1
        images = domain.evaluation.read(positions)
        # The sizes of images that are evaluated are all the same.
        assert isinstance(images, Tensor)
        return self.context.preprocess(images.to(self.context.device))
