"""A run on a GPU: bf16 autocast, weights and history in fp32, the same pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, Labels
from hamdg.data.preprocess import Preprocess
from hamdg.merge.files import load_tensors
from hamdg.models.learned_head import read_head
from hamdg.models.network import Network
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline
from hamdg.stages.context import open_context

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny
    from tests.tiny import Tower

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


@pytest.mark.distributed
@pytest.mark.timeout(400)
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
@pytest.mark.parametrize("algorithm", ["ham", "erm", "experts"])
def test_two_gpus_say_what_one_says(tiny: Tiny, tmp_path: Path, algorithm: str) -> None:
    options = (f"--algorithm={algorithm}", "--runtime.device=cuda", "--runtime.precision=fp32", "--train.steps=6")
    found = []
    for devices in (1, 2):
        recipe = tiny(
            *options, f"--runtime.devices={devices}", f"--runtime.root={tmp_path / str(devices)}", tower="vit"
        )
        run = RunDirectory(pipeline.run(recipe, show=False).parent)
        context = open_context(recipe, run)
        network = context.network().eval()
        weights = load_tensors(run.merged)
        network.load({name.removeprefix("visual."): weights[name] for name in weights if name.startswith("visual.")})
        images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found.append(network(images))
    torch.testing.assert_close(*found, rtol=0, atol=1e-2)


@pytest.mark.parametrize("head", ["source_means", "linear_probe"])
def test_class_features_are_learned_on_a_gpu_as_on_a_cpu(tiny: Tiny, head: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        recipe = tiny(f"--runtime.device={device}", f"--model.text_head={head}", f"--label={device}", tower="vit")
        pipeline.run(recipe, until="train", force=True)
        found.append(read_head(RunDirectory(run_directory(recipe)).class_features).weight)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("method", "tower"), [("greedy_soup", "rn"), ("fisher", "rn"), ("regmean", "vit")])
def test_methods_that_ask_for_data_run_on_a_gpu(tiny: Tiny, method: str, tower: Tower) -> None:
    recipe = tiny("--runtime.device=cuda", f"--merge.method={method}", "--merge.examples=4", tower=tower)
    pipeline.run(recipe, until="merge")
    merged = load_tensors(RunDirectory(run_directory(recipe)).merged)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in merged.values() if tensor.is_floating_point())


def test_batches_of_a_gpu_are_pinned_and_compiled_networks_train(tiny: Tiny) -> None:
    recipe = tiny("--runtime.device=cuda", "--runtime.compile=true", "--runtime.precision=fp32", tower="vit")
    eager = tiny("--runtime.device=cuda", "--runtime.precision=fp32", "--label=eager", tower="vit")
    for one in (recipe, eager):
        pipeline.run(one, until="merge", force=True)
    whole = load_tensors(RunDirectory(run_directory(eager)).merged)
    for name, tensor in load_tensors(RunDirectory(run_directory(recipe)).merged).items():
        torch.testing.assert_close(tensor, whole[name], rtol=0.05, atol=0.05)


def test_the_l2_pull_of_a_gpu_is_that_of_a_cpu(tiny: Tiny) -> None:
    found = []
    for device in ("cpu", "cuda"):
        own = ("--runtime.precision=fp32", "--ham.harmonization.method=l2", f"--label={device}")
        recipe = tiny(f"--runtime.device={device}", *own, tower="vit")
        pipeline.run(recipe, until="merge", force=True)
        found.append(load_tensors(RunDirectory(run_directory(recipe)).merged))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=0.05, atol=0.01)


def test_a_step_waits_for_the_gpu_only_where_values_are_read() -> None:
    """Learners without enrichment bring nothing to the host between two reports."""
    device = torch.device("cuda")
    learners = {name: Learner(Toy(), (name,), TrainConfig(steps=8, warmup=1)).to(device) for name in ("a", "b")}
    cohort = Cohort(learners, log_every=4).to(device)
    labels = torch.zeros(4, dtype=torch.int64, device=device)
    batch = Batch(torch.randn(4, 3, 8, 8, device=device), labels, Labels(labels, labels))
    steps = [(step, {"a": batch, "b": batch}) for step in range(8)]

    class Watch(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
        ) -> None:
            torch.cuda.set_sync_debug_mode("default" if batch_idx % 4 in (0, 3) else "error")

        def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            torch.cuda.set_sync_debug_mode("default")

    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=8, accelerator="gpu", devices=1, logger=False, callbacks=[Watch()], **options)  # type: ignore[arg-type]
    trainer.fit(cohort, train_dataloaders=steps)


class Toy(Network):
    """A linear classifier of pixels."""

    preprocess = Preprocess(8)

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * 64, 3)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(features)
        return scores
