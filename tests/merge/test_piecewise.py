from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hamdg.merge import merge_with, model_set

SHAPE = (1201, 1001)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("task_arithmetic", {}),
        ("ties", {}),
        ("ties", {"scope": "tensor"}),
        ("ties", {"scope": "row"}),
        ("dare", {}),
        ("dare", {"rescale": "l1", "then": "ties", "ties_density": 0.05}),
        ("della", {}),
        ("della", {"rescale": "l1", "then": "task_arithmetic"}),
        ("breadcrumbs", {}),
        ("breadcrumbs", {"scope": "global"}),
        ("breadcrumbs", {"scope": "row"}),
        ("breadcrumbs_ties", {}),
        ("consensus", {}),
        ("consensus", {"total": "ties"}),
        ("emr", {}),
        ("pcb", {}),
        ("pcb", {"scope": "tensor", "inter": "pairs"}),
    ],
)
def test_no_tensor_of_a_source_is_ever_read_whole(
    method: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is held is then a few pieces of every source, however large the tensors are.
    sizes = []
    read = model_set._Reads.__getitem__

    def watched(self: model_set._Reads, source: str) -> Tensor:
        tensor = read(self, source)
        sizes.append(tensor.numel())
        return tensor

    monkeypatch.setattr(model_set._Reads, "__getitem__", watched)
    models = {s: {"w": torch.randn(SHAPE, generator=torch.Generator().manual_seed(i))} for i, s in enumerate("abc")}
    merged = merge_with(method, models, {"w": torch.zeros(SHAPE)}, options)
    assert merged["w"].shape == SHAPE
    assert 0 < max(sizes) <= model_set.PIECE < SHAPE[0] * SHAPE[1]
