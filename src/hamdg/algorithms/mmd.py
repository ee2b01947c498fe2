"""MMD (Li et al., CVPR 2018) with DomainBed's formula: equal kernel means in all source domains."""

import torch
from torch import Tensor

from hamdg.cohort.alignment import AlignmentLearner
from hamdg.config.algorithms.mmd import MmdSettings
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of features [n, d] under a sum of Gaussian kernels."""
    both, n = torch.cat([first, second]), len(first)
    # By differences: of features of length 1, a product's rounding is as large as the distances.
    squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    kernel = torch.stack([(-gamma * squares).exp() for gamma in (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2, 1e3)]).sum(dim=0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


class Mmd(Pooled):
    """Pooled fine-tuning with a penalty on the discrepancy between source domains."""

    name = "mmd"
    tasks = ("classification",)

    def learner(self, context: Context) -> AlignmentLearner:
        """Return the learner."""
        weight = context.settings(MmdSettings).weight
        return AlignmentLearner(context.network(), context.sources, context.recipe.train, mmd, weight)
