"""The averages that DMM is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from hamdg.algorithms.dmm.rows import averages


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
