"""A network of three features whose statistics of BatchNorm can be checked by hand."""

from __future__ import annotations

from torch import Tensor, nn

from hamdg.data.preprocess import Preprocess
from hamdg.models.network import Network


class Toy(Network):
    """A BatchNorm layer, dropout that is never applied, and a linear layer."""

    preprocess = Preprocess(4)
    live_statistics = True

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(3, 2)

    def features(self, images: Tensor) -> Tensor:
        """Return the normalized images."""
        found: Tensor = self.bn(images)
        return found

    def scores(self, features: Tensor) -> Tensor:
        """Return the linear layer's scores."""
        scores: Tensor = self.fc(features)
        return scores

    @property
    def head_prefix(self) -> str:
        """The linear layer."""
        return "fc."
