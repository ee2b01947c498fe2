from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from hamdg.algorithms.erm_pp.plateau import drops


def reference(losses: list[float], patience: int) -> list[int]:
    """Torch's own scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(()))], lr=1.0)
    scheduler, found, rate = ReduceLROnPlateau(optimizer, patience=patience, factor=0.9, eps=0.0), [], 1.0
    for number, loss in enumerate(losses):
        scheduler.step(loss)
        if optimizer.param_groups[0]["lr"] < rate:
            found.append(number)
        rate = optimizer.param_groups[0]["lr"]
    return found


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_equals_torchs_scheduler(patience: int) -> None:
    for seed in range(20):
        noise = torch.randn(60, generator=torch.Generator().manual_seed(seed)).mul(0.1)
        losses = (torch.linspace(1.5, 1.0, 60) + noise).tolist()
        found = drops(losses, patience)
        assert found == reference(losses, patience)
        assert found


def test_a_case_by_hand() -> None:
    # 0.9 is the lowest; two are no better, which is one more than patience has; 0.89995 is not enough lower to count.
    assert drops([1.0, 0.9, 0.95, 0.9, 0.89995, 0.8, 0.9, 0.85], 1) == [3, 7]
    assert drops([1.0, 0.9, 0.8], 1) == []
    assert drops([1.0, 1.0, 1.0, 1.0, 1.0], 1) == [2, 4]
    assert drops([], 1) == []
