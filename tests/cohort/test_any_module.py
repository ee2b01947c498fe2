"""`CheckpointHistory` in a stranger's Trainer: plain modules, accumulated gradients, BatchNorm that moves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hamdg.cohort.history import CheckpointHistory
from hamdg.config.recipe import HistoryConfig
from hamdg.errors import ConfigError
from hamdg.merge import merge
from hamdg.merge.files import load_tensors

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings(r"ignore:The 'train_dataloader' does not have many workers"),
]
Named = dict[str, Tensor]


class Plain(LightningModule):
    """What anybody writes: BatchNorm in training mode, a frozen layer, SGD."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        self.stem = nn.Linear(4, 4).requires_grad_(False)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(self.stem(batch[0])), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Trajectory(Callback):
    """Remembers the state after every optimizer step, read from the module's own weights."""

    def __init__(self) -> None:
        self.states: list[Named] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append(copied(pl_module))

    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == len(self.states):
            self.states.append(copied(pl_module))


def copied(module: LightningModule) -> Named:
    return {name: value.detach().clone() for name, value in module.state_dict().items() if name.startswith("net.")}


def data() -> DataLoader[tuple[Tensor, ...]]:
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.randn(16, 4, generator=draws), torch.randint(2, (16,), generator=draws)
    return DataLoader(TensorDataset(images, labels), batch_size=4)


def fit(history: CheckpointHistory, *others: Callback, **options: object) -> tuple[Plain, list[Named]]:
    torch.manual_seed(0)
    module, trajectory = Plain(), Trajectory()
    quiet: Mapping[str, object] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    Trainer(**quiet, **options, callbacks=[history, *others, trajectory]).fit(module, data())  # type: ignore[arg-type]
    return module, trajectory.states


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 8), (2, 4)])
def test_every_step_enters_once_whatever_is_accumulated(tmp_path: Path, accumulate: int, steps: int) -> None:
    history = CheckpointHistory(tmp_path, HistoryConfig(start=0.5, every=1))
    module, states = fit(history, max_epochs=2, accumulate_grad_batches=accumulate)

    assert history.steps == steps
    assert len(states) == steps + 1
    chosen = states[steps // 2 :]
    found = load_tensors(tmp_path / "history" / "model.safetensors")
    assert found.keys() == states[0].keys()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, sum(state[name] for state in chosen) / len(chosen))
        else:
            assert torch.equal(tensor, states[-1][name])
    for part, state in (("start", states[0]), ("last", states[-1])):
        stored = load_tensors(tmp_path / part / "model.safetensors")
        assert stored.keys() == state.keys()
        assert all(torch.equal(stored[name], state[name]) for name in stored)
    module.net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in found.items()})


def test_snapshots_count_alike_however_many_batches_they_have_seen(tmp_path: Path) -> None:
    _, states = fit(CheckpointHistory(tmp_path, HistoryConfig("snapshots", start=0.0, every=1, keep=9)), max_steps=6)
    assert [int(state["net.1.num_batches_tracked"]) for state in states] == [0, 1, 2, 3, 4, 5, 6]
    found = load_tensors(tmp_path / "history" / "model.safetensors")
    for name in ("net.0.weight", "net.1.running_mean"):
        torch.testing.assert_close(found[name], sum(state[name] for state in states[1:]) / 6)
    # The mean of 1 to 6, rounded to an even number, and not their sum.
    assert int(found["net.1.num_batches_tracked"]) == 4


def test_the_files_are_what_a_merge_needs(tmp_path: Path) -> None:
    for name in ("art", "photo"):
        fit(CheckpointHistory(tmp_path / name, HistoryConfig(start=0.5, every=1)), max_steps=4)
    start, art, photo = (
        load_tensors(tmp_path / path)
        for path in ("art/start/model.safetensors", "art/history/model.safetensors", "photo/history/model.safetensors")
    )
    merged = merge("task_arithmetic", {"art": art, "photo": photo}, base=start, scale=0.5)
    Plain().load_state_dict(merged, strict=False)
    torch.testing.assert_close(merged["net.0.weight"], art["net.0.weight"])


def test_what_enters_is_what_select_gives(tmp_path: Path) -> None:
    def select(module: LightningModule) -> dict[str, Named]:
        assert isinstance(module, Plain)
        return {f"layer {n}": dict(module.net[n].named_parameters()) for n in (0, 2)}

    fit(CheckpointHistory(tmp_path, HistoryConfig("last"), select=select), max_steps=3)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors"))
    assert files == [f"{part}/layer {n}.safetensors" for part in ("history", "last", "start") for n in (0, 2)]
    assert load_tensors(tmp_path / "history/layer 0.safetensors").keys() == {"weight", "bias"}


def test_a_training_without_end_is_refused(tmp_path: Path) -> None:
    message = (
        "`CheckpointHistory` must know the number of optimizer steps, but the Trainer has no end; give it `max_steps` "
        "or `max_epochs`, or give `steps` to `CheckpointHistory`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        fit(CheckpointHistory(tmp_path), max_epochs=-1, max_time="00:00:01:00")


class StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.global_step >= self.steps


def test_a_training_that_stops_early_says_of_which_steps_its_files_are(tmp_path: Path) -> None:
    history = CheckpointHistory(tmp_path, HistoryConfig(kind="mean", start=0.25, every=1))
    fit(history, StopAfter(5), max_epochs=2)
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["steps"] == [2, 3, 4, 5]
    assert index["sources"]["model"]["last"]["step"] == 5


def test_the_same_callback_in_a_second_training_starts_again(tmp_path: Path) -> None:
    history = CheckpointHistory(tmp_path, HistoryConfig(kind="mean", start=0.5, every=1))
    fit(history, max_epochs=1)
    _, states = fit(history, max_epochs=2)
    expected = merge("uniform", {str(step): states[step] for step in range(4, 9)})
    found = load_tensors(tmp_path / "history" / "model.safetensors")
    torch.testing.assert_close(found["net.0.weight"], expected["net.0.weight"])
