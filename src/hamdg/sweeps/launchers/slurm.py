"""Runs as jobs of SLURM, through submitit."""

from __future__ import annotations

import importlib.util
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar

from hamdg.errors import ConfigError
from hamdg.sweeps.launchers.base import JobLostError, Launcher
from hamdg.sweeps.launchers.remote import Answer, RemoteJob, Witness
from hamdg.text import excerpt
from hamdg.values import Range

if TYPE_CHECKING:
    import submitit
    from submitit.core.utils import DelayedSubmission

P = ParamSpec("P")
T = TypeVar("T")

# Seconds between two looks at what has ended; within which jobs that are handed over make one array; and that the file
# system has to show the result of a job that SLURM says has ended.
POLL, MOMENT, PATIENCE = 2.0, 0.5, 20.0
# What submitit puts around a traceback.
_LINE = "-" * 22


@dataclass(frozen=True)
class Slurm(Launcher):
    """SLURM, through submitit: what is handed over together is one job array.

    A job that is preempted or runs out of time is queued again, and its run goes on from its last checkpoint.

    Args:
        partition: The partition; by default the cluster's.
        account: The account.
        qos: The quality of service.
        constraint: Which features a machine must have, such as `a100|h100`.
        time: Minutes that a job may take before it is queued again.
        cpus: CPUs of each run, which has as many threads; by default what the cluster gives.
        gpus: GPUs of each run, all of one machine; by default none are asked for.
        memory: GB of memory of each run.
        parallel: How many jobs of an array run at a time.
        requeues: How often a job that ran out of time is queued again.
        setup: Lines of shell before each job, such as `module load cuda`.
        sbatch: Other options of `sbatch`, without their dashes.
        cluster: `local` makes each job a process of this machine, to try out the rest; it takes neither `setup` nor
            `sbatch`.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Annotated[int, Range(1, 1_000_000)] = 240
    cpus: Annotated[int, Range(1, 1024)] | None = None
    gpus: Annotated[int, Range(0, 64)] | None = None
    memory: Annotated[float, Range(0, above=True)] | None = None
    parallel: Annotated[int, Range(1, 100_000)] = 256
    requeues: Annotated[int, Range(0, 1000)] = 10
    setup: Sequence[str] = field(default_factory=list)
    sbatch: dict[str, str | int] = field(default_factory=dict)
    cluster: Literal["slurm", "local"] = "slurm"

    def threads(self, workers: int | None) -> int:
        """Return a thread for each CPU that a run asks for; 0 where it asks for none."""
        return self.cpus or 0

    def check(self) -> None:
        """Check that no option is for SLURM alone where it is not used."""
        for name in ("setup", "sbatch"):
            if self.cluster == "local" and getattr(self, name):
                raise ConfigError(f"`launcher.slurm.{name}` is not used with `cluster: local`; leave one of them out.")

    def start(self, workers: int, folder: Path) -> Executor:
        """Return what hands jobs to SLURM; their logs lie in a folder `slurm`."""
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError("The launcher `slurm` needs submitit; install it with `pip install 'hamdg[slurm]'`.")
        if self.cluster == "slurm" and (missing := [name for name in ("sbatch", "srun") if shutil.which(name) is None]):
            raise ConfigError(
                f"The launcher `slurm` needs `{missing[0]}`, which this machine does not have; repeat the command on a "
                "login node of the cluster, or try it out here with `--launcher.slurm.cluster=local`."
            )
        import submitit

        queue = submitit.AutoExecutor(folder / "slurm", cluster=self.cluster, slurm_max_num_timeout=self.requeues)
        queue.update_parameters(**self._parameters())
        return SlurmExecutor(queue, Witness(folder), patience=PATIENCE if self.cluster == "slurm" else 0.0)

    def _parameters(self) -> dict[str, object]:
        """Return the options as submitit calls them."""
        # What `srun` starts would get one CPU otherwise: since SLURM 22.05 it does not take the number from `sbatch`.
        srun = [f"--cpus-per-task={self.cpus}"] if self.cpus else None
        found = {
            "name": "hamdg",
            "timeout_min": self.time,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus,
            "mem_gb": self.memory,
            "stderr_to_stdout": True,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_constraint": self.constraint,
            "slurm_array_parallelism": self.parallel,
            "slurm_srun_args": srun,
            "slurm_additional_parameters": self.sbatch or None,
            "slurm_setup": self.setup or None,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class ResumableJob(RemoteJob[T]):
    """A job that goes on when it is queued again: its run finds its last checkpoint by itself."""

    def checkpoint(self) -> DelayedSubmission:
        """Return what is queued again, when submitit asks shortly before the job is ended."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmExecutor(Executor):
    """Hands jobs to SLURM, those of one moment as one array, and looks for their results.

    Args:
        queue: What submits them.
        witness: Shows jobs whether they see the sweep's folder.
        patience: Seconds that the result of a job has to appear after the job's end.
    """

    def __init__(self, queue: submitit.AutoExecutor, witness: Witness, patience: float) -> None:
        self._queue, self._witness, self._patience = queue, witness, patience
        self._waiting: list[tuple[Future[Any], ResumableJob[Any]]] = []
        self._jobs: dict[Future[Any], submitit.Job[Answer[Any]]] = {}
        self._ended_at: dict[Future[Any], float] = {}
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="hamdg-slurm", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand over a function that can be pickled."""
        future: Future[T] = Future()
        job = ResumableJob(partial(fn, *args, **kwargs), self._witness.path)
        with self._changed:
            self._waiting.append((future, job))
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when all jobs have; with `cancel_futures` cancel them now, in SLURM's queue or wherever they run."""
        with self._changed:
            if cancel_futures:
                self._cancel()
            left = [*self._jobs, *(future for future, _ in self._waiting)]
        if not cancel_futures:
            wait_for(left)
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._witness.remove()

    def _cancel(self) -> None:
        """Cancel all jobs that have not ended; an array by one command."""
        import submitit

        for future, _ in self._waiting:
            future.cancel()
        self._waiting.clear()
        arrays = {job.job_id.partition("_")[0]: job for job in self._jobs.values() if not job.done()}
        for number, job in arrays.items():
            whole = job if number == job.job_id else submitit.SlurmJob(self._queue.folder, number)
            whole.cancel(check=False)
        self._jobs.clear()

    def _work(self) -> None:
        """Submit what is waiting and look for results until the executor is shut down."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, POLL)
                if self._closed:
                    return
                count = 0
                while len(self._waiting) > count:  # others follow at once
                    count = len(self._waiting)
                    self._changed.wait(MOMENT)
                batch, self._waiting = self._waiting, []
                self._submit([pair for pair in batch if pair[0].set_running_or_notify_cancel()])
            for future, job in list(self._jobs.items()):
                if job.done():
                    self._settle(future, job)

    def _submit(self, batch: list[tuple[Future[Any], ResumableJob[Any]]]) -> None:
        if not batch:
            return
        from submitit.helpers import clean_env

        try:
            with clean_env():  # a sweep may itself be a job
                jobs = self._queue.submit_array([job for _, job in batch])
        except Exception as error:  # of `sbatch`, above all
            said = (str(error).strip() or type(error).__name__).splitlines()
            for future, _ in batch:
                future.set_exception(JobLostError(f"SLURM did not take its job ({excerpt(said[-1], 300)})."))
            return
        self._jobs.update(zip([future for future, _ in batch], jobs, strict=True))

    def _settle(self, future: Future[Any], job: submitit.Job[Answer[Any]]) -> None:
        """Give a future the answer of a job that has ended, or what it means that there is none."""
        late = time.monotonic() - self._ended_at.setdefault(future, time.monotonic())
        if not job.paths.result_pickle.exists() and late < self._patience:
            return
        try:
            future.set_result(_answer(job).result())
        except Exception as error:
            error.add_note(f"The log of its job is `{job.paths.stdout}`.")
            future.set_exception(error)
        with self._changed:
            self._jobs.pop(future, None)
        for path in (job.paths.result_pickle, job.paths.submitted_pickle):  # what stays is the log
            path.unlink(missing_ok=True)


def _answer(job: submitit.Job[Answer[object]]) -> Answer[object]:
    """Return the answer of a job that has ended.

    Raises:
        JobLostError: If there is none; the message names the job's log.
    """
    from submitit.core.utils import UncompletedJobError

    log = f"its log is `{job.paths.stdout}`."
    if not job.paths.result_pickle.exists():
        raise JobLostError(f"Its job {job.job_id} ended without a result ({job.state.lower()}); {log}")
    try:
        return job.result()
    except UncompletedJobError as error:
        trace = str(error).partition(_LINE)[2].partition(_LINE)[0] or str(error)
        said = trace.strip().splitlines()[-1]
        raise JobLostError(f"Its job {job.job_id} failed ({excerpt(said, 300)}); {log}") from error
