"""Sweeps that are killed, damaged, changed or short of disk: the same tables in the end, and a sentence before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hamdg import cli
from hamdg.errors import TrainingError
from hamdg.sweeps import sweep
from hamdg.sweeps.jobs import Job
from tests.stages.conftest import Outcome, Zygote
from tests.sweeps.conftest import Inline, SweepFile
from tests.tiny import tiny_settings

TESTS = Path(__file__).parents[1]
SMALL = tiny_settings(train__steps=4, train__check_every=2, evaluate__lines=2, runtime__checkpoint_every=1)
# Two merges of one training, with one control: three runs.
FEW = {
    "held_out": ["sketch"],
    "seeds": 1,
    "variants": {"HAM": {"recipe": "mini/ham", "set": SMALL}},
    "grid": {"merge.options.keep": [0.2, 0.6]},
    "reports": False,
    "root": "logs",
    "launcher": "inline",
}
# A launcher that makes runs in the sweep's own process: forks of what is imported already start at once.
INLINE = """
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from hamdg.sweeps.launchers import Launcher


class Now(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Inline(Launcher):
    def workers(self):
        return 1

    def threads(self, workers):
        return 1

    def start(self, workers, folder):
        return Now()
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Return what runs commands in forked children that know the launcher `inline`."""
    place = tmp_path_factory.mktemp("inline")
    info = place / "inline_launcher-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inline-launcher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hamdg.launchers]\ninline = inline_launcher:Inline\n")
    (place / "inline_launcher.py").write_text(INLINE)
    paths = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(TESTS / "stages" / "zygote.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


def folder_with(path: Path, **changes: object) -> Path:
    """Make a folder with a sweep file."""
    path.mkdir(parents=True)
    (path / "few.yaml").write_text(yaml.safe_dump({**FEW, **changes}, sort_keys=False))
    return path


def tables(forks: Zygote, folder: Path) -> str:
    """Return what is printed of a finished sweep: its own tables, and those of `hamdg table`."""
    again = forks.run(["sweep", "few.yaml"], folder)
    assert again.code == 0, again.err
    whole = forks.run(["table", "few.yaml", "--models", "all", "--format", "csv"], folder)
    assert whole.code == 0, whole.err
    return again.out.partition("% correct")[2] + whole.out


@pytest.fixture(scope="module")
def calm(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that nothing disturbed; tests must not change it."""
    folder = folder_with(tmp_path_factory.mktemp("calm") / "sweep")
    done = forks.run(["sweep", "few.yaml"], folder)
    assert done.code == 0, done.err
    assert "2 of 2 runs\n" in done.out
    assert len(list(folder.glob("logs/mini/*/*/*/done"))) == 3
    return folder


@pytest.mark.timeout(300)
def test_a_sweep_killed_at_some_files_ends_with_the_same_tables(forks: Zygote, calm: Path, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "killed")
    in_training = False
    for moment in (3, 30, 75):
        assert forks.run(["sweep", "few.yaml"], folder, die_at=moment).code == 77
        in_training = in_training or any(folder.glob("logs/mini/*/*/*/train/resume.ckpt"))
    assert in_training
    assert tables(forks, folder) == tables(forks, calm)
    assert models(folder) == models(calm)
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]


def models(folder: Path) -> dict[str, bytes]:
    """Return the content of all weights below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def damaged(forks: Zygote, calm: Path, tmp_path: Path, name: str, content: bytes) -> Outcome:
    subprocess.run(["cp", "-a", calm, tmp_path / "copy"], check=True)
    path = sorted((tmp_path / "copy").glob(f"logs/mini/sketch/ham/*/{name}"))[0]
    path.write_bytes(content)
    return forks.run(["sweep", "few.yaml"], tmp_path / "copy")


def test_a_damaged_record_of_a_done_run_is_a_named_failure_beside_the_others(
    forks: Zygote, calm: Path, tmp_path: Path
) -> None:
    outcome = damaged(forks, calm, tmp_path, "record.json", b"{")
    assert outcome.code == 1
    assert outcome.err.startswith("hamdg: error: 1 of 2 runs failed: variant `HAM, keep=0.")
    assert "is done, but `record.json` is not the file that it ended with; restore it" in outcome.err
    assert "1 of 2 runs\n" in outcome.out
    # The figures of the other run are shown.
    assert outcome.out.count("HAM, keep=0.") > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_is_a_failure_of_the_runs_that_meet_it(forks: Zygote, calm: Path, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "full")
    largest = max(path.stat().st_size for path in calm.rglob("*") if path.is_file())
    outcome = forks.run(["sweep", "few.yaml"], folder, file_limit=largest - 1)
    assert outcome.code == 1
    assert outcome.err.startswith("hamdg: error: 2 of 2 runs failed:\n  variant `HAM, keep=0.2`, condition `clean`")
    assert outcome.err.count("Cannot write `") == 2
    assert outcome.err.count("    traceback: ") == 2
    assert "Traceback" not in outcome.err
    assert tables(forks, folder) == tables(forks, calm)


def test_a_file_that_is_changed_halfway_is_said_and_each_version_has_its_ledger(
    sweep_file: SweepFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None)
    made: list[str] = []

    def work(job: Job) -> str:
        made.append(job.variant)
        if len(made) == 1:
            path.write_text(path.read_text().replace("plain:", "other:"))
        raise TrainingError("the loss became nan")

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    for _ in range(2):
        assert cli.main(["sweep", str(path), "--processes", "1"]) == 1
    assert made == ["plain", "ERM", "other", "ERM"]
    err = capsys.readouterr().err
    warning = (
        f"hamdg: warning: `{path}` says something else now than when this sweep began, which its tables belong to;"
    )
    assert err.count(warning) == 1
    assert err.index(warning) < err.index("variant `plain`") < err.index("variant `other`")
    assert len(list((tmp_path / "logs" / "sweeps").glob("table-*.jsonl"))) == 2


def test_a_change_of_what_is_shown_alone_is_said_too(
    sweep_file: SweepFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None)

    def work(job: Job) -> str:
        path.write_text(path.read_text().replace("costs: true\n", "") + "costs: true\n")
        raise TrainingError("the loss became nan")

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    said = "says something else now than when this sweep began"
    for is_changed in (True, False):
        assert cli.main(["sweep", str(path), "--processes", "1"]) == 1
        assert (said in capsys.readouterr().err) == is_changed


def sweep_command(folder: Path, processes: int = 1) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "hamdg", "sweep", "few.yaml", f"--processes={processes}"]
    # A session of its own, so that a signal to it reaches no other process.
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, start_new_session=True
    )


# Four domains and three merges of one training each: twelve runs, and four controls.
TWELVE: dict[str, object] = {"held_out": "all", "grid": {"merge.options.keep": [0.2, 0.4, 0.6]}, "launcher": "local"}


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_leave_the_same_tables(forks: Zygote, tmp_path: Path) -> None:
    quiet, killed = folder_with(tmp_path / "quiet", **TWELVE), folder_with(tmp_path / "killed", **TWELVE)
    started = time.monotonic()
    process = sweep_command(quiet)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "12 of 12 runs" in out
    whole, moments = time.monotonic() - started, random.Random(0)
    kills = 0
    while kills < 20:
        process = sweep_command(killed)
        # Most of a command's time goes into its start: moments from there to a few runs later.
        try:
            process.wait(timeout=moments.uniform(0.1, 0.5) * whole)
        except subprocess.TimeoutExpired:
            # All of its processes at once, as where a machine goes down, or the sweep's own alone.
            (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        if process.returncode == 0:
            # It was done before its moment came: from here on something of it is always missing.
            for done in list(killed.glob("logs/mini/*/*/*"))[:: 2 + kills % 3]:
                subprocess.run(["rm", "-rf", done], check=True)
            continue
        assert process.returncode == -signal.SIGKILL, err
        kills += 1
    assert tables(forks, killed) == tables(forks, quiet)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(600)
def test_runs_that_race_for_a_control_train_it_once(tmp_path: Path) -> None:
    variants = {
        name: {"recipe": "mini/ham", "set": {**SMALL, "train.steps": 30, "ham.enrichment.combine": name}}
        for name in ("sum", "mean")
    }
    folder = folder_with(tmp_path / "race", variants=variants, grid={}, launcher="local")
    both = [sweep_command(folder, 2), sweep_command(folder, 2)]
    trainings = set[int]()
    while any(process.poll() is None for process in both):
        for path in folder.glob("logs/mini/*/erm/*/train.json"):
            trainings.add(path.stat().st_ino)
        time.sleep(0.005)
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(trainings) == 1
    assert len(list(folder.glob("logs/mini/*/*/*/done"))) == 3
