from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError
from hamdg.sweeps.launchers import JobLostError, local
from hamdg.sweeps.launchers.local import Local, Processes
from tests.sweeps.launchers.conftest import TINY, results, sweep, working

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a function that gives this machine GPUs and cores for one test."""

    def pretend(gpus: int, cores: int = 8, visible: str | None = None) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        monkeypatch.setattr(local, "usable_cores", lambda: cores)

    return pretend


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Callable[[Local, int], list[tuple[str | None, int]]]:
    """Return a function that tells which GPUs and how many threads each process of a launcher gets."""
    monkeypatch.setattr(local, "Processes", list)

    def work(launcher: Local, workers: int) -> list[tuple[str | None, int]]:
        found = launcher.start(workers, Path())
        return [(one.get("CUDA_VISIBLE_DEVICES"), int(one["OMP_NUM_THREADS"])) for one in found]  # type: ignore[attr-defined]

    return work


Slots = Callable[[Local, int], list[tuple[str | None, int]]]


def test_without_gpus_there_is_a_process_for_each_core(machine: Machine, slots: Slots) -> None:
    machine(0, cores=6)
    assert Local().workers() == 6
    assert [Local().threads(workers) for workers in (None, 1, 2, 4, 12)] == [1, 6, 3, 1, 1]
    assert slots(Local(), 2) == [(None, 3), (None, 3)]


def test_each_gpu_has_a_process_that_sees_no_other(machine: Machine, slots: Slots) -> None:
    machine(4)
    assert Local().workers() == 4
    assert Local().threads(None) == 2
    assert slots(Local(), 4) == [("0", 2), ("1", 2), ("2", 2), ("3", 2)]


def test_fewer_runs_than_gpus_have_more_threads(machine: Machine, slots: Slots) -> None:
    machine(4)
    assert slots(Local(), 2) == [("0", 4), ("1", 4)]


def test_more_runs_than_gpus_share_them_in_turn(machine: Machine, slots: Slots) -> None:
    machine(2)
    assert slots(Local(), 5) == [("0", 1), ("1", 1), ("0", 1), ("1", 1), ("0", 1)]


@pytest.mark.parametrize(
    ("gpus", "shares"),
    [
        (0.5, ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (1 / 3, ["0", "1", "2", "3"] * 3),
        (0.7, ["0", "1", "2", "3"]),
        (2, ["0,1", "2,3"]),
        (3, ["0,1,2"]),
        (1.5, ["0,1", "2,3"]),
    ],
)
def test_runs_may_share_a_gpu_or_have_several(machine: Machine, slots: Slots, gpus: float, shares: list[str]) -> None:
    machine(4)
    assert Local(gpus).workers() == len(shares)
    assert [share for share, _ in slots(Local(gpus), len(shares))] == shares


def test_gpus_that_were_chosen_before_are_the_only_ones(machine: Machine, slots: Slots) -> None:
    machine(2, visible="3, MIG-7f")
    assert Local().workers() == 2
    assert [share for share, _ in slots(Local(), 3)] == ["3", "MIG-7f", "3"]


def test_an_empty_choice_leaves_none(machine: Machine, slots: Slots) -> None:
    machine(0, visible="")
    assert Local().workers() == 8
    assert slots(Local(), 1) == [(None, 8)]


def test_runs_without_gpus_see_none(machine: Machine, slots: Slots) -> None:
    machine(2)
    assert Local(0).workers() == 8
    assert slots(Local(0), 2) == [("", 4), ("", 4)]


def test_more_gpus_than_there_are_is_an_error(machine: Machine) -> None:
    machine(2)
    message = "`launcher.local.gpus` is 4, but this process sees 2 GPU(s)."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Local(4).start(1, Path())


def test_stopping_ends_what_is_under_way_and_begins_nothing_else(tmp_path: Path) -> None:
    executor = Processes([{}])
    begun, cleaned = tmp_path / "begun", tmp_path / "cleaned"
    running, waiting = executor.submit(_work, begun, cleaned), executor.submit(_work, begun, cleaned)
    while not begun.exists():
        time.sleep(0.01)
    since = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - since < 10
    assert isinstance(running.exception(), KeyboardInterrupt)
    assert cleaned.read_text() == "once"
    assert waiting.cancelled()


def test_what_takes_no_notice_is_ended_all_the_same(tmp_path: Path) -> None:
    executor = Processes([{}])
    begun = tmp_path / "begun"
    deaf = executor.submit(_take_no_notice, begun)
    while not begun.exists():
        time.sleep(0.01)
    since = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - since < 10
    with pytest.raises(JobLostError, match=r"^It was stopped with its sweep; it goes on from its last checkpoint\.$"):
        deaf.result()


def test_without_stopping_a_job_comes_to_its_end(tmp_path: Path) -> None:
    executor = Processes([{}])
    future = executor.submit(time.sleep, 0.5)
    executor.shutdown()
    assert future.exception() is None


def _work(begun: Path, cleaned: Path) -> None:
    """Work for a minute, and clean up for a while, during which Ctrl-C comes a second time."""
    begun.touch()
    try:
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        with cleaned.open("a") as file:
            file.write("once")


def _take_no_notice(begun: Path) -> None:
    begun.touch()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(KeyboardInterrupt):
            time.sleep(0.1)


@pytest.mark.slow
def test_a_process_has_its_slot_and_one_that_dies_takes_only_its_own_job_with_it() -> None:
    with Processes([{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "6"}]) as executor:
        dead, *alive = (executor.submit(os._exit, 9), executor.submit(int, "1"), executor.submit(int, "2"))
        message = "^Its process was killed; the system does that when memory runs out.$"
        with pytest.raises(JobLostError, match=message):
            dead.result()
        assert [future.result() for future in alive] == [1, 2]
        # Each place has a process again, with the same GPU.
        assert {executor.submit(os.getpid).result() for _ in range(8)}.isdisjoint({os.getpid()})
        seen = [executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() for _ in range(8)]
        assert set(seen) <= {"5", "6"}


@pytest.mark.distributed
@pytest.mark.timeout(600)
def test_ctrl_c_that_reaches_a_sweep_alone_ends_its_runs_which_then_go_on(
    sweep_file: SweepFile, tmp_path: Path
) -> None:
    long = {"recipe": "erm.yaml", "set": TINY}
    grid: dict[str, object] = {"held_out": ["sketch"], "seeds": [0], "conditions": None, "variants": {"ERM": long}}
    stopped, alone = tmp_path / "stopped", tmp_path / "alone"
    path = sweep_file(**grid, root=str(stopped))
    process = sweep(path, "--processes=1")
    while (worker := next(working(stopped), None)) is None:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert not Path(f"/proc/{worker}").exists()
    assert not results(stopped)
    for root in (stopped, alone):
        again = sweep(sweep_file(**grid, root=str(root)), "--processes=1")
        said, _ = again.communicate()
        assert again.returncode == 0, said
    assert len(results(stopped)) == 1
    assert results(stopped) == results(alone)
