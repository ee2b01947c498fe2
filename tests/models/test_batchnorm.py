"""BatchNorm's statistics, measured anew, given a momentum, and taken from the batch."""

from __future__ import annotations

import torch

from hamdg.models.batchnorm import normalize_by_batch, reestimated, set_momentum
from tests.models.toy_batchnorm import Toy


def test_statistics_measured_anew_are_means_over_the_batches_and_nothing_else_moves() -> None:
    network, draw = Toy(), torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 3, generator=draw) + place for place in (0, 4)]
    given = {name: tensor.clone() + 5 for name, tensor in network.weights().items()}
    found = reestimated(network, given, batches)
    assert set(found) == {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    torch.testing.assert_close(found["bn.running_mean"], torch.stack([one.mean(0) for one in batches]).mean(0))
    torch.testing.assert_close(found["bn.running_var"], torch.stack([one.var(0) for one in batches]).mean(0))
    assert int(found["bn.num_batches_tracked"]) == 2
    assert network.bn.momentum == 0.1
    assert not network.bn.training
    assert all(torch.equal(network.weights()[name], given[name]) for name in ("bn.weight", "fc.weight", "fc.bias"))


def test_normalized_by_the_batch_nothing_but_batchnorm_is_in_training_mode() -> None:
    network = Toy().train()
    set_momentum(network, 0.3)
    normalize_by_batch(network)
    images = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)) + 5
    torch.testing.assert_close(network.features(images).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(network.bn.running_mean, 0.3 * images.mean(0))
    assert (network.bn.training, network.dropout.training) == (True, False)
