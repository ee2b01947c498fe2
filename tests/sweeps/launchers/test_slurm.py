"""The launcher for SLURM with a stand-in for its queue, and with submitit's own local one."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import submitit
from submitit.core.utils import FailedJobError

from hamdg.errors import ConfigError, RunInUseError
from hamdg.sweeps.launchers import JobLostError, read_launcher, slurm, start
from hamdg.sweeps.launchers.remote import Answer, Witness
from hamdg.sweeps.launchers.slurm import ResumableJob, Slurm, SlurmExecutor

if TYPE_CHECKING:
    from concurrent.futures import Executor

LINE = "-" * 22


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "POLL", 0.01)
    monkeypatch.setattr(slurm, "MOMENT", 0.2)


class StandIn:
    """A job that submitit has submitted.

    Args:
        number: Its number.
        job: What it does when it is asked whether it is done.
        folder: Where its files lie.
    """

    def __init__(self, number: str, job: ResumableJob[object], folder: Path) -> None:
        self.job_id, self.job, self.state = number, job, "COMPLETED"
        names = {"result_pickle": "result.pkl", "submitted_pickle": "submitted.pkl", "stdout": "log.out"}
        paths = {name: folder / f"{number}_{file}" for name, file in names.items()}
        self.paths = SimpleNamespace(**paths)
        self.paths.submitted_pickle.touch()
        self.answer: Answer[object] | Exception | None = None
        self.is_held = False
        self.cancelled = 0

    def done(self) -> bool:
        if not self.is_held and self.answer is None:
            self.answer = self.job()
            self.paths.result_pickle.touch()
        return not self.is_held

    def result(self) -> Answer[object]:
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer

    def cancel(self, check: bool) -> None:
        self.cancelled += 1


class Queue:
    """Submits jobs as submitit does.

    Args:
        folder: Where their files lie.
        prepare: What is done to each one at once.
    """

    def __init__(self, folder: Path, prepare: Callable[[StandIn], None] = lambda job: None) -> None:
        self.folder, self.prepare = folder, prepare
        self.arrays: list[list[StandIn]] = []
        self.error: Exception | None = None

    def submit_array(self, jobs: Sequence[ResumableJob[object]]) -> list[StandIn]:
        if self.error:
            raise self.error
        number = 100 + len(self.arrays)
        self.arrays.append([StandIn(f"{number}_{place}", job, self.folder) for place, job in enumerate(jobs)])
        for job in self.arrays[-1]:
            self.prepare(job)
        return self.arrays[-1]


def executor(queue: Queue, patience: float = 0.0) -> SlurmExecutor:
    return SlurmExecutor(cast("submitit.AutoExecutor", queue), Witness(queue.folder), patience)


def in_use() -> None:
    raise RunInUseError("`logs/x` is in use by process 1; wait until it ends.")


def test_what_is_handed_over_together_is_one_array(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with executor(queue) as pool:
        futures = [pool.submit(int, str(number)) for number in range(5)]
        assert [future.result() for future in futures] == [0, 1, 2, 3, 4]
        assert pool.submit(int, "7").result() == 7
    assert [len(array) for array in queue.arrays] == [5, 1]
    assert not list(tmp_path.iterdir())  # the log is submitit's


def test_an_error_of_a_run_comes_back_as_itself_and_names_the_log(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with executor(queue) as pool:
        error = pool.submit(in_use).exception()
    assert type(error) is RunInUseError
    assert error.__notes__ == [f"The log of its job is `{tmp_path / '100_0_log.out'}`."]


def test_a_job_without_a_result_names_its_state_and_log(tmp_path: Path) -> None:
    def lose(job: StandIn) -> None:
        job.state, job.answer = "OUT_OF_MEMORY", Answer(())

    with executor(Queue(tmp_path, lose)) as pool:
        error = pool.submit(int).exception()
    assert str(error) == (
        f"Its job 100_0 ended without a result (out_of_memory); its log is `{tmp_path / '100_0_log.out'}`."
    )
    assert isinstance(error, JobLostError)


def test_a_result_that_shows_up_late_is_waited_for(tmp_path: Path) -> None:
    def delay(job: StandIn) -> None:
        job.answer = Answer((3,))
        job.done = lambda: time.monotonic() < begun + 0.3 or job.paths.result_pickle.touch() is None  # type: ignore[method-assign]

    begun = time.monotonic()
    with executor(Queue(tmp_path, delay), patience=10) as pool:
        assert cast("object", pool.submit(int).result()) == 3
    assert time.monotonic() > begun + 0.3


def test_a_job_that_submitit_fails_says_what_it_said(tmp_path: Path) -> None:
    def fail(job: StandIn) -> None:
        trace = (
            f"Traceback:\n  File ...\nUncompletedJobError: Job not requeued because: timed-out too many times.\n{LINE}"
        )
        job.answer = FailedJobError(f"Job (task=0) failed during processing with trace:\n{LINE}\n{trace}\nYou can ...")
        job.paths.result_pickle.touch()

    with executor(Queue(tmp_path, fail)) as pool:
        error = pool.submit(int).exception()
    assert str(error) == (
        "Its job 100_0 failed (UncompletedJobError: Job not requeued because: timed-out too many times.); its log is "
        f"`{tmp_path / '100_0_log.out'}`."
    )


def test_jobs_that_slurm_does_not_take_say_why(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.error = FailedJobError("sbatch: error: invalid partition specified: gpuu")
    with executor(queue) as pool:
        error = pool.submit(int).exception()
        assert str(error) == "SLURM did not take its job (sbatch: error: invalid partition specified: gpuu)."
        queue.error = None
        assert pool.submit(int, "2").result() == 2


def test_an_array_is_cancelled_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []
    monkeypatch.setattr("subprocess.call", lambda command, shell: commands.append(command))
    monkeypatch.setattr(submitit.SlurmJob, "_register_in_watcher", lambda self: None)
    queue = Queue(tmp_path, lambda job: setattr(job, "is_held", True))
    pool = executor(queue)
    for number in range(3):
        pool.submit(int, str(number))
    while not queue.arrays:
        time.sleep(0.01)
    monkeypatch.setattr(slurm, "MOMENT", 10)
    late = pool.submit(int, "3")
    pool.shutdown(cancel_futures=True)
    assert commands == [["scancel", "100"]]
    assert late.cancelled() or late.running()


def test_options_are_those_of_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "srun"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    queue = submitit.AutoExecutor(tmp_path / "logs", cluster="slurm")
    options = Slurm(
        partition="gpu",
        account="lab",
        qos="low",
        constraint="a100|h100",
        time=90,
        cpus=8,
        gpus=1,
        memory=32.5,
        parallel=4,
        setup=["module load cuda"],
        sbatch={"reservation": "night"},
    )
    queue.update_parameters(**options._parameters())
    text = queue._executor._make_submission_file_text("python", "1")  # type: ignore[attr-defined]
    flags = set(re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE))
    assert flags >= {
        "partition=gpu",
        "account=lab",
        "qos=low",
        "constraint='a100|h100'",
        "time=90",
        "cpus-per-task=8",
        "gpus-per-node=1",
        "mem=33280MB",
        "reservation=night",
        "job-name=hamdg",
        "signal=USR2@90",
    }
    assert "\nmodule load cuda\n" in text
    assert "srun --unbuffered" in text
    assert "--cpus-per-task=8 python" in text
    assert queue._executor.parameters["array_parallelism"] == 4
    assert options.threads(7) == 8
    assert Slurm().threads(7) == 0


@pytest.mark.parametrize("option", ["setup=[module load cuda]", "sbatch={reservation: night}"])
def test_what_is_for_slurm_alone_is_refused_without_it(option: str) -> None:
    message = f"`launcher.slurm.{option.partition('=')[0]}` is not used with `cluster: local`; leave one of them out."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_launcher(None, "slurm", ["--launcher.slurm.cluster=local", f"--launcher.slurm.{option}"])


def test_submitit_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "The launcher `slurm` needs submitit; install it with `pip install 'hamdg[slurm]'`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        start(Slurm(), 2, tmp_path)


def test_a_machine_without_slurm_is_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = (
        "The launcher `slurm` needs `sbatch`, which this machine does not have; repeat the command on a login node of "
        "the cluster, or try it out here with `--launcher.slurm.cluster=local`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        start(Slurm(), 2, tmp_path)


def test_a_job_that_is_queued_again_is_the_same_one(tmp_path: Path) -> None:
    job = ResumableJob(partial(int, "3"), Witness(tmp_path).path)
    again = job.checkpoint()
    assert again.function is job
    assert again.result().result() == 3


def sleep_once(mark: Path) -> int:
    """Return how often this was called; the first call takes long."""
    with mark.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if (calls := len(mark.read_text().splitlines())) == 1:
        time.sleep(60)
    return calls


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Executor]:
    pool = start(Slurm(cluster="local", cpus=1, time=60), 2, tmp_path)
    yield pool
    pool.shutdown(cancel_futures=True)


@pytest.mark.slow
def test_jobs_of_submitit_end_die_and_are_preempted(local: Executor, tmp_path: Path) -> None:
    mark = tmp_path / "calls"
    futures: list[Any] = [
        local.submit(int, "3"),
        local.submit(in_use),
        local.submit(os._exit, 3),
        local.submit(sleep_once, mark),
    ]
    while not mark.exists() or not mark.read_text():
        time.sleep(0.05)
    os.kill(int(mark.read_text()), signal.SIGUSR2)
    assert futures[0].result() == 3
    assert type(futures[1].exception()) is RunInUseError
    (note,) = futures[1].exception().__notes__
    assert Path(note.split("`")[1]).is_file()
    assert re.fullmatch(
        r"Its job \d+ ended without a result \(finished\); its log is `.*_0_log\.out`\.", str(futures[2].exception())
    )
    assert futures[3].result() == 2
    assert {path.suffix for path in (tmp_path / "slurm").iterdir()} == {".out"}
    local.shutdown()
    assert not list(tmp_path.glob(".shared*"))
