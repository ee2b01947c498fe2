"""Models of three sources around a base, in memory and in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from torch import Tensor

from hamdg.merge import ModelSet, Rule, TensorSet, global_method, registry
from hamdg.merge.files import save_tensors

SOURCES = ("art", "photo", "sketch")


def a_model(seed: int, base: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A model with all that models have: matrices, kernels, scalars, an empty tensor, BatchNorm, a frozen tensor."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fc.weight": (7, 5), "conv.weight": (3, 2, 2, 2), "logit_scale": (), "none": (0, 4), "one": (1,)}
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if base is not None:
        state = {name: base[name] + 0.05 * tensor for name, tensor in state.items()}
    state["bn.running_mean"] = torch.full((3,), float(seed))
    state["bn.running_var"] = torch.full((3,), 1.0 + seed)
    state["bn.num_batches_tracked"] = torch.tensor(seed)
    return state | {"frozen": torch.arange(4.0)}


BASE = a_model(0)
MODELS = {source: a_model(seed, BASE) for seed, source in enumerate(SOURCES, 1)}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """One file for each source, and the base beside them."""
    found = {source: tmp_path / f"{source}.safetensors" for source in SOURCES}
    for source, path in found.items():
        save_tensors(path, MODELS[source])
    save_tensors(tmp_path / "base.safetensors", BASE)
    return found


@pytest.fixture
def registering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that needs evidence, for one test."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    @global_method("by_evidence", on="models", needs=("gradients",))
    def by_evidence(model_set: ModelSet) -> Rule:
        """Weight the models by what evidence says of their matrix."""
        importance = {source: model_set.evidence.fisher(source)["fc.weight"].mean() for source in model_set.sources}  # type: ignore[attr-defined]
        total = sum(importance.values())

        def rule(tensor_set: TensorSet) -> Tensor:
            return torch.stack([tensor * (importance[s] / total) for s, tensor in tensor_set.tensors.items()]).sum(0)

        return rule


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def blake3_of(path: Path) -> str:
    return blake3(path.read_bytes()).hexdigest()
