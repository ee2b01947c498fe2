"""Runs on a Ray cluster: one in this process, or one that is there already."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from hamdg import console
from hamdg.cores import usable_cores
from hamdg.errors import ConfigError
from hamdg.sweeps.launchers.base import JobLostError, Launcher
from hamdg.sweeps.launchers.remote import Answer, RemoteJob, Witness
from hamdg.text import excerpt, reason_of
from hamdg.values import Filled, Range

if TYPE_CHECKING:
    from ray import ObjectRef

SignalHandler = Callable[[int, FrameType | None], object] | int | None

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_WITHIN = 5.0
# Clusters that have no address: one in this process, and that of this machine.
_WORDS = ("local", "auto")
# The first bytes of both sides of HTTP/2, which Ray's servers speak; its dashboard and most others do not.
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5
# Ray's sockets lie in its folder, and the path of a socket has 107 bytes at most: so many are left for the place.
_LONGEST_PLACE = 20
# What is sent are jobs and paths: kilobytes.
_STORE = 100_000_000


@dataclass(frozen=True)
class Ray(Launcher):
    """Ray: a cluster in this process, or one that is there already.

    Args:
        address: The cluster: `local` (one in this process, which ends with it), `auto` (that of this machine),
            `host:port` or `ray://host:port`; by default what `RAY_ADDRESS` says, else `local`.
        cpus: CPUs of each run, which has as many threads.
        gpus: GPUs of each run: 0.5 lets two runs share one; by default 1 where the cluster has any.
        retries: How often a run goes on elsewhere after its process or machine died; its own errors are final.
    """

    address: Annotated[str, Filled()] | None = None
    cpus: Annotated[float, Range(0, 1024)] = 1.0
    gpus: Annotated[float, Range(0, 64)] | None = None
    retries: Annotated[int, Range(0, 1000)] = 3

    def threads(self, workers: int | None) -> int:
        """Return a thread for each CPU of a run."""
        return max(1, int(self.cpus))

    def check(self) -> None:
        """Check that the address is one; whether a cluster answers there is seen at the start."""
        if (address := self._address) not in _WORDS and _host_and_port(address) is None:
            where = "launcher.ray.address" if self.address else "RAY_ADDRESS"
            raise ConfigError(
                f"Expected `{where}` to be `local`, `auto`, `host:port` or `ray://host:port`, but got "
                f"`{excerpt(address)}`."
            )

    @property
    def _address(self) -> str:
        return self.address or os.environ.get("RAY_ADDRESS") or "local"

    def start(self, workers: int, folder: Path) -> Executor:
        """Connect to the cluster, or start one."""
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("The launcher `ray` needs Ray; install it with `pip install 'hamdg[ray]'`.")
        self.check()
        return RayExecutor(self, folder, connect(self._address))


class RayExecutor(Executor):
    """Hands jobs to the Ray cluster that this process is connected to, which decides where and when they run.

    Args:
        options: What each job gets.
        folder: The sweep's folder.
        leave: What leaves the cluster; `None` to stay.
    """

    def __init__(self, options: Ray, folder: Path, leave: Callable[[], None] | None) -> None:
        import ray

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = (1.0 if resources.get("GPU") else 0.0) if options.gpus is None else options.gpus
        for name, wanted in (("CPU", options.cpus), ("GPU", gpus)):
            if wanted > resources.get(name, 0.0):
                console.note(
                    f"a run asks for {wanted:g} {name}(s), but the Ray cluster has {resources.get(name, 0.0):g}; "
                    "waiting for a machine that has them"
                )
        # Errors of a run are its answer, so that whatever ends a task otherwise is a machine's or a process's fault.
        decorate = ray.remote(num_cpus=options.cpus, num_gpus=gpus, max_retries=options.retries)
        self._call: Callable[[RemoteJob[Any]], ObjectRef[Answer[Any]]] = decorate(_do).remote
        self._retries, self._witness, self._leave = options.retries, Witness(folder), leave
        self._open: dict[Future[Any], ObjectRef[Any]] = {}
        self._lock = threading.Lock()
        self._ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand a function that can be pickled to the cluster."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        reference = self._call(RemoteJob(partial(fn, *args, **kwargs), self._witness.path))
        with self._lock:
            self._open[future] = reference
        reference.future().add_done_callback(partial(self._settle, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster when all jobs have ended, since none outlives that; with `cancel_futures` end them now."""
        import ray

        with self._lock:
            if self._ended:
                return
            self._ended, left = True, dict(self._open)
        if not cancel_futures:
            wait_for(left)
        elif self._leave is None:  # otherwise they end with the connection
            for reference in left.values():
                ray.cancel(reference, force=True)
        if self._leave is not None:
            self._leave()
        self._witness.remove()

    def _settle(self, future: Future[T], raw: Future[Answer[T]]) -> None:
        """Give a future the answer that came, or what it means that none did."""
        with self._lock:
            self._open.pop(future, None)
        error: BaseException
        try:
            future.set_result(raw.result().result())
        except Exception as caught:
            error = caught if raw.exception() is None else _explained(caught, self._retries)
            future.set_exception(error)


def _do(job: RemoteJob[T]) -> Answer[T]:
    """Do a job, in a worker of the cluster."""
    return job()


def connect(address: str) -> Callable[[], None] | None:
    """Connect this process to a Ray cluster, and return what leaves it; `None` if it was connected before.

    Args:
        address: As for `Ray`.

    Raises:
        ConfigError: If there is none at the address.
    """
    before, handler, folder = _variables(), signal.getsignal(signal.SIGTERM), None
    import ray  # which sets variables

    if ray.is_initialized():  # by whoever calls hamdg from Python; the cluster is theirs to leave
        return None
    try:
        if address == "local":
            folder = _short_folder()
            _start_local(folder)
        else:
            _check_reachable(address)
            # One try, which may take most of a minute, in place of twenty.
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        _leave(before, handler, folder)
        if isinstance(error, ConfigError):
            raise
        where = "start a Ray cluster" if folder else f"join the Ray cluster `{excerpt(address)}`"
        raise ConfigError(f"Cannot {where} ({type(error).__name__}: {excerpt(error, 300)}).") from error
    return partial(_leave, before, handler, folder)


def _start_local(folder: Path) -> None:
    """Start a cluster that nobody else reaches, sends nothing anywhere and writes to one folder alone."""
    import ray

    # Without a token Ray would write one to the home folder.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": _token()}
    ray.init(
        "local",
        num_cpus=usable_cores(),
        object_store_memory=_STORE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder),
        # Otherwise a run that needs more memory than there is is tried for ever.
        _system_config={"task_oom_retries": 0},
    )


def _leave(before: dict[str, str], handler: SignalHandler, folder: Path | None) -> None:
    """Leave the cluster, which ends if it was started here, and undo what Ray did to this process."""
    import ray

    ray.shutdown()
    for name in _variables().keys() - before.keys():
        del os.environ[name]
    os.environ |= before
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _variables() -> dict[str, str]:
    """Return the environment variables that Ray reads and sets."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_") or name == "PYTHONBREAKPOINT"}


@cache  # Ray reads it once in a process
def _token() -> str:
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Return where an address says that a cluster is; `None` if it does not say."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (host, port) if host and port and parts.scheme in ("", "ray") else None


def _check_reachable(address: str) -> None:
    """Ask for a cluster before Ray does, which waits for minutes.

    Raises:
        ConfigError: If no server answers.
    """
    if (server_at := _host_and_port(address)) is None:  # `auto`
        return
    try:
        with socket.create_connection(server_at, ANSWER_WITHIN) as server:
            server.sendall(_GREETING)
            is_ray = server.recv(9)[3:4] == _SETTINGS or os.environ.get("RAY_USE_TLS", "0") != "0"
        reason = "" if is_ray else "another service answers"
    except OSError as error:
        reason = reason_of(error).lower()
    if reason:
        raise ConfigError(
            f"No Ray cluster answers at `{excerpt(address)}` ({reason}); start one there with `ray start --head`, "
            "whose port is 6379, or leave out `launcher.ray.address` for one in this process."
        )


def _short_folder() -> Path:
    """Make and return a folder for what a cluster writes; its sockets cannot have long paths."""
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="hamdg-ray-", dir=place if len(place) <= _LONGEST_PLACE else "/tmp"))


def _explained(error: Exception, retries: int) -> JobLostError:
    """Return what it means for a job that Ray has no answer."""
    from ray import exceptions

    again = f", {retries + 1} times in all" if retries else ""
    if isinstance(error, exceptions.OutOfMemoryError):
        text = f"Memory ran out, and its process was ended{again}; give each run more `cpus`, so that fewer share it."
    elif isinstance(error, exceptions.WorkerCrashedError | exceptions.NodeDiedError):
        text = f"Its process or its machine died{again}."
    elif isinstance(error, exceptions.TaskCancelledError):
        text = "It was ended; the same command goes on with it."
    elif isinstance(error, exceptions.RayTaskError):
        text = f"A Ray worker cannot call hamdg ({excerpt(error.cause)}); install what is installed here there, too."
    else:
        text = f"Ray lost it ({type(error).__name__}: {excerpt(error, 300)})."
    lost = JobLostError(text)
    lost.__cause__ = error
    return lost
