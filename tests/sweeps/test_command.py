"""`hamdg sweep`: what it lists, how far runs are, which of them it makes, and what it says of failures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hamdg import cli
from hamdg.errors import StorageError, TrainingError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.lock import OWNER
from hamdg.sweeps import sweep
from hamdg.sweeps.jobs import Job, by_training, jobs_of
from hamdg.sweeps.ledger import Ledger, ledger_of
from hamdg.sweeps.sweep_file import read_sweep
from tests.sweeps.conftest import Inline

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

# Two held-out domains; ERM, and HAM with two merges of one training.
GRID: dict[str, object] = {
    "held_out": ["sketch", "photo"],
    "seeds": [0],
    "conditions": None,
    "controls": True,
    "variants": {"HAM": {"recipe": "ham.yaml"}, "coral": {"recipe": "coral.yaml"}},
    "include": [{"variant": "HAM", "set": {"merge.options.keep": 0.3}}],
}


@pytest.fixture
def grid(sweep_file: SweepFile, tmp_path: Path) -> Path:
    (tmp_path / "coral.yaml").write_text("algorithm: coral\ntrain: {steps: 40}\n")
    return sweep_file(**GRID)


def jobs(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path, threads=1)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["sweep", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, *arguments, "--json"))
    return found


def rows(text: str) -> list[list[str]]:
    """Return the lines of a table that are about runs."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.startswith("seed")]


def test_a_dry_run_lists_the_runs_and_who_trains(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, grid, "--dry-run")
    first, second, third = (run_directory(job.recipe).name for job in jobs(grid)[:3])
    control = re.search(r"control erm (seed0-\w{8})", text)
    assert control is not None
    assert rows(text)[:3] == [
        [first, "HAM", "clean", "sketch", "0", "waiting", f"train, merge, evaluate; control erm {control[1]}"],
        [second, "coral", "clean", "sketch", "0", "waiting", "train, evaluate"],  # the control is HAM's, too
        [third, "HAM, keep=0.3", "clean", "sketch", "0", "waiting", f"merge, evaluate; training of {first}"],
    ]
    assert text.splitlines()[-1] == "6 waiting; 4 to train, and 2 controls"
    assert not (tmp_path / "logs").exists()


def test_a_dry_run_as_json_has_the_commands_and_hashes(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, grid, "--dry-run")
    assert found["counts"] == {"done": 0, "running": 0, "failed": 0, "stopped": 0, "waiting": 6}
    assert (found["trainings"], found["controls"]) == (4, 2)
    own = found["runs"][2]
    assert own["run"].endswith(f"/mini/sketch/ham/seed0-{own['hash']}")
    assert (own["variant"], own["steps"]) == ("HAM, keep=0.3", ["train", "merge", "evaluate"])
    assert own["trained_by"] == found["runs"][0]["run"]
    assert own["command"].startswith("hamdg run ")


def test_processes_that_train_together_are_counted(sweep_file: SweepFile, capsys: pytest.CaptureFixture[str]) -> None:
    several = {"recipe": "erm.yaml", "set": {"runtime.devices": 2}}
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants={"ERM": several})
    (line,) = rows(said(capsys, path, "--dry-run"))
    assert line[-1] == "train, merge, evaluate; 2 processes"
    (run,) = document(capsys, path, "--dry-run")["runs"]
    assert run["processes"] == 2


def test_a_grid_of_a_million_points_is_refused_before_one_is_made(
    sweep_file: SweepFile, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"train.lr": [1e-6 * (1 + n) for n in range(100)], "train.steps": list(range(1, 101))}
    path = sweep_file(
        held_out=["sketch", "photo"], seeds=50, conditions=None, variants={"ERM": {"recipe": "erm.yaml"}}, grid=values
    )
    assert cli.main(["sweep", str(path), "--dry-run"]) == 2
    fix = "but a sweep can have 100,000; give its `grid` fewer values, or split it into several files."
    assert f"`{path}` asks for 1,000,000 runs or more, {fix}" in capsys.readouterr().err


def test_one_run_is_singular(sweep_file: SweepFile, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants={"ERM": {"recipe": "erm.yaml"}})
    assert re.search(r"table\.yaml: 1 run; ledger ", said(capsys, path, "--dry-run"))
    assert re.search(r"table\.yaml: 1 run: 1 waiting; ledger ", said(capsys, path, "--status"))


def test_what_is_done_of_a_run_is_not_to_do(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (RunDirectory(run_directory(job.recipe)) for job in jobs(grid)[:3])
    for run in (first, second):
        run.path.mkdir(parents=True)
    first.step("train").summary.touch()
    second.done.touch()
    second.record.touch()
    found = rows(said(capsys, grid, "--dry_run", "--only", "sketch"))
    assert [line[5] for line in found] == ["stopped", "done", "waiting"]
    assert found[0][6].startswith("merge, evaluate; control erm ")
    assert found[1][6] == "\N{EN DASH}"
    assert found[2][6] == f"merge, evaluate; training of {first.path.name}"
    assert third.path.exists() is False


@pytest.fixture
def halfway(grid: Path) -> Iterator[Path]:
    """Make one run of each kind: done, running, failed, stopped, and two that wait."""
    done, running, failed, stopped = jobs(grid)[:4]
    ledger = ledger_of(read_sweep(grid), grid)
    ledger.open()
    for job in (done, failed, stopped):
        run_directory(job.recipe).mkdir(parents=True)
    for name in ("done", "record.json"):
        (run_directory(done.recipe) / name).touch()
    ledger.add(done, str(run_directory(done.recipe)), 10.0)
    ledger.add(failed, TrainingError("the loss became nan"), 3.0)
    with RunDirectory.open(running.recipe):
        yield grid


def test_the_status_says_how_far_all_runs_are(halfway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(halfway.parent.rglob("*"))
    text = said(capsys, halfway, "--status")
    head, *lines = text.splitlines()
    assert re.fullmatch(
        r".*table\.yaml: 6 runs: 1 done, 1 running, 1 failed, 1 stopped, 2 waiting, about \S+ s left, until \d\d:\d\d; "
        r"ledger .*table-\w{8}\.jsonl",
        head,
    )
    ((name, variant, condition, held_out, seed, _, who),) = rows(text)
    assert (variant, condition, held_out, seed, who) == ("coral", "clean", "sketch", "0", f"process {os.getpid()}")
    assert name == run_directory(jobs(halfway)[1].recipe).name
    assert re.fullmatch(
        r"failed: variant `HAM, keep=0\.3`, condition `clean`, held out `sketch`, seed 0: the loss became nan\.; its "
        r"traceback is in .+\.txt",
        lines[-1],
    )
    assert sorted(halfway.parent.rglob("*")) == before


def test_the_status_as_json(halfway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, halfway, "--status")
    assert [run["state"] for run in found["runs"]] == ["done", "running", "failed", "stopped", "waiting", "waiting"]
    assert found["runs"][0]["seconds"] == 10.0
    assert found["runs"][2]["error"] == "the loss became nan."
    # One at a time: ten seconds each for the run at work and the three that wait.
    assert 39 < found["seconds_left"] <= 40


def test_a_killed_process_runs_no_longer(halfway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = run_directory(jobs(halfway)[4].recipe)
    waiting.mkdir(parents=True)
    # What a killed process leaves: its lock's file and its note.
    (waiting / ".lock").touch()
    (waiting / OWNER).write_text("1 elsewhere\n")
    assert document(capsys, halfway, "--status")["counts"]["stopped"] == 2


def test_the_status_of_a_changed_file_knows_what_failed_before(
    halfway: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    halfway.write_text(f"{halfway.read_text()}title: another one\n")
    found = document(capsys, halfway, "--status")
    assert [run["state"] for run in found["runs"]][:3] == ["done", "running", "failed"]


@pytest.mark.parametrize(
    ("patterns", "variants"),
    [
        (["HAM"], ["HAM", "HAM, keep=0.3"] * 2),
        (["HAM, *"], ["HAM, keep=0.3"] * 2),
        (["variant=coral", "held_out=photo"], ["coral"]),
        (["photo", "coral", "HAM, keep=0.3"], ["coral", "HAM, keep=0.3"]),
        (["seed=0", "clean", "sketch"], ["HAM", "coral", "HAM, keep=0.3"]),
    ],
)
def test_only_some_runs(
    grid: Path, capsys: pytest.CaptureFixture[str], patterns: list[str], variants: list[str]
) -> None:
    assert [line[1] for line in rows(said(capsys, grid, "--dry-run", "--only", *patterns))] == variants


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "HMA"], "`--only`: no run of the sweep fits `HMA`; did you mean `HAM`?"),
        (["--only", "seed=3"], "`--only`: no run of the sweep fits `seed=3`; there are `0`."),
        (["--shard", "3"], "`--shard`: expected which part of how many, such as `1/4` for the first of"),
        (["--shard", "5/4"], "`--shard`: expected which part of how many, such as"),
        (["--shard", "9/9"], "`--shard=9/9` has no runs: fewer trainings are left than parts."),
        (["--dry-run", "--status"], "not allowed with argument"),
    ],
)  # fmt: skip
def test_choices_that_make_no_sense(
    grid: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["sweep", str(grid), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_shards_are_all_runs_once_and_trainings_stay_together(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = [line[0] for line in rows(said(capsys, grid, "--dry-run"))]
    parts = [[line[0] for line in rows(said(capsys, grid, "--dry-run", "--shard", f"{n}/3"))] for n in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    groups = [{whole[number] for number in numbers} for numbers in by_training(jobs(grid)).values()]
    assert all(any(group <= {*part} for part in parts) for group in groups)
    again = [[line[0] for line in rows(said(capsys, grid, "--dry-run", "--shard", f"{n}/3"))] for n in (1, 2, 3)]
    assert again == parts


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace the runs, all of which fail; return what was tried."""
    tried: list[Job] = []

    def work(job: Job) -> str:
        tried.append(job)
        raise TrainingError("the loss became nan")

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    return tried


def test_all_failures_are_listed_and_the_status_is_1(
    grid: Path, broken: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", str(grid), "--processes", "1", "--only", "coral"]) == 1
    output = capsys.readouterr()
    assert [job.variant for job in broken] == ["coral", "coral"]
    for name in ("sketch", "photo"):
        assert f"  variant `coral`, condition `clean`, held out `{name}`, seed 0: the loss became nan.\n" in output.err
    assert output.err.startswith("hamdg: error: 2 of 2 runs failed:\n")
    assert output.err.count("    traceback: ") == 2
    assert "% correct" not in output.out


def test_failures_as_json(grid: Path, broken: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", str(grid), "--processes", "1", "--json"]) == 1
    output = capsys.readouterr()
    runs = json.loads(output.out)["runs"]
    assert [run["state"] for run in runs] == ["failed"] * 6
    assert {run["error"] for run in runs} == {"the loss became nan."}
    assert "6 of 6 runs failed" in output.err


def test_a_full_disk_stops_neither_the_sweep_nor_its_list_of_failures(
    grid: Path, broken: list[Job], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise StorageError(f"Cannot write `{path}`: the disk is full.")

    def no_line(ledger: Ledger, line: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hamdg.sweeps.ledger.write_text", full)
    monkeypatch.setattr(Ledger, "_append", no_line)
    assert cli.main(["sweep", str(grid), "--processes", "1"]) == 1
    err = capsys.readouterr().err
    assert len(broken) == 6
    warning = (
        r"hamdg: warning: what becomes of runs cannot be written down: Cannot write `.*jsonl`: the disk is full \("
    )
    assert len(re.findall(warning, err)) == 1
    assert "6 of 6 runs failed:" in err
    assert "traceback:" not in err
    assert err.count("the loss became nan.") == 6


def test_failures_are_listed_although_the_results_cannot_be_shown(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(job: Job) -> str:
        raise TrainingError("the loss became nan")

    def no_server(*what: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    monkeypatch.setattr("hamdg.sweeps.tracking.log_table", no_server)
    assert cli.main(["sweep", str(grid)]) == 1
    err = capsys.readouterr().err
    assert "6 of 6 runs failed:\n" in err
    assert "The results of the others cannot be shown: ConnectionError: no server.\n" in err
