"""A checkpoint that training cannot go on from: said, and the step starts again, to the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributed import DistNetworkError

from hamdg import cli
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.resume import CheckpointError, read_checkpoint
from hamdg.runs.directory import RunDirectory
from hamdg.stages import pipeline
from hamdg.tracking.rows import read_rows

if TYPE_CHECKING:
    from tests.stages.conftest import Command, Commander, Tiny

FEW = ("--history.kind=snapshots", "--runtime.checkpoint_every=1", "--runtime.quiet=true")
ORIGIN = {"training": "12345678", "start_sha256": "0" * 64}


def stopped(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch, step: int = 3) -> None:
    """Start a training and stop it in a step, with the checkpoint of the one before."""
    whole = Cohort.training_step

    def training_step(self: Cohort, batch: Any, batch_idx: int) -> None:
        if batch[0] == step:
            raise KeyboardInterrupt
        whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Cohort, "training_step", training_step)
        make()


def zeroed(path: Path) -> None:
    """Set some of the largest tensor's bytes to zero, which `torch.load` does not notice."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensors = [entry for entry in archive.infolist() if "/data/" in entry.filename]
        largest = max(tensors, key=lambda entry: entry.file_size)
        start = largest.header_offset + 200 + len(largest.filename)
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def changed(**values: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        torch.save(torch.load(path, weights_only=True) | values, path)

    return change


def of_another_training(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["callbacks"]["ResumeCheckpoint"]["origin"]["training"] = "another"
    torch.save(content, path)


def without_shapes(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {name: tensor[:1].clone() for name, tensor in content["state_dict"].items()}
    torch.save(content, path)


def a_folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged or no checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged or no checkpoint"),
    "noise": (lambda path: path.write_bytes(b"PK\x03\x04" + b"\x80\x05." * 200), "is damaged or no checkpoint"),
    "a zeroed tensor": (zeroed, "is damaged (the checksum of `"),
    "a pickle of code": (lambda path: torch.save(Path, path), "is damaged or no checkpoint"),
    "a list": (lambda path: torch.save([1, 2], path), "is damaged (expected it to be a mapping, but got `[1, 2]`)"),
    "no loops": (changed(loops=[]), "is damaged (expected `loops` to be a mapping"),
    "tensors for a step": (changed(global_step=torch.ones(3)), "is damaged (expected `global_step` to be an integ"),
    "a step too far": (changed(global_step=99), "is damaged (it claims to be of step 99 of 4)"),
    "another model": (without_shapes, "is of another training"),
    "another run's": (of_another_training, "is of another training"),
    "a folder": (a_folder_instead, "is damaged or no checkpoint"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a whole checkpoint of two small tensors, as Lightning writes them; tests work on copies."""
    path = tmp_path_factory.mktemp("checkpoint") / "resume.ckpt"
    state = {
        "global_step": 2,
        "state_dict": {"a": torch.ones(300, 2), "b": torch.arange(3.0)},
        "callbacks": {"ResumeCheckpoint": {"origin": dict(ORIGIN), "seconds": 1.0}},
        "loops": {},
        "optimizer_states": [{}],
        "lr_schedulers": [{}],
    }
    torch.save(state, path)
    return path


LIKE = {"a": torch.zeros(300, 2), "b": torch.zeros(3)}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_with_a_checkpoint_is_said(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "resume.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    assert read_checkpoint(path, LIKE, 4, ORIGIN) == 2
    change, said = DAMAGES[damage]
    change(path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, LIKE, 4, ORIGIN)
    assert str(caught.value).startswith(said)
    assert "weights_only" not in str(caught.value)


def test_a_checkpoint_of_an_earlier_version_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "resume.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    del content["callbacks"]["ResumeCheckpoint"]["origin"]
    torch.save(content, path)
    assert read_checkpoint(path, LIKE, 4, ORIGIN) == 2


def unlike_any_optimizer(path: Path) -> None:
    changed(optimizer_states=[{"state": {}, "param_groups": [{"params": [0]}]}])(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (zeroed, "is damaged (the checksum of `"),
        (unlike_any_optimizer, "holds a state that training cannot take over"),
    ],
)
def test_the_training_starts_again_and_ends_as_if_nothing_had_happened(
    command: Commander,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    said: str,
) -> None:
    calm, hurt = command("calm", *FEW, tower="vit"), command("hurt", *FEW, tower="vit")
    assert cli.main(calm.argv) == 0
    stopped(lambda: cli.main(hurt.argv), monkeypatch)
    run = hurt.directory
    assert run.step("train").resume.is_file()
    stray = run.step("train").folder / "snapshots" / "photo" / "step-000099.safetensors"
    stray.write_bytes(b"")
    damage(run.step("train").resume)
    capsys.readouterr()
    assert cli.main(hurt.argv) == 0
    error = capsys.readouterr().err
    assert error.startswith(f"hamdg: warning: `{run.step('train').resume}` {said}")
    assert error.endswith("; the step starts again.\n")
    assert error.count("\n") == 1
    assert not stray.exists()
    assert_same(hurt, calm)


def assert_same(found: Command, expected: Command) -> None:
    ours, theirs = found.directory, expected.directory
    assert ours.is_done
    names = sorted(str(path.relative_to(theirs.path)) for path in theirs.path.rglob("*.safetensors"))
    assert names == sorted(str(path.relative_to(ours.path)) for path in ours.path.rglob("*.safetensors"))
    for name in (*names, "train/index.json", "splits.json"):
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    assert read_rows(ours.step("train").metrics) == read_rows(theirs.step("train").metrics)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), DistNetworkError("address in use")])
def test_what_the_machine_is_to_blame_for_costs_no_checkpoint(
    command: Commander, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = command("own", *FEW, tower="vit")
    stopped(lambda: cli.main(own.argv), monkeypatch)
    resume = own.directory.step("train").resume
    before = resume.read_bytes()

    def fail(*_: object) -> None:
        raise error

    # As another process on the same GPU makes it happen, before the state is taken over.
    monkeypatch.setattr("hamdg.stages.fit._Training._train", fail)
    with pytest.raises(type(error)):
        cli.main(own.argv)
    assert resume.read_bytes() == before


def test_start_weights_that_changed_in_the_middle_of_the_training_are_refused(
    tiny: Tiny, command: Commander, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = RunDirectory(pipeline.run(tiny(*FEW, tower="vit"), until="merge").parent).base
    weights = tmp_path / "start.safetensors"
    weights.write_bytes(base.read_bytes())
    own = command("own", f"--model.weights={weights}", *FEW, tower="vit")
    stopped(lambda: cli.main(own.argv), monkeypatch)
    weights.write_bytes(base.read_bytes()[:-64] + bytes(64))
    capsys.readouterr()
    assert cli.main(own.argv) == 2
    assert capsys.readouterr().err == (
        f"hamdg: error: The weights of the model `{own.recipe.model.name}` are not those that `{own.directory.path}` "
        "was trained from; bring them back, or repeat the run with `--force` (a control: by deleting its "
        "folder).\n"
    )
    assert own.directory.step("train").resume.is_file()
