"""How models do on the sources' hold-out sets, for steps that choose among models; the held-out domain stays closed."""

from __future__ import annotations

from functools import cached_property

from hamdg.data.subset import Subset
from hamdg.models.network import Network, Weights
from hamdg.stages.context import Context
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_holdouts


class HoldoutScores:
    """Scores weights of the run's network by the primary metric, as `validation.json` does.

    Nothing is opened before a model is scored. A step that uses it reads the sources (`Step.reads`).

    Args:
        context: The step.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    def by_domain(self, weights: Weights) -> dict[str, float]:
        """Return the metric on each source's hold-out set."""
        return self._scorer.by_domain([Scored(self._network, weights)], self._holdouts, self.context.task)[0]

    def mean(self, weights: Weights) -> float:
        """Return the mean of the metric over the sources' hold-out sets."""
        values = self.by_domain(weights).values()
        return sum(values) / len(values)

    def outcomes(self, weights: Weights, source: str, network: Network | None = None) -> list[float]:
        """Return how right a model is on each image of a source's hold-out set: 1 or 0; of label maps, the metric.

        Args:
            weights: The model.
            source: The source.
            network: What the weights belong to, if not to the run's network.
        """
        part, model = self._holdouts[source], Scored(network or self._network, weights)
        if part.labels.ndim > 1:
            found = self._scorer.by_domain([model], {source: part}, self.context.task)
            return [found[0][source]]
        batches = self._scorer.scores([model], part)
        return [float(hit) for one in batches for hit in (one.scores.cpu().argmax(dim=1) == one.labels).tolist()]

    @property
    def images(self) -> dict[str, int]:
        """How many images each source's hold-out set has."""
        return {name: len(part.labels) for name, part in self._holdouts.items()}

    def put(self, weights: Weights) -> Network:
        """Return the network with these weights in it, until the next ones come; nothing is opened."""
        return self._scorer.put(Scored(self._network, weights))

    @cached_property
    def _network(self) -> Network:
        return self.context.network()

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.context.device, self.context.preprocess, self.context.half)

    @cached_property
    def _holdouts(self) -> dict[str, Subset]:
        return open_holdouts(self.context)
