"""Images of the held-out domain for the merge: only where a recipe asks for it by name (`merge.target_data`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import Weights
from hamdg.data.batches import draw
from hamdg.data.domain import Domain, open_domain
from hamdg.data.subset import holdout
from hamdg.stages.context import Context
from hamdg.stages.evidence import SourceEvidence

NOTE = "uses unlabeled target data"


class TargetEvidence(SourceEvidence):
    """Also answers `Target`: how sure a model is of the held-out domain's images. Labels are not looked at.

    This is test-time adaptation, no domain generalization; tables and records of such runs say so.

    Args:
        context: The run.
        models: The models that are merged, by source.
    """

    def __init__(self, context: Context, models: Mapping[str, Weights]) -> None:
        super().__init__(context, models)
        self._step = 0

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
        """Return the mean entropy of the predictions on the next `data.batch_size` images, and its gradient."""
        model = self._scorer.put(weights)
        with torch.enable_grad():
            logs = model(self._next()).log_softmax(dim=1)
            entropy = -(logs.exp() * logs).sum(dim=1).mean()
            parameters = model.trainable()
            gradients = torch.autograd.grad(entropy, list(parameters.values()), materialize_grads=True)
        return float(entropy.detach()), {name: value.cpu() for name, value in zip(parameters, gradients, strict=True)}

    @cached_property
    def _domain(self) -> Domain:
        return open_domain(self.context.recipe, self.context.recipe.held_out, self.context.preprocess.side)

    def _next(self) -> Tensor:
        recipe, pool = self.context.recipe, np.arange(len(self._domain.labels))
        index = self.context.bench.domains.index(recipe.held_out)
        positions = draw(pool, min(recipe.data.batch_size, len(pool)), self._step, recipe.seed, index)
        self._step += 1
        ((images, _),) = holdout(self._domain, positions).parts(len(positions))
        return self.context.preprocess(images.to(self.context.device))
