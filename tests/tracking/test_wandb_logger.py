"""Weights & Biases: W&B runs read back from their files, and from a server on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import wandb

from hamdg.config.tracking import TrackingConfig
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.interface import log_values
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.links import read_links
from hamdg.tracking.results import CaptionedImage, Confusion, Results, ResultTable
from hamdg.tracking.step import TrackedStep
from hamdg.tracking.tracker import StepTracker, tracked
from tests.tracking.offline import OfflineRun, offline_runs
from tests.tracking.stub_server import stub_server

if TYPE_CHECKING:
    from tests.tracking.conftest import MakeStep
    from tests.tracking.stub_server import StubServer

# Measuring the machine takes W&B a process more.
QUICK = TrackingConfig(loggers=["wandb"], system=False, patience=10)
OFFLINE = TrackingConfig(loggers=["wandb"], system=False, mode="offline")
PHOTO, LAYER = MetricKey("loss", "photo"), MetricKey("cosine/after", "cartoon|photo", "layer1.0")


def follow(config: TrackingConfig, step: TrackedStep, steps: range, results: Results | None = None) -> None:
    """Log a loss of some training steps, and results."""
    with tracked(config, step) as tracker:
        for number in steps:
            log_values(tracker.loggers(), {PHOTO: number / 2, LAYER: -0.5}, number)
        if results is not None:
            tracker.finish(lambda: results)


def read_back(folder: Path) -> dict[str, OfflineRun]:
    """Return the W&B runs below a folder, after the end of the process that writes them."""
    wandb.teardown()
    return offline_runs(folder)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    file = tmp_path / "history" / "photo.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return Results(
        values={"accuracy": 0.5, "merge/method": "rhm", "steps": 4},
        tables={"results": ResultTable(["model", "accuracy"], [["HAM", 0.5], ["ERM", None]])},
        confusions={"confusion": Confusion(["cat", "dog"], np.array([[3, 1], [0, 2]]))},
        images={"mistakes": [CaptionedImage(np.zeros((8, 8, 3), np.uint8), "cat, taken for dog (90%)")]},
        config={"merged_from": ["train-run"]},
        files=[file],
    )


def test_an_offline_run_is_read_back(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep, results: Results
) -> None:
    config = TrackingConfig(loggers=["wandb"], system=False, mode="offline", project="dg", tags=["ablation"])
    follow(config, make_step(), range(1, 5), results)

    (run,) = read_back(tmp_path / "run").values()
    assert (run.id, run.project, run.job_type, run.exit_code) == ("train-run", "dg", "train", 0)
    assert (run.group, run.name, run.tags) == ("mini/sketch/ham/seed0", "train HAM on sketch, seed 0", ["ablation"])
    assert run.config["method"] == "HAM"
    assert run.config["train.lr"] == 0.1
    assert run.config["merged_from"] == ["train-run"]
    assert run.curve("loss/photo") == {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0}
    assert run.curve("by_layer/cosine/after/cartoon|photo/layer1.0") == dict.fromkeys(range(1, 5), -0.5)
    assert run.summary["accuracy"] == 0.5
    assert run.summary["merge/method"] == "rhm"
    kinds = {name: run.summary[f"{name}/_type"] for name in ("results", "confusion_counts", "mistakes")}
    assert kinds == {"results": "table-file", "confusion_counts": "table-file", "mistakes": "images/separated"}
    assert run.summary["mistakes/captions"] == ["cat, taken for dog (90%)"]
    assert run.summary["confusion_counts/nrows"] == 3
    assert "output" not in "".join(run.types), "the console is not captured"


def test_three_runs_in_one_process_stay_three(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep
) -> None:
    trackers = [StepTracker(OFFLINE, make_step("train", f"run{number}")) for number in range(3)]
    for step in (1, 2):
        for number, tracker in enumerate(trackers):
            log_values(tracker.loggers(), {PHOTO: 10.0 * number + step}, step)
    assert wandb.run is None, "the process's own W&B run is not ours to take"
    for tracker in trackers:
        tracker.close()

    found = read_back(tmp_path)
    curves = [found[f"train-run{number}"].curve("loss/photo") for number in range(3)]
    assert curves == [{1: 1.0, 2: 2.0}, {1: 11.0, 2: 12.0}, {1: 21.0, 2: 22.0}]


def test_nothing_is_written_where_w_and_b_is_disabled(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep, results: Results
) -> None:
    follow(TrackingConfig(loggers=["wandb"], mode="disabled"), make_step("a", "a"), range(1, 3), results)
    wandb_session.setenv("WANDB_MODE", "disabled")
    follow(TrackingConfig(loggers=["wandb"]), make_step("b", "b"), range(1, 3), results)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_without_a_login_a_run_goes_on_offline(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "merge"):
        follow(QUICK, make_step(name), range(1, 3))
    assert capsys.readouterr().err.splitlines() == [
        "hamdg: warning: W&B works offline: nobody is logged in; `wandb login` does that once for all runs. "
        f"The run goes on; `wandb sync {tmp_path}/*/wandb` uploads what it logs."
    ]
    assert set(read_back(tmp_path)) == {"train-run", "merge-run"}


def test_without_a_network_a_run_goes_on_offline_within_seconds(
    server: StubServer,
    wandb_session: pytest.MonkeyPatch,
    tmp_path: Path,
    make_step: MakeStep,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wandb_session.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    follow(QUICK, make_step(), range(1, 3))
    assert time.monotonic() - started < 15
    assert "W&B works offline: `http://127.0.0.1:9` does not answer." in capsys.readouterr().err
    assert read_back(tmp_path)["train-run"].curve("loss/photo") == {1: 0.5, 2: 1.0}
    assert not server.runs


def test_an_online_run_reaches_the_server(
    server: StubServer, tmp_path: Path, make_step: MakeStep, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(QUICK, make_step(), range(1, 5), results)

    run = server.runs["train-run"]
    assert (run.project, run.exit_code, run.begun) == ("hamdg", 0, 1)
    assert run.fields["groupName"] == "mini/sketch/ham/seed0"
    assert run.fields["jobType"] == "train"
    assert run.config["method"] == "HAM"
    assert run.config["merged_from"] == ["train-run"]
    assert run.curve("loss/photo") == [(1, 0.5), (2, 1), (3, 1.5), (4, 2)]
    assert run.summary["accuracy"] == 0.5
    assert run.summary["results"]["_type"] == "table-file"
    assert any(name.startswith("train-run/media/images/mistakes") for name in server.files)
    assert set(server.artifacts.values()) == {"run_table"}, "files are not uploaded unless asked for"
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.strip() == f"W&B: {server.url}/tester/hamdg/runs/train-run"


def test_a_repeated_step_continues_its_w_and_b_run(server: StubServer, make_step: MakeStep) -> None:
    follow(QUICK, make_step(), range(1, 5))
    follow(QUICK, make_step(), range(3, 8))
    assert list(server.runs) == ["train-run"]
    assert server.runs["train-run"].curve("loss/photo") == [(step, step / 2) for step in range(1, 8)]


KILLED = """
import os, sys
from pathlib import Path
from hamdg.config.tracking import TrackingConfig
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.step import TrackedStep
from hamdg.tracking.tracker import StepTracker

folder = Path(sys.argv[1])
csv = CsvTracker(folder / "metrics.csv", last_step=0)
step = TrackedStep("train", "train-run", folder, "", "train", "group")
(logger,) = StepTracker(TrackingConfig(loggers=["wandb"], system=False), step).loggers()
for number in range(1, 6):
    for one in (csv, logger):
        one.log({MetricKey("loss", "photo"): number / 2}, number)
    csv.save()
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_in_the_same_w_and_b_run(server: StubServer, tmp_path: Path, make_step: MakeStep) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, stdout=subprocess.DEVNULL)
    assert done.returncode == -9
    # The last checkpoint was written after the fourth step; W&B was killed before it had sent anything.
    tracker = StepTracker(QUICK, make_step(metrics=folder / "metrics.csv"))
    (logger,) = tracker.loggers(last_step=4)
    log_values([logger], {PHOTO: 2.5}, 5)
    tracker.close()
    assert list(server.runs) == ["train-run"]
    assert server.runs["train-run"].curve("loss/photo") == [(step, step / 2) for step in range(1, 6)]


def test_a_stopped_offline_run_is_one_when_it_is_synced(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep
) -> None:
    csv = CsvTracker(tmp_path / "metrics.csv", last_step=0)
    for number in range(1, 4):
        csv.log({PHOTO: number / 2}, number)
    csv.save()
    step = make_step(metrics=csv.path)
    follow(OFFLINE, step, range(1, 6))
    tracker = StepTracker(OFFLINE, step)
    for number in range(4, 9):
        log_values(tracker.loggers(last_step=3), {PHOTO: number / 2}, number)
    tracker.close()
    wandb.teardown()
    assert len(list(tmp_path.rglob("*.wandb"))) == 1
    with stub_server() as server:
        sync(server, tmp_path / "run" / "wandb")
        curve = server.runs["train-run"].curve("loss/photo")
    assert curve == [(step, step / 2) for step in range(1, 9)]


def sync(server: StubServer, folder: Path) -> None:
    """Upload what lies in a folder, as a user does."""
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, env={**os.environ, **server.environment}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_artifacts_are_kept_on_request_and_linked(server: StubServer, make_step: MakeStep, results: Results) -> None:
    config = TrackingConfig(loggers=["wandb"], system=False, artifacts=True)
    follow(config, make_step("train"), range(1, 2), results)
    links = read_links(make_step("train").folder)
    assert links["train"]["artifact"] == "tester/hamdg/train-run:latest"
    follow(config, make_step("merge"), range(1, 2), results._replace(used=[links["train"]]))
    assert server.artifacts["train-run"] == server.artifacts["merge-run"] == "model"
    assert [(one["artifactID"], one["runName"]) for one in server.used] == [("artifact-train-run", "merge-run")]


def test_a_server_that_answers_nonsense_ends_the_logging_and_not_the_step(
    server: StubServer, make_step: MakeStep, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    server.broken = True
    config = TrackingConfig(loggers=["wandb"], system=False, patience=2)
    follow(config, make_step(), range(1, 3), results)
    said = capsys.readouterr().err
    assert said.startswith("hamdg: warning: W&B works offline: it cannot begin (")
    assert read_back(make_step().folder)["train-run-offline"].summary["accuracy"] == 0.5
    # The steps that follow do not wait for it again, and say nothing more.
    started = time.monotonic()
    follow(config, make_step("merge"), range(1, 2), results)
    assert time.monotonic() - started < config.patience
    assert capsys.readouterr().err == ""
    assert "merge-run" in read_back(make_step().folder)


def test_what_is_not_uploaded_in_time_stays_in_the_folder(
    server: StubServer, tmp_path: Path, make_step: MakeStep, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrackingConfig(loggers=["wandb"], system=False, patience=2)
    started = time.monotonic()
    with tracked(config, make_step()) as tracker:
        (logger,) = tracker.loggers()
        server.broken = True
        logger.log_metrics({"loss": 1.0}, 1)
    assert time.monotonic() - started < 20
    assert (
        f"W&B has not taken everything within 2 seconds (`tracking.patience`); `wandb sync --no-skip-online "
        f"{tmp_path}/*/wandb` uploads the rest." in capsys.readouterr().err
    )
    assert read_back(tmp_path)["train-run"].curve("loss") == {1: 1.0}


def test_a_failed_step_is_a_failed_w_and_b_run(server: StubServer, make_step: MakeStep) -> None:
    def fail() -> None:
        with tracked(QUICK, make_step()) as tracker:
            tracker.loggers()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert server.runs["train-run"].exit_code == 1


def test_an_agents_w_and_b_run_is_the_evaluation_of_the_run_itself(
    server: StubServer, wandb_session: pytest.MonkeyPatch, make_step: MakeStep
) -> None:
    wandb_session.setenv("WANDB_SWEEP_ID", "sweep1")
    wandb_session.setenv("WANDB_RUN_ID", "agents")
    wandb_session.setenv("WANDB_PROJECT", "swept")
    for name, is_result in (("train", False), ("evaluate", True)):
        follow(QUICK, make_step(name, is_result=is_result), range(1, 2))
    assert {name: run.fields.get("sweep") for name, run in server.runs.items()} == {
        "train-run": None,
        "agents": "sweep1",
    }
    assert {run.project for run in server.runs.values()} == {"swept"}
    assert os.environ["WANDB_RUN_ID"] == "agents"


def test_a_synced_offline_run_is_the_run(
    wandb_session: pytest.MonkeyPatch, tmp_path: Path, make_step: MakeStep, results: Results
) -> None:
    follow(OFFLINE, make_step(), range(1, 5), results)
    with stub_server() as server:
        sync(server, tmp_path / "run" / "wandb")
        run = server.runs["train-run"]
    assert run.curve("loss/photo") == [(1, 0.5), (2, 1), (3, 1.5), (4, 2)]
    assert run.summary["accuracy"] == 0.5
    assert run.fields["jobType"] == "train"
