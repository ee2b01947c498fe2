"""Interruptions, full disks, two processes, exploding losses: a sentence, an exit code, and a run that can go on."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hamdg import cli
from hamdg.cohort.cohort import Cohort
from hamdg.config.controls import controls_of
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import control_runs, pipeline

if TYPE_CHECKING:
    from hamdg.stages.context import Context
    from tests.stages.conftest import Commander, Outcome, Tiny, Zygote

FEW = ("--train.steps=12", "--runtime.checkpoint_every=2", "--history.kind=snapshots")


def contents(run: RunDirectory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def one_line(outcome: Outcome) -> str:
    assert "Traceback" not in outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    return lines[0]


def interrupted(zygote: Zygote, argv: list[str], folder: Path, number: signal.Signals) -> Outcome:
    """Send a signal in the middle of the training, wherever that is on this machine."""
    wait = 0.4
    while True:
        outcome = zygote.run(argv, folder, after=wait, number=number)
        if outcome.code != 0:
            return outcome
        # It was done before the signal came: once more, and earlier.
        wait, argv = wait / 2, [*argv, "--force"]


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_run_goes_on_to_the_same_bytes(zygote: Zygote, command: Commander) -> None:
    longer = (*FEW, "--train.steps=30")
    calm, stopped = command("calm", *longer, tower="vit"), command("stopped", *longer, tower="vit")
    assert zygote.run(calm.argv, calm.folder).code == 0
    outcome = interrupted(zygote, stopped.argv, stopped.folder, signal.SIGINT)
    assert outcome.code == 130, outcome.err
    assert one_line(outcome) == "hamdg: stopped; repeat the same command to go on from the last checkpoint."
    assert not stopped.directory.is_done
    again = zygote.run(stopped.argv, stopped.folder)
    assert again.code == 0, again.err
    assert stopped.directory.merged.read_bytes() == calm.directory.merged.read_bytes()
    assert stopped.directory.step("train").metrics.read_bytes() == calm.directory.step("train").metrics.read_bytes()


@pytest.mark.parametrize(
    ("raised", "caught"), [(KeyboardInterrupt(), KeyboardInterrupt), (SystemExit(144), SystemExit)]
)
def test_ctrl_c_is_told_from_the_exit_of_a_job_that_is_queued_again(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, raised: BaseException, caught: type[BaseException]
) -> None:
    def training_step(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr(Cohort, "training_step", training_step)
    with pytest.raises(caught) as found:
        pipeline.run(tiny("--runtime.quiet=true"), until="train")
    assert type(found.value) is caught
    assert found.value.args == raised.args


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_to_the_same_bytes(zygote: Zygote, command: Commander) -> None:
    calm, full = command("calm", *FEW, tower="vit"), command("full", *FEW, tower="vit")
    assert zygote.run(calm.argv, calm.folder).code == 0
    files = [path for path in calm.directory.path.rglob("*") if path.is_file()]
    wanted = {"train.json", "metrics.csv", "step-000012.safetensors", "merged.safetensors"}
    said = set()
    # The kernel refuses every file that is larger; each kind of file is the first to fail once.
    for size in sorted({path.stat().st_size for path in files if path.name in wanted}):
        outcome = zygote.run(full.argv, full.folder, file_limit=size - 1)
        assert outcome.code == 1, (size, outcome.err)
        line = one_line(outcome)
        pattern = r"hamdg: error: Cannot write `(.+)`: the file is too large \([\d,]+ MiB free\); (.+)"
        found = re.fullmatch(pattern, line)
        assert found is not None, line
        assert found[2].startswith("nothing was left half-written. Free some space or choose another disk")
        said.add(Path(found[1]).name)
        # The largest file but one is written first, and stays.
        shutil.copy(calm.directory.base, full.directory.base)
    assert len(said) > 2
    again = zygote.run(full.argv, full.folder)
    assert again.code == 0, again.err
    assert full.directory.merged.read_bytes() == calm.directory.merged.read_bytes()


# Needs no torch, whose import is most of what a process costs.
HOLDER = """
import sys
from hamdg.config.reading import read_recipe
from hamdg.runs.directory import RunDirectory

with RunDirectory.open(read_recipe(None, sys.argv[1:])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_on_the_same_run_is_told_who_has_it(
    command: Commander, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command("own", tower="vit")
    argv = [sys.executable, "-c", HOLDER, *own.argv[2:]]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        before = contents(own.directory)
        assert before
        assert cli.main(own.argv) == 2
        assert capsys.readouterr().err == (
            f"hamdg: error: `{own.directory.path}` is in use by process {first.pid}; wait until it ends, or start a "
            "run with another seed or recipe.\n"
        )
        assert contents(own.directory) == before
        first.communicate()
    assert cli.main(own.argv) == 0


@pytest.mark.parametrize("steps", [2, 6])
def test_an_exploding_loss_stops_with_step_source_and_rate(
    command: Commander, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    wild = command("wild", "--train.lr=1e30", "--train.warmup=0", f"--train.steps={steps}", "--runtime.quiet=true")
    assert cli.main(wild.argv) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"hamdg: error: the (loss|gradient norm) of source `(art_painting|cartoon|photo)` became (nan|inf) at step \d "
        r"\(learning rate .+\); nothing was overwritten\. Lower `train\.lr`, lengthen `train\.warmup` or lower "
        r"`train\.clip_norm`\.\n",
        error,
    ), error
    assert not wild.directory.merged.exists()
    assert not wild.directory.step("train").summary.exists()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "noise": lambda path: path.write_bytes(b"\x80\x00\xff{}" * 20),
    "gone": lambda path: path.unlink(),
}
FILES = [
    "config.yaml",
    "start.json",
    "splits.json",
    "train/metrics.csv",
    "train/samples.npz",
    "train/index.json",
    "train/history/cartoon.safetensors",
    "train/last/cartoon.safetensors",
    "train/start/cartoon.safetensors",
    "train.json",
    "merge/merged.safetensors",
    "merge.json",
    "merged.safetensors",
    "validation.json",
    "record.json",
    "base.safetensors",
    "hamdg-*.json",
]
LATE = ("merge/merged.safetensors", "merge.json", "merged.safetensors", "validation.json", "record.json")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_a_run_is_mended_or_named(
    copied: Callable[[str], RunDirectory],
    name: str,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = copied("vit")
    run.unmark_done()
    if name not in LATE:
        # So that what comes after has to be done again, from the damaged file.
        for path in (run.record, run.validation, run.step("merge").summary):
            path.unlink()
    recipe = _recipe(run)
    (path,) = run.path.glob(name)
    DAMAGES[damage](path)
    root = f"--runtime.root={run.path.parents[3]}"
    code = cli.main(["run", str(recipe), root, "--runtime.quiet=true", "--evaluate.lines=0"])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert code in (0, 1, 2)
    if code:
        assert len(error.strip().splitlines()) <= 2
        assert Path(name).name in error or "holds a run of another configuration" in error
    else:
        assert run.is_done


def _recipe(run: RunDirectory) -> Path:
    """Return the recipe at a place that the test does not damage."""
    path = run.path.parents[3] / "recipe.yaml"
    if not path.exists():
        path.write_bytes(run.config.read_bytes())
    return path


def test_a_run_directory_of_another_configuration_is_left_alone(
    copied: Callable[[str], RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("vit")
    recipe = _recipe(run)
    run.config.write_text(run.config.read_text().replace("steps: 4", "steps: 5"))
    before = contents(run)
    assert cli.main(["run", str(recipe), f"--runtime.root={run.path.parents[3]}"]) == 2
    error = capsys.readouterr().err
    assert f"`{run.path}` holds a run of another configuration: `train.steps` is `5` there and `4` here; move" in error
    assert contents(run) == before


def test_force_with_unreadable_weights_keeps_the_finished_run(
    command: Commander,
    finished: Callable[[str], RunDirectory],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "start.safetensors"
    weights.write_bytes(finished("vit").merged.read_bytes())
    second = command("second", f"--model.weights={weights}", "--runtime.quiet=true", tower="vit")
    assert cli.main(second.argv) == 0
    before = contents(second.directory)
    weights.write_bytes(weights.read_bytes()[:1000])
    capsys.readouterr()
    assert cli.main([*second.argv, "--force"]) == 2
    assert "is damaged or truncated" in capsys.readouterr().err
    assert contents(second.directory) == before
    assert run_directory(second.recipe) == second.directory.path


def test_weights_that_changed_since_the_training_are_refused(
    command: Commander,
    finished: Callable[[str], RunDirectory],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "start.safetensors"
    weights.write_bytes(finished("vit").merged.read_bytes())
    second = command("second", f"--model.weights={weights}", "--runtime.quiet=true", tower="vit")
    assert cli.main(second.argv) == 0
    weights.write_bytes(second.directory.merged.read_bytes())
    for path in (second.directory.done, second.directory.record, second.directory.step("merge").summary):
        path.unlink()
    capsys.readouterr()
    assert cli.main(second.argv) == 2
    assert capsys.readouterr().err == (
        f"hamdg: error: The weights of the model `{second.recipe.model.name}` are not those that "
        f"`{second.directory.path}` was trained from; bring them back, or repeat the run with `--force` "
        "(a control: by deleting its folder).\n"
    )
    assert cli.main([*second.argv, "--force"]) == 0


def test_a_control_that_is_in_use_is_waited_for_after_the_runs_own_steps(
    command: Commander, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = command("own", "--controls.erm=true", tower="vit")
    control = RunDirectory.open(controls_of(own.recipe)[0])
    waits = []

    def wait(seconds: float) -> None:
        # By then the run has done all that it can do alone.
        assert own.directory.validation.exists()
        assert not own.directory.record.exists()
        waits.append(seconds)
        if len(waits) == 3:
            control.release()

    monkeypatch.setattr(control_runs, "sleep", wait)
    assert cli.main(own.argv) == 0
    said = capsys.readouterr().out
    assert said.count(f"waiting, as runs share their controls: The ERM control: `{control.path}` is in use by ") == 1
    assert "`--controls.erm=false` does without it." in said
    assert waits == [control_runs.PAUSE] * 3
    assert control.is_done
    assert own.directory.is_done


def test_the_lock_of_a_control_is_held_only_while_it_is_worked_on(
    command: Commander, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = command("own", "--controls.erm=true", "--runtime.quiet=true", tower="vit")
    control, seen = controls_of(own.recipe)[0], []
    take = pipeline._take_steps

    def watched(context: Context, *arguments: Any, **options: Any) -> None:
        take(context, *arguments, **options)
        if context.run.path == own.directory.path:
            with RunDirectory.open(control) as run:
                seen.append(run.validation.exists())

    monkeypatch.setattr(pipeline, "_take_steps", watched)
    assert cli.main(own.argv) == 0
    assert seen == [True]


@pytest.mark.parametrize("algorithm", ["ham", "coral"])
def test_parts_of_a_batch_are_refused_before_the_control_is_trained(tiny: Tiny, algorithm: str) -> None:
    recipe = tiny(f"--algorithm={algorithm}", "--controls.erm=true", "--train.accumulate=2")
    with pytest.raises(ConfigError, match=r"needs the whole batch, which cannot be split into 2 parts"):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()
