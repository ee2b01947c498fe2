"""MMD (Li et al., CVPR 2018) with DomainBed's formula: equal kernel means in all source domains."""

from hamdg.cohort.alignment import AlignmentLearner, mmd
from hamdg.config.algorithms.mmd import MmdSettings
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


class Mmd(Pooled):
    """Pooled fine-tuning with a penalty on the discrepancy between source domains."""

    name = "mmd"
    tasks = ("classification",)

    def learner(self, context: Context) -> AlignmentLearner:
        """Return the learner."""
        weight = context.settings(MmdSettings).weight
        return AlignmentLearner(context.network(), context.sources, context.recipe.train, mmd, weight)
