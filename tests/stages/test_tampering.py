"""Files of a run that were changed, exchanged, lost or written by another program: named before they are used."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.digests import sha256_file
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import read_record
from tests.stages.repeated import Capture, again, error_of

if TYPE_CHECKING:
    from tests.stages.conftest import Commander
    from tests.tiny import Tower

Copied = Callable[["Tower"], RunDirectory]


def zeroed(path: Path) -> None:
    """Set the last bytes to zero, and the time of modification back."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-64] + bytes(64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


ANEW = ["base.safetensors", "merge.json", "merged.safetensors", "validation.json", "record.json"]
HISTORY = ["train/metrics.csv", "train/index.json", "train/history/photo.safetensors"]
TRAINED = ["train.json", "splits.json", "start.json", *HISTORY]


@pytest.mark.parametrize("name", [*ANEW, "merge/merged.safetensors", *TRAINED])
@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
def test_a_done_run_says_which_of_its_files_is_no_longer_its_own(
    copied: Copied, name: str, gone: bool, capsys: Capture
) -> None:
    run = copied("vit")
    path = run.path / name
    path.unlink() if gone else zeroed(path)
    assert again(run) == 2
    what = "is missing" if gone else "is not the file that it ended with"
    first = "delete `merge.json` and " if name.startswith("merge/") else "" if gone else "delete it and "
    rewrite = f"{first}let `hamdg evaluate {run.path}` write it again"
    remedy = "repeat the run with `--force`" if name in TRAINED else rewrite
    assert error_of(capsys) == f"`{run.path}` is done, but `{name}` {what}; restore it, or {remedy}."


def test_evaluate_writes_again_what_follows_from_the_training(copied: Copied) -> None:
    run = copied("vit")
    before = {file: (run.path / file).read_bytes() for file in ("base.safetensors", "merged.safetensors")}
    rows = read_record(run.path)["rows"]
    for name in ANEW:
        (run.path / name).unlink()
    assert cli.main(["evaluate", str(run.path)]) == 0
    assert {file: (run.path / file).read_bytes() for file in before} == before
    assert read_record(run.path)["rows"] == rows
    assert again(run) == 0


def test_another_model_is_not_evaluated_under_the_run_s_name(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    before = run.record.read_bytes(), run.done.read_bytes()
    shutil.copyfile(run.base, run.merged)
    assert cli.main(["evaluate", str(run.path)]) == 2
    assert error_of(capsys) == (
        f"`{run.merged}` is not the file that the export wrote (its digest differs); restore it, or delete it and "
        "repeat the command."
    )
    assert (run.record.read_bytes(), run.done.read_bytes()) == before
    run.merged.unlink()
    assert cli.main(["evaluate", str(run.path)]) == 0


def test_a_run_that_is_not_done_tests_its_own_merged_model_alone(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    run.unmark_done()
    run.record.unlink()
    zeroed(run.merged)
    assert again(run) == 2
    assert f"`{run.merged}` is not the file that the export wrote (its digest differs)" in error_of(capsys)
    run.merged.unlink()
    assert again(run) == 0


def test_the_record_goes_with_the_step_that_it_follows_from(copied: Copied) -> None:
    run = copied("vit")
    before = json.loads(run.record.read_text())
    run.unmark_done()
    # Of weights that the step, done on another machine, will not give again.
    run.record.write_text(json.dumps(before | {"held_out_accuracy": 0.123, "files": {}}))
    run.step("merge").summary.unlink()
    assert again(run) == 0
    assert read_record(run.path)["held_out_accuracy"] == before["held_out_accuracy"]


def test_a_failed_evaluation_keeps_the_record(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copied("vit")
    before = run.record.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.stages.evaluate._measured", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main(["evaluate", str(run.path)])
    assert run.record.read_bytes() == before
    assert again(run) == 0


def test_a_training_that_was_changed_is_not_merged_again(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    path = run.step("train").folder / "history" / "cartoon.safetensors"
    zeroed(path)
    siblings = sorted(run.path.parent.iterdir())
    assert cli.main(["merge", str(run.path), "--merge.options.keep=0.3"]) == 2
    assert error_of(capsys) == (
        f"`{path}` is not the file that the step `train` wrote (its digest differs); restore it, or repeat the run "
        "with `--force`."
    )
    assert sorted(run.path.parent.iterdir()) == siblings


def test_a_training_that_was_changed_is_not_taken_over(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    path = run.step("train").folder / "history" / "cartoon.safetensors"
    zeroed(path)
    assert again(run, "--merge.options.keep=0.3", "--runtime.quiet=false") == 0
    said = capsys.readouterr().out
    assert (
        f"the step `train` of `{run.path}` is not taken: `{path}` is not the file that the step `train` wrote" in said
    )
    (other,) = [one for one in run.path.parent.iterdir() if one != run.path]
    index = json.loads(run.step("train").index.read_text())["sources"]["cartoon"]["history"][0]
    assert sha256_file(other / "train" / "history" / "cartoon.safetensors") == index["sha256"]


def test_a_control_that_was_changed_is_not_put_into_a_table(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    (control,) = (run.path.parents[1] / "erm").iterdir()
    zeroed(control / "merged.safetensors")
    assert again(run, "--merge.options.keep=0.3", "--controls.erm=true") == 2
    assert error_of(capsys) == (
        f"The ERM control: `{control}` is done, but `merged.safetensors` is not the file that it ended with; restore "
        f"it, or repeat the control by deleting `{control}`. `--controls.erm=false` does without it."
    )


def test_a_copy_of_a_run_is_read_once_and_then_known(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copied("vit")
    for path in run.path.rglob("*.safetensors"):
        os.utime(path)
    assert again(run) == 0
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.runs.manifest.sha256_file", lambda path: pytest.fail(f"read {path}"))
        assert again(run) == 0


def test_a_run_of_a_version_without_digests_is_shown_with_a_note(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    run.done.write_bytes(b"")
    assert again(run, "--runtime.quiet=false") == 0
    note = f"`{run.path}` was written by a version without digests; its files cannot be checked"
    assert note in capsys.readouterr().out


def test_a_damaged_mark_is_a_sentence_and_can_be_deleted(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    run.done.write_bytes(run.done.read_bytes()[:100])
    assert again(run) == 2
    error = error_of(capsys)
    assert error.startswith(f"`{run.done}` is damaged (")
    assert error.endswith("); delete it and repeat the command, or repeat the run with `--force`.")
    run.done.unlink()
    assert again(run) == 0


def from_a_file(copied: Copied, command: Commander, *more: str) -> tuple[list[str], RunDirectory, Path]:
    """Give the command of a done run that started from a weights file, the run, and the file."""
    first = copied("vit")
    weights = first.path / "start.safetensors"
    shutil.copyfile(first.merged, weights)
    own = command("own", f"--model.weights={weights}", "--runtime.quiet=true", *more, tower="vit")
    assert cli.main(own.argv) == 0
    return own.argv, own.directory, weights


def test_a_done_run_says_that_its_start_weights_are_others_now(
    copied: Copied, command: Commander, capsys: Capture
) -> None:
    argv, run, weights = from_a_file(copied, command)
    digest = sha256_file(weights)
    capsys.readouterr()
    for how, what in (
        (Path.stat, ""),
        (os.utime, ""),
        (zeroed, f"and `{weights}` is another file now"),
        (Path.unlink, "which is gone"),
    ):
        how(weights)
        assert cli.main(argv) == 0
        said = capsys.readouterr()
        assert "RHM" in said.out
        warning = (
            f"hamdg: warning: The results of `{run.path}` belong to other weights: the model was read from "
            f"`{weights}` (SHA-256 {digest}), {what}; `{run.base}` keeps them.\n"
        )
        assert said.err == (warning if what else "")


def test_a_control_that_started_from_other_weights_is_refused(
    copied: Copied, command: Commander, capsys: Capture
) -> None:
    argv, _, weights = from_a_file(copied, command, "--controls.erm=true")
    zeroed(weights)
    capsys.readouterr()
    assert cli.main([*argv, "--merge.options.keep=0.3"]) == 2
    error = error_of(capsys)
    assert re.search(r"are not those that `.+/erm/seed0-\w+` was trained from; bring them back, or repeat", error)
    assert error.endswith(" (a control: by deleting its folder).")


def test_a_sibling_s_damaged_summary_stops_no_other_run(copied: Copied) -> None:
    run = copied("vit")
    run.step("train").summary.write_text("[]")
    assert again(run, "--merge.options.keep=0.3") == 0


@pytest.mark.parametrize("name", ["splits.json", "start.json"])
def test_a_run_that_lost_what_it_began_with_does_not_go_on(copied: Copied, name: str, capsys: Capture) -> None:
    run = copied("vit")
    run.unmark_done()
    run.step("merge").summary.unlink()
    (run.path / name).unlink()
    assert again(run) == 2
    error = error_of(capsys)
    assert error.startswith(f"`{run.path / name}` is missing")
    assert error.endswith("repeat the run with `--force`.")
    assert again(run, "--force") == 0


def test_what_follows_from_a_step_is_done_again_with_it(copied: Copied, capsys: Capture) -> None:
    run = copied("vit")
    before = {path: path.read_bytes() for path in run.path.rglob("*.safetensors")}
    run.unmark_done()
    run.step("train").summary.unlink()
    stray = run.step("train").folder / "stray.txt"
    stray.write_text("of a process that died before its first checkpoint")
    zeroed(run.step("merge").folder / "merged.safetensors")
    capsys.readouterr()
    assert again(run, "--runtime.quiet=false") == 0
    assert capsys.readouterr().out.count("done before") == 2  # the control's steps
    assert {path: path.read_bytes() for path in run.path.rglob("*.safetensors")} == before
    assert not stray.exists()


@pytest.mark.parametrize("name", ["train/history/cartoon.safetensors", "merge/merged.safetensors"])
def test_a_step_whose_file_was_changed_is_done_again_once_its_summary_is_deleted(
    copied: Copied, name: str, capsys: Capture
) -> None:
    run = copied("vit")
    before = {path: path.read_bytes() for path in run.path.rglob("*.safetensors")}
    run.unmark_done()
    zeroed(run.path / name)
    step = run.step(name.partition("/")[0])
    assert again(run) == 2
    assert error_of(capsys) == (
        f"`{run.path / name}` is not the file that the step `{step.name}` wrote (its digest differs); restore it, or "
        f"delete `{step.summary}` and let `hamdg run` do that step again."
    )
    step.summary.unlink()
    assert again(run) == 0
    assert {path: path.read_bytes() for path in run.path.rglob("*.safetensors")} == before


def test_the_state_of_a_step_that_is_done_is_removed_and_no_other_run_takes_it(copied: Copied) -> None:
    run = copied("vit")
    run.unmark_done()
    run.step("train").resume.write_bytes(b"of a process that died just before it removed it")
    assert again(run, "--merge.options.keep=0.3") == 0
    (other,) = [RunDirectory(one) for one in run.path.parent.iterdir() if one != run.path]
    assert not other.step("train").resume.exists()
    assert other.step("train").index.samefile(run.step("train").index)
    assert again(run) == 0
    assert not run.step("train").resume.exists()
