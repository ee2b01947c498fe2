"""A run on a GPU: bf16 autocast, weights and history in fp32, the same pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.merge.files import load_tensors
from hamdg.models.learned_head import read_head
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Tower

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.mark.parametrize("tower", ["rn", "vit"])
@pytest.mark.parametrize("method", ["l2", "sign_consensus", "pcgrad"])
def test_a_run_on_a_gpu_keeps_its_weights_in_full_precision(tiny: Tiny, tower: Tower, method: str) -> None:
    recipe = tiny(
        "--runtime.device=cuda", f"--ham.harmonization.method={method}", "--ham.harmonization.every=2", tower=tower
    )
    pipeline.run(recipe)
    run = RunDirectory(run_directory(recipe))

    assert run.is_done
    for path in [run.merged, *run.step("train").folder.rglob("*.safetensors")]:
        assert {tensor.dtype for tensor in load_tensors(path).values() if tensor.is_floating_point()} == {torch.float32}


def test_a_repeated_run_on_a_gpu_gives_about_the_same_weights(tiny: Tiny) -> None:
    recipe = tiny("--runtime.device=cuda", "--runtime.checkpoint_every=2", "--ham.harmonization.method=sign_consensus")
    pipeline.run(recipe, until="merge")
    whole = load_tensors(RunDirectory(run_directory(recipe)).merged)
    pipeline.run(recipe, force=True)
    for name, tensor in load_tensors(RunDirectory(run_directory(recipe)).merged).items():
        torch.testing.assert_close(tensor, whole[name], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("head", ["source_means", "linear_probe"])
def test_class_features_are_learned_on_a_gpu_as_on_a_cpu(tiny: Tiny, head: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        recipe = tiny(f"--runtime.device={device}", f"--model.text_head={head}", f"--label={device}", tower="vit")
        pipeline.run(recipe, until="train", force=True)
        found.append(read_head(RunDirectory(run_directory(recipe)).class_features))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("method", "tower"), [("greedy_soup", "rn"), ("fisher", "rn"), ("regmean", "vit")])
def test_methods_that_ask_for_data_run_on_a_gpu(tiny: Tiny, method: str, tower: Tower) -> None:
    recipe = tiny("--runtime.device=cuda", f"--merge.method={method}", "--merge.examples=4", tower=tower)
    pipeline.run(recipe, until="merge")
    merged = load_tensors(RunDirectory(run_directory(recipe)).merged)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in merged.values() if tensor.is_floating_point())
