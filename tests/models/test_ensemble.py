"""An ensemble of networks: the mean of their probabilities, of images or of pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

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


def test_the_mean_of_logits_is_another_model_and_may_decide_otherwise() -> None:
    # Of the logits (8, 0) and twice (0, 3) the means are 8/3 and 2; of the probabilities most say the second class.
    members = [Constant([8.0, 0.0]), Constant([0.0, 3.0]), Constant([0.0, 3.0])]
    images = torch.zeros(1, 3, 4, 4)
    torch.testing.assert_close(Ensemble(members, "logits")(images), torch.tensor([[8 / 3, 2.0]]))
    assert int(Ensemble(members, "logits")(images).argmax()) == 0
    assert int(Ensemble(members)(images).argmax()) == 1


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4, 2)])
def test_its_scores_are_logarithms_of_these_and_it_has_no_weights_of_its_own(shape: tuple[int, ...]) -> None:
    class Given(Constant):
        def scores(self, features: Tensor) -> Tensor:
            return features * self.bias.sum()

    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    members = [Given([scale]) for scale in (1.0, -2.0, 0.5)]
    wanted = torch.stack([member(images).softmax(1) for member in members]).mean(0)
    ensemble = Ensemble(members).train()
    torch.testing.assert_close(ensemble(images).exp(), wanted)
    assert ensemble.weights() == {}
    assert not any(member.training for member in ensemble.members)
