"""What becomes of a sweep's jobs: outcomes in order, failures with their tracebacks, and the ledger of both."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import RunDirectoryError, TrainingError
from hamdg.runs.identity import run_directory
from hamdg.sweeps import sweep
from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.launchers.local import Local
from hamdg.sweeps.ledger import SweepError, reason_of_failure
from hamdg.sweeps.sweep import run_sweep
from hamdg.sweeps.sweep_file import read_sweep
from tests.sweeps.conftest import Inline, ledger, run

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace the launcher and the runs; the jobs of seed 3 under noise with `plain` fail."""
    done: list[Job] = []

    def work(job: Job) -> str:
        if (job.condition, job.variant, job.recipe.seed) == ("noisy", "plain", 3):
            raise TrainingError("the loss became nan")
        done.append(job)
        return str(run_directory(job.recipe))

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    return done


def test_all_outcomes_come_back_in_order(sweep_file: SweepFile, inline: list[Job], tmp_path: Path) -> None:
    path = sweep_file(conditions=None)
    outcomes = run(path)

    assert (
        [outcome.job for outcome in outcomes] == inline == jobs_of(read_sweep(path), path, len(os.sched_getaffinity(0)))
    )
    assert all(not outcome.error for outcome in outcomes)
    assert [line["run"] for line in ledger(tmp_path)] == [str(run_directory(job.recipe)) for job in inline]


def test_a_failed_job_is_named_and_its_traceback_kept_while_the_others_finish(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file()
    with pytest.raises(SweepError) as caught:
        run(path)

    (lines,) = (tmp_path / "logs" / "sweeps").glob("*.jsonl")
    failed = [line for line in ledger(tmp_path) if line["error"]]
    first, second = (
        f"variant `plain`, condition `noisy`, held out `{name}`, seed 3" for name in ("sketch", "art_painting")
    )
    assert str(caught.value).splitlines() == [
        "2 of 16 runs failed:",
        f"  {first}: the loss became nan.",
        f"    traceback: {failed[0]['traceback']}",
        f"  {second}: the loss became nan.",
        f"    traceback: {failed[1]['traceback']}",
        f"All outcomes are in `{lines}`; the same command tries what failed again.",
    ]
    assert caught.value.exit_code == 1
    assert f"/16 failed: {first}: the loss became nan.\n" in capsys.readouterr().out
    assert len(inline) == 14
    assert len(ledger(tmp_path)) == 16
    assert [(line["condition"], line["variant"], line["seed"], line["run"], line["error"]) for line in failed] == [
        ("noisy", "plain", 3, "", "the loss became nan.")
    ] * 2
    for line in failed:
        text = Path(line["traceback"]).read_text()
        assert text.startswith(
            f"variant `plain`, condition `noisy`, held out `{line['held_out']}`, seed 3\n\nTraceback"
        )
        assert "in work\n" in text


def test_the_traceback_of_a_job_that_then_succeeds_is_removed(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file(conditions={"noisy": {"data.mini.label_noise": 0.2}}, seeds=[3])
    with pytest.raises(SweepError):
        run(path)
    assert len(list((tmp_path / "logs" / "sweeps").glob("*/*.txt"))) == 2
    monkeypatch.setattr(sweep, "run_job", lambda job: str(run_directory(job.recipe)))
    run(path)
    assert not list((tmp_path / "logs" / "sweeps").glob("*/*.txt"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("It stopped."), "It stopped."),
        (KeyError("art"), "KeyError: 'art'."),
    ],
)
def test_reasons_are_sentences(error: BaseException, reason: str) -> None:
    assert reason_of_failure(error) == reason


@pytest.mark.parametrize("root", ["file/logs", "file"])
def test_a_root_below_a_file_is_explained(sweep_file: SweepFile, inline: list[Job], tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    path = sweep_file(root=str(tmp_path / root))
    message = (
        f"Cannot write to `{tmp_path / root / 'sweeps'}`: not a directory; choose another `root` in the sweep file, "
        "or `--runtime.root` of `hamdg run`."
    )
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        run(path)
    assert inline == []


def test_a_home_folder_is_found(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(sweep_file(root="~/logs", conditions=None))
    assert len(ledger(tmp_path)) == 8
    assert not (tmp_path / "~").exists()


def test_a_repeated_sweep_appends_to_its_ledger(sweep_file: SweepFile, inline: list[Job], tmp_path: Path) -> None:
    path = sweep_file(conditions=None)
    run(path)
    run(path)

    assert len(ledger(tmp_path)) == 16


def test_threads_are_divided_among_the_runs_that_are_left(
    sweep_file: SweepFile, inline: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hamdg.sweeps.launchers.local.usable_cores", lambda: 12)
    monkeypatch.setattr("hamdg.sweeps.launchers.local.visible_gpus", list)
    own = {"recipe": "erm.yaml", "set": {"runtime.precision": "fp32"}}
    path = sweep_file(conditions=None, held_out=["sketch"], variants={"ERM": own})
    given = read_sweep(path)
    for processes, threads in ((None, 6), (8, 6), (1, 12)):
        run_sweep(path, given, processes, Local())
        assert [job.recipe.runtime.threads for job in inline] == [threads] * 2
        assert f", {threads} threads each; " in capsys.readouterr().out
        inline.clear()
    (job, _) = jobs_of(given, path)
    few = replace(job, recipe=replace(job.recipe, runtime=replace(job.recipe.runtime, threads=3)))
    run_sweep(path, given, None, Local(), [few])
    assert [job.recipe.runtime.threads for job in inline] == [3]
