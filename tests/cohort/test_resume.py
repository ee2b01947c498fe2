from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from hamdg.algorithms.ham.learner import kept_samples
from hamdg.cohort import resume
from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.resume import ResumeCheckpoint
from hamdg.cohort.validation import SourceValidation
from hamdg.config.algorithms.ham import HarmonizationConfig
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.augment import to_float
from hamdg.errors import StorageError
from hamdg.tracking.csv import CsvTracker

if TYPE_CHECKING:
    from hamdg.cohort.cohort import Cohort
    from tests.cohort.conftest import World

pytestmark = [
    # BatchNorm is in evaluation mode on purpose: its statistics are frozen.
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    # Lightning's own use of torch's pytree.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
]
STEPS = 8


class Crash(Callback):
    """Stops the training with an error after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crashed on purpose")


SNAPSHOTS = HistoryConfig("snapshots", start=0.0, every=1, keep=3)
# It keeps averages alone, and uses the losses that are measured on the way.
SWAD = HistoryConfig("swad", every=1, n_s=2, n_e=1, r=1.0)


def fit(world: World, folder: Path, crash: int | None = None, config: HistoryConfig = SNAPSHOTS) -> Cohort:
    """Train in a folder, from its checkpoint where there is one."""
    resume = folder / "resume.ckpt"
    going_on = resume.exists()
    done = int(torch.load(resume, weights_only=True)["global_step"]) if going_on else 0
    history = CheckpointHistory(folder / "run", config, check_every=2)
    callbacks: list[Callback] = [
        history,
        SourceValidation(world.hold_outs(), to_float, 2, STEPS, history.note_validation, config.kind == "swad"),
        ResumeCheckpoint(resume, every=3),
        *([Crash(crash)] if crash else []),
    ]
    cohort = world.cohort()
    trainer = world.trainer(callbacks, CsvTracker(folder / "metrics.csv", last_step=done))
    trainer.fit(cohort, train_dataloaders=world.loader(), ckpt_path=resume if going_on else None, weights_only=True)
    return cohort


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".ckpt"
    }


@pytest.mark.parametrize(
    ("tower", "crash", "config"),
    [
        ("vit", 2, SNAPSHOTS),
        ("vit", 3, SNAPSHOTS),
        ("vit", 8, SNAPSHOTS),
        ("rn", 5, SNAPSHOTS),
        ("vit", 4, SWAD),
        ("rn", 7, SWAD),
    ],
)
def test_a_crashed_training_goes_on_to_the_same_bytes(
    world: World, request: pytest.FixtureRequest, tmp_path: Path, tower: str, crash: int, config: HistoryConfig
) -> None:
    world = world.but(
        clip=request.getfixturevalue(tower),
        sources=("art", "photo"),
        train=TrainConfig(steps=STEPS, lr=1e-3, warmup=2),
        harmonization=HarmonizationConfig("sign_consensus", every=2),
    )
    whole = fit(world, tmp_path / "whole", config=config)
    with pytest.raises(RuntimeError, match="crashed on purpose"):
        fit(world, tmp_path / "part", crash, config)
    resumed = fit(world, tmp_path / "part", config=config)

    expected = world.weights(whole)
    for source, named in world.weights(resumed).items():
        assert all(torch.equal(expected[source][name], tensor) for name, tensor in named.items())
    assert content_of(tmp_path / "part") == content_of(tmp_path / "whole")
    samples = kept_samples(whole.learners.values())
    assert kept_samples(resumed.learners.values()) == samples
    assert len(samples) > 0


def test_the_last_step_has_no_checkpoint(world: World, tmp_path: Path) -> None:
    short = world.but(train=TrainConfig(steps=3, lr=1e-3, warmup=2))
    short.fit(short.cohort(), [ResumeCheckpoint(tmp_path / "resume.ckpt", every=3)])
    assert not (tmp_path / "resume.ckpt").exists()

    longer = world.but(train=TrainConfig(steps=4, lr=1e-3, warmup=2))
    longer.fit(longer.cohort(), [ResumeCheckpoint(tmp_path / "resume.ckpt", every=3)])
    assert torch.load(tmp_path / "resume.ckpt", weights_only=True)["global_step"] == 3


def test_the_checkpoint_holds_no_text_head(world: World, tmp_path: Path) -> None:
    world.fit(world.cohort(), [ResumeCheckpoint(tmp_path / "resume.ckpt", every=4)])

    state = torch.load(tmp_path / "resume.ckpt", weights_only=True)["state_dict"]
    assert {".".join(name.split(".")[:2]) for name in state} == {"couplings.0", "members.0", "members.1", "members.2"}
    assert not any("class_features" in name or ".start." in name for name in state)
    assert list(tmp_path.iterdir()) == [tmp_path / "resume.ckpt"]


def test_the_time_of_the_killed_run_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("hamdg.cohort.resume.time.monotonic", lambda: now)
    first = ResumeCheckpoint(tmp_path / "resume.ckpt", every=1)
    now = 130.0
    second = ResumeCheckpoint(tmp_path / "resume.ckpt", every=1)
    second.load_state_dict(first.state_dict())
    now = 135.0

    assert second.seconds_before == 30.0
    assert second.state_dict()["seconds"] == 35.0


def test_checkpoints_come_by_time(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, []
    monkeypatch.setattr("hamdg.cohort.resume.time.monotonic", lambda: now)
    callback = ResumeCheckpoint(tmp_path / "resume.ckpt", minutes=1.0)

    class Clock(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
        ) -> None:
            nonlocal now
            callback._writer.wait()
            if (tmp_path / "resume.ckpt").exists():
                written.append(torch.load(tmp_path / "resume.ckpt", weights_only=True)["global_step"])
            now += 25.0

    world.fit(world.cohort(), [Clock(), callback])
    assert written == [3, 3, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["resume.ckpt"]


def test_a_checkpoint_is_the_state_of_its_step_whatever_is_trained_meanwhile(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, write = threading.Event(), resume.write_checkpoint

    def slow(checkpoint: object, path: Path) -> None:
        assert done.wait(60)
        write(checkpoint, path)

    class Free(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
        ) -> None:
            if trainer.global_step == 4:
                self.state = {name: value.clone() for name, value in tensors(pl_module).items()}
            if trainer.global_step == 5:
                done.set()

    monkeypatch.setattr(resume, "write_checkpoint", slow)
    free = Free()
    cohort = world.cohort()
    world.fit(cohort, [free, ResumeCheckpoint(tmp_path / "resume.ckpt", every=4)])
    found = torch.load(tmp_path / "resume.ckpt", weights_only=True)
    assert found["global_step"] == 4
    state = {name: value for name, value in found["state_dict"].items() if isinstance(value, torch.Tensor)}
    assert any(not torch.equal(state[name], value) for name, value in tensors(cohort).items())
    assert all(torch.equal(state[name], value) for name, value in free.state.items())


def tensors(module: LightningModule) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def test_a_disk_that_is_full_ends_the_training(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(checkpoint: object, path: Path) -> None:
        raise StorageError(f"Cannot write `{path}`")

    monkeypatch.setattr(resume, "write_checkpoint", full)
    with pytest.raises(StorageError, match=r"^Cannot write `"):
        world.fit(world.cohort(), [ResumeCheckpoint(tmp_path / "resume.ckpt", every=5)])
