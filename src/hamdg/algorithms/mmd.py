"""MMD (Li et al., CVPR 2018) with DomainBed's formula: equal kernel means in all source domains."""

import torch
from torch import Tensor

from hamdg.cohort.alignment import AlignmentLearner
from hamdg.config.algorithms.mmd import MmdSettings
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled

GAMMAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of features [n, d] under a sum of Gaussian kernels."""
    return _kernel(first, first) + _kernel(second, second) - 2 * _kernel(first, second)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    squares = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=1e-30)
    return torch.stack([squares.mul(-gamma).exp() for gamma in GAMMAS]).sum(dim=0).mean()


class Mmd(Pooled):
    """Pooled fine-tuning with a penalty on the discrepancy between source domains."""

    name = "mmd"
    title = "MMD"

    def learner(self, context: Context) -> AlignmentLearner:
        """Return the learner."""
        weight = context.settings(MmdSettings).weight
        return AlignmentLearner(context.network(), context.sources, context.recipe.train, mmd, weight)
