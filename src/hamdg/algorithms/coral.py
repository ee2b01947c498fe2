"""CORAL (https://arxiv.org/abs/1607.01719) with DomainBed's formula: equal feature moments in all source domains."""

from torch import Tensor

from hamdg.cohort.alignment import AlignmentLearner
from hamdg.config.algorithms.coral import CoralSettings
from hamdg.errors import ConfigError
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled


def coral(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared difference of the means of features [n, d], plus that of their covariances."""
    means = (first.mean(dim=0) - second.mean(dim=0)).square().mean()
    return means + (first.T.cov() - second.T.cov()).square().mean()


class Coral(Pooled):
    """Pooled fine-tuning with a penalty on differences of mean and covariance."""

    name = "coral"
    tasks = ("classification",)

    def check(self, context: Context) -> None:
        """Refuse batches of one image a domain: the covariance of its features is not a number.

        Raises:
            ConfigError: They are compared with each other.
        """
        if context.recipe.data.batch_size < 2 and len(context.sources) > 1:
            raise ConfigError(
                f"`data.batch_size` is 1, but `{self.name}` compares covariances of the domains' features, which need "
                "at least 2 images of each; raise it."
            )

    def learner(self, context: Context) -> AlignmentLearner:
        """Return the learner."""
        weight = context.settings(CoralSettings).weight
        return AlignmentLearner(context.network(), context.sources, context.recipe.train, coral, weight)
