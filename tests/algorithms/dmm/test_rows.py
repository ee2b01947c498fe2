from __future__ import annotations

import torch
from torch import Tensor

from hamdg.algorithms.dmm.rows import averages
from hamdg.data.preprocess import Preprocess
from hamdg.models.ensemble import Ensemble
from hamdg.models.network import Network


class Constant(Network):
    """A network that says the same of every image."""

    preprocess = Preprocess(4)

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(scores))

    def features(self, images: Tensor) -> Tensor:
        return images

    def scores(self, features: Tensor) -> Tensor:
        return self.bias.expand(len(features), -1)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    # 0.8 and 0.2, and 0.5 and 0.5.
    members = [Constant([torch.tensor(4.0).log().item(), 0.0]), Constant([7.0, 7.0])]
    network = Ensemble(members)
    found = network(torch.zeros(2, 3, 4, 4)).softmax(dim=1)
    torch.testing.assert_close(found, torch.tensor([[0.65, 0.35]]).expand(2, -1))
    assert network.weights() == {}
    assert not network.train().training


def client(weight: float, mean: float, variance: float) -> dict[str, Tensor]:
    return {
        "fc.weight": torch.tensor([weight]),
        "bn.running_mean": torch.tensor([mean]),
        "bn.running_var": torch.tensor([variance]),
        "bn.num_batches_tracked": torch.tensor(5),
    }


def test_averages_differ_in_their_statistics() -> None:
    clients, start = {"a": client(1.0, 0.0, 1.0), "b": client(3.0, 4.0, 3.0)}, client(0.0, 0.0, 1.0)
    found = {key: weights for key, (_, weights) in averages(clients, start).items()}
    assert list(found) == ["average_first", "average_naive", "average", "ties"]
    for key, mean, variance in (("average_first", 0, 1), ("average_naive", 2, 2), ("average", 2, 2 + 4)):
        own = found[key]
        assert (float(own["fc.weight"]), float(own["bn.running_mean"]), float(own["bn.running_var"])) == (
            2,
            mean,
            variance,
        )
