"""Processes that train together: how they are started, how they end, and what they say of failures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.cohort import team
from hamdg.cohort.place import Place, joined_place
from hamdg.cohort.team import StartedTeam
from hamdg.errors import ConfigError, TrainingError
from tests.cohort import members

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "node-0", "MASTER_PORT": "29500"}
SRUN = {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NODELIST": "gpu[07-09]"}
SRUN |= {"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "1234567"}


def test_torchrun_says_where_a_process_stands() -> None:
    place = joined_place(TORCHRUN)
    assert place == Place(3, 4, 1, 2, "node-0", 29500)
    assert place.node == 1


def test_srun_says_where_a_process_stands() -> None:
    place = joined_place(SRUN)
    assert place == Place(4, 6, 0, 2, "gpu07", 19567)
    assert place.node == 2
    assert joined_place({**SRUN, "MASTER_ADDR": "login", "MASTER_PORT": "4000"}) == Place(4, 6, 0, 2, "login", 4000)


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="a shell"),
        pytest.param({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, id="torchrun with one process"),
        pytest.param({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, id="srun with one task"),
        pytest.param({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}, id="sbatch without srun"),
    ],
)
def test_one_process_joins_nobody(environment: dict[str, str]) -> None:
    assert joined_place(environment) is None


def test_a_variable_that_is_no_number_is_named() -> None:
    message = "Expected the environment variable `RANK` to be a number, but got `first`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        joined_place({**TORCHRUN, "RANK": "first"})


def test_what_cannot_be_sent_is_refused_before_processes_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_started", None)
    with (
        pytest.raises(
            ConfigError, match=r"^What is trained cannot be sent to other processes \(.*lambda.*one device\.$"
        ),
        StartedTeam(2).training(lambda place: None, cuda=False),
    ):
        pass


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (members.complain, TrainingError, r"^the second process has had enough\.$"),
        (members.break_down, RuntimeError, r"^Process 2 of 2 failed \(LocalError: a bug\)\.$"),
        (members.die, TrainingError, r"^Process 2 of 2 was killed \(SIGKILL\), .* last checkpoint\.$"),
        (members.leave, TrainingError, r"^Process 2 of 2 ended with exit code 7; repeat the same command to go on"),
    ],
)
def test_a_process_that_fails_ends_all_of_them(
    job: Callable[[Place], None], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised, StartedTeam(2).training(job, cuda=False) as place:
        job(place)
    if job is members.break_down:
        assert 'raise LocalError("a bug")' in str(raised.value.__cause__)


@pytest.mark.distributed
def test_an_error_of_the_first_process_is_its_own() -> None:
    with (
        pytest.raises(ZeroDivisionError, match="mine"),
        StartedTeam(2).training(members.sleep, cuda=False),
    ):
        raise ZeroDivisionError("mine")


HANGING = """
import subprocess, sys, time
from torch.distributed import HashStore
from hamdg.cohort import team
from hamdg.cohort.place import Place
team.LAST_WORDS = 0.1
with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as other:
    with team._watched(HashStore(), [other], Place(0, 2, 0, 2, "", 0)):
        time.sleep(600)
"""


@pytest.mark.distributed
def test_a_process_that_waits_for_its_gpu_ends_when_another_one_has_ended() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", HANGING], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("hamdg: error: Process 2 of 2 ended with exit code 7; repeat the same command")


LEADER = """
from hamdg.cohort.team import StartedTeam
from tests.cohort import members
with StartedTeam(3).training(members.sleep, cuda=False) as place:
    print("started", flush=True)
    members.sleep(place)
"""


@pytest.mark.distributed
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_killed_leader(number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", LEADER], env=environment, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == "started\n"
        others = _children(leader.pid)
        assert len(others) == 2
        leader.send_signal(number)
    end = time.monotonic() + 10
    while any(_runs(other) for other in others) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [other for other in others if _runs(other)]


def _children(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
