"""The launcher for Ray with a stand-in for Ray; tests/sweeps/launchers/test_ray_cluster.py has the real one."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from hamdg.errors import ConfigError, RunInUseError
from hamdg.sweeps.launchers import JobLostError, read_launcher, start
from hamdg.sweeps.launchers.ray import Ray, RayExecutor

if TYPE_CHECKING:
    from concurrent.futures import Executor


class StandIn(ModuleType):
    """Ray as far as the launcher uses it: tasks are threads.

    Args:
        resources: What the cluster has.
    """

    def __init__(self, **resources: float) -> None:
        super().__init__("ray")
        self.resources, self.options = resources, dict[str, float]()
        self.calls: list[str] = []
        self.threads = ThreadPoolExecutor(2)
        self.lost: Exception | None = None
        self.exceptions = ModuleType("ray.exceptions")
        for name in ("OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "TaskCancelledError", "RayTaskError"):
            setattr(self.exceptions, name, type(name, (Exception,), {"cause": ImportError("no hamdg")}))

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: float) -> Callable[[Callable[[object], object]], object]:
        self.options = options
        return self._task

    def cancel(self, reference: Any, force: bool) -> None:
        self.calls.append(f"cancel {force}")

    def _task(self, work: Callable[[object], object]) -> object:
        task = ModuleType("task")
        vars(task)["remote"] = partial(self._start, work)
        return task

    def _start(self, work: Callable[[object], object], job: object) -> object:
        future: Future[object] = Future()
        if self.lost:
            future.set_exception(self.lost)
        else:
            future = self.threads.submit(work, job)
        reference = ModuleType("reference")
        vars(reference)["future"] = lambda: future
        return reference


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    found = StandIn(CPU=4.0)
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setitem(sys.modules, "ray.exceptions", found.exceptions)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    yield found
    found.threads.shutdown()


def in_use() -> None:
    raise RunInUseError("`logs/x` is in use by process 1; wait until it ends.")


def executor(tmp_path: Path, **options: Any) -> Executor:
    return start(Ray(**options), 2, tmp_path)


def test_results_and_errors_come_back_as_themselves(ray: StandIn, tmp_path: Path) -> None:
    with executor(tmp_path) as pool:
        good, bad = pool.submit(int, "3"), pool.submit(in_use)
        assert good.result() == 3
        assert type(bad.exception()) is RunInUseError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("resources", "options", "asked"),
    [
        ({"CPU": 4.0}, {}, {"num_cpus": 1.0, "num_gpus": 0.0, "max_retries": 3}),
        ({"CPU": 4.0, "GPU": 2.0}, {}, {"num_cpus": 1.0, "num_gpus": 1.0, "max_retries": 3}),
        (
            {"CPU": 4.0, "GPU": 2.0},
            {"cpus": 0.5, "gpus": 0.25, "retries": 0},
            {"num_cpus": 0.5, "num_gpus": 0.25, "max_retries": 0},
        ),
    ],
)
def test_a_run_asks_for_its_share(
    ray: StandIn, tmp_path: Path, resources: dict[str, float], options: dict[str, Any], asked: dict[str, float]
) -> None:
    ray.resources = resources
    executor(tmp_path, **options).shutdown()
    assert ray.options == asked


def test_what_the_cluster_does_not_have_is_said(
    ray: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor(tmp_path, gpus=2).shutdown()
    message = "a run asks for 2 GPU(s), but the Ray cluster has 0; waiting for a machine that has them"
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "OutOfMemoryError",
            "Memory ran out, and its process was ended, 3 times in all; give each run more `cpus`, so that fewer share "
            "it.",
        ),
        ("WorkerCrashedError", "Its process or its machine died, 3 times in all."),
        ("NodeDiedError", "Its process or its machine died, 3 times in all."),
        ("TaskCancelledError", "It was ended; the same command goes on with it."),
        (
            "RayTaskError",
            "A Ray worker cannot call hamdg (no hamdg); install what is installed here there, too.",
        ),
    ],
)
def test_a_job_without_an_answer_says_why(ray: StandIn, tmp_path: Path, name: str, text: str) -> None:
    ray.lost = getattr(ray.exceptions, name)("long story")
    with executor(tmp_path, retries=2) as pool, pytest.raises(JobLostError, match=f"^{re.escape(text)}$") as caught:
        pool.submit(int).result()
    assert caught.value.__cause__ is ray.lost


def test_another_fault_of_ray_is_quoted(ray: StandIn, tmp_path: Path) -> None:
    ray.lost = OSError("no space")
    with executor(tmp_path) as pool, pytest.raises(JobLostError, match=r"^Ray lost it \(OSError: no space\)\.$"):
        pool.submit(int).result()


def test_what_is_under_way_is_cancelled_and_a_connection_of_its_own_is_left(
    ray: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A job that begins after the end looks for a file that is gone.
    monkeypatch.setattr("hamdg.sweeps.launchers.remote.PATIENCE", 0.1)
    go = threading.Event()
    pool = executor(tmp_path)
    pool.submit(go.wait)
    pool.shutdown(cancel_futures=True)
    pool.shutdown(cancel_futures=True)
    assert ray.calls == ["cancel True"]
    own = RayExecutor(Ray(), tmp_path, lambda: ray.calls.append("leave"))
    own.submit(go.wait)
    own.shutdown(cancel_futures=True)
    assert ray.calls == ["cancel True", "leave"]
    go.set()


def test_threads_are_the_cpus_of_a_run() -> None:
    assert [Ray(cpus=cpus).threads(2) for cpus in (0.25, 1, 3.5)] == [1, 1, 3]
    assert Ray().workers() is None


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "The launcher `ray` needs Ray; install it with `pip install 'hamdg[ray]'`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        executor(tmp_path)


@pytest.mark.parametrize(
    "address", ["nonsense", "host", "ray://host", "host:port", "host:99999", "http://host:6379", "locale"]
)
def test_an_address_is_checked(tmp_path: Path, address: str) -> None:
    message = (
        f"Expected `launcher.ray.address` to be `local`, `auto`, `host:port` or `ray://host:port`, but got `{address}`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        executor(tmp_path, address=address)
    # Before that where it is read, so that `--dry-run` says it, too.
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_launcher({"ray": {"address": address}}, place="in `table.yaml`")


def test_an_address_of_the_environment_is_called_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(ConfigError, match=r"^Expected `RAY_ADDRESS` to be `local`"):
        read_launcher("ray")
    for address in ("auto", "local", "host:6379", "ray://host:10001", "[::1]:6379"):
        read_launcher({"ray": {"address": address}})


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_named_at_once(tmp_path: Path, scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    message = (
        f"No Ray cluster answers at `{address}` (connection refused); start one there with `ray start --head`, whose "
        "port is 6379, or leave out `launcher.ray.address` for one in this process."
    )
    environment = dict(os.environ)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        executor(tmp_path, address=address)
    assert dict(os.environ) == environment


def test_another_service_is_not_taken_for_a_cluster(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"\(another service answers\); start one there"):
            executor(tmp_path, address=address)
        thread.join()
