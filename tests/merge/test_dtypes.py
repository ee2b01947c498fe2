"""Floats of eight bits: widened, merged, and rounded back where that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge import MergeSettings, list_methods, merge, merge_files, merge_with, open_tensors
from hamdg.merge.files import save_tensors

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
DTYPES = [E4M3, E5M2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


def model(seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "fc.weight": torch.randn(6, 5, generator=generator).to(dtype),
        "norm.weight": torch.rand(5, generator=generator).bfloat16(),
        "frozen": torch.arange(4.0).to(dtype),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["uniform", "weighted", "task_arithmetic", "ties", "rhm", "wise_ft", "slerp"])
def test_a_merge_is_that_of_the_same_values_in_bfloat16(method: str, dtype: torch.dtype) -> None:
    models, base = {name: model(ord(name), dtype) for name in "ab"}, model(0, dtype)
    wide = {source: {name: t.bfloat16() for name, t in tensors.items()} for source, tensors in models.items()}
    found = merge(method, models, base)
    expected = merge(method, wide, {name: tensor.bfloat16() for name, tensor in base.items()})
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}


def test_no_method_ends_in_a_trace() -> None:
    models, base = {name: model(ord(name), E4M3) for name in "ab"}, model(0, E4M3)
    for name, info in list_methods().items():
        if not info.needs and name != "rebasin":
            options: dict[str, object] = {"scale": 0.5} if name == "shrunk" else {}
            assert merge_with(name, models, base, options)["fc.weight"].dtype == torch.bfloat16, name


def test_a_mean_by_hand_and_rounded_back_on_demand() -> None:
    # (1 + 1.125) / 2 lies between two neighbors of e4m3; to even, it is 1.
    models = {"a": {"w": torch.tensor([1.0, 448]).to(E4M3)}, "b": {"w": torch.tensor([1.125, 448]).to(E4M3)}}
    assert merge("uniform", models)["w"].tolist() == [1.0625, 448.0]
    back = merge("uniform", models, dtype=E4M3)["w"]
    assert (back.dtype, back.float().tolist()) == (E4M3, [1.0, 448.0])
    assert merge("uniform", models, dtype=torch.float32)["w"].dtype == torch.float32


def test_two_kinds_are_merged_where_the_result_s_is_named() -> None:
    models = {"a": {"w": torch.ones(2).to(E4M3)}, "b": {"w": torch.zeros(2).to(E5M2)}}
    with pytest.raises(WeightsError, match=r"^Dtypes differ from those of `a`: in `b` `w` is float8_e5m2, not"):
        merge("uniform", models)
    assert merge("uniform", models, dtype=torch.float32)["w"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("frozen", [True, False])
def test_what_eight_bits_cannot_hold_is_no_silent_maximum(frozen: bool) -> None:
    models = {"a": {"w": torch.tensor([1000.0, 1.0])}, "b": {"w": torch.tensor([1000.0, 1.0 if frozen else 2.0])}}
    message = (
        "The merged tensor `w` holds values that float8_e4m3fn cannot hold; name a wider `dtype` (float32), or scale "
        "the change down."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, dtype=E4M3)
    let_through = merge_with("uniform", models, settings=MergeSettings(dtype=E4M3, allow_nonfinite=True))["w"]
    assert let_through.float().isnan().tolist() == [True, False]


def test_values_that_are_no_numbers_are_named() -> None:
    models = {"a": {"w": torch.tensor([torch.nan]).to(E5M2)}, "b": {"w": torch.ones(1).to(E5M2)}}
    with pytest.raises(WeightsError, match=re.escape("`a`: `w` (NaN)")):
        merge("uniform", models)


def test_files_are_merged_and_written(tmp_path: Path) -> None:
    for name in "ab":
        save_tensors(tmp_path / f"{name}.safetensors", model(ord(name), E4M3))
    torch.save(model(ord("c"), E4M3), tmp_path / "c.pt")
    paths = {name: tmp_path / f"{name}{'.pt' if name == 'c' else '.safetensors'}" for name in "abc"}
    expected = merge("uniform", {name: model(ord(name), E4M3) for name in "abc"})
    found = open_tensors(merge_files("uniform", paths, tmp_path / "o.safetensors"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    merge_files("uniform", paths, tmp_path / "o.safetensors", settings=MergeSettings(dtype=E4M3))
    assert open_tensors(tmp_path / "o.safetensors")["fc.weight"].dtype == E4M3


def test_sources_that_share_their_memory() -> None:
    one = {"w": torch.tensor([1.0, 2.0]).to(E4M3)}
    assert merge("uniform", {"a": one, "b": one})["w"].tolist() == [1.0, 2.0]


def test_evidence_in_eight_bits_is_widened() -> None:
    class Fisher:
        def fisher(self, source: str) -> dict[str, Tensor]:
            return {"w": torch.tensor([3.0 if source == "a" else 1.0]).to(E4M3)}

    models = {"a": {"w": torch.tensor([4.0])}, "b": {"w": torch.tensor([0.0])}}
    assert merge("fisher", models, evidence=Fisher(), normalize=False)["w"].tolist() == [3.0]
