"""Keeps tests hermetic: no network, no leaked threads, environment variables or working directories, one CPU thread."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from hamdg.data.benchmarks.pacs import PACS
from hamdg.runs.record import Record, read_record

# Before anybody imports torch: the suite shares its cores with other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
# W&B's service is a process of its own, which the guard below does not see: all that it could ask is on this machine.
os.environ["WANDB_MODE"] = "disabled"
os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
os.environ["WANDB_ERROR_REPORTING"] = "false"
os.environ["WANDB_X_STATS_COREWEAVE_METADATA_BASE_URL"] = "http://127.0.0.1:9"
os.environ["MPLBACKEND"] = "Agg"

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
# Set by a library on its first import or use, for the rest of the process.
_LIBRARY_VARIABLES = (
    "PYTEST_CURRENT_TEST",
    "KMP_",
    "TORCHINDUCTOR_",
    "CUDA_MODULE_LOADING",
    "PL_",
    "LIGHTNING_",
    "TRITON_",
    "PYTORCH_NVML_",
    "TOKENIZERS_",
)


@pytest.fixture(scope="session")
def pacs_root() -> Path:
    """Return the folder of the real PACS; without one the test is skipped."""
    folders = [Path(given)] if (given := os.environ.get("HAMDG_DATA")) else []
    found = [folder / "PACS" for folder in (*folders, _ROOT / "data", _ROOT.parent / "shared" / "data")]
    for folder in found:
        if (folder / "art_painting").is_dir():
            return folder
    pytest.skip(f"needs the images of PACS in {', '.join(map(str, found))}")


@pytest.fixture
def ham() -> Record:
    return read_record(GOLDEN / "ham")


@pytest.fixture
def erm() -> Record:
    return read_record(GOLDEN / "erm")


@pytest.fixture
def run_copy(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a frozen run to where it may be written to."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(GOLDEN / name, tmp_path / name))

    return copy


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the whole session, child processes included, a cache folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAMDG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_pacs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with five images of noise of each class and domain of PACS, of several sizes."""
    root = tmp_path_factory.mktemp("small") / "PACS"
    benchmark, rng = PACS, np.random.default_rng(0)
    for domain in benchmark.domains:
        for name in benchmark.classes:
            folder = root / domain / name
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = rng.integers(0, 256, (36 + index, 44 - index, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"pic_{index:03}.png", compress_level=1)
    return root


CpuTime = Callable[[str], tuple[float, str]]


@pytest.fixture
def cpu_time() -> CpuTime:
    """Return a function that runs Python code: the CPU seconds that it takes, start included, and what it prints.

    Seconds on the clock would say what else this machine does.
    """

    def run(code: str) -> tuple[float, str]:
        def used() -> float:
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            return children.ru_utime + children.ru_stime

        before = used()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return used() - before, done.stdout

    return run


class Plugin(Protocol):
    """Installs a package of one module with entry points: its name, their group, what they name, and the code."""

    def __call__(self, package: str, group: str, entries: Mapping[str, str], code: str) -> None: ...


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Return a function that installs a made-up package for one test, as pip would lay it out."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, group: str, entries: Mapping[str, str], code: str) -> None:
        module = package.replace("-", "_")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{module}.py").write_text(code + "\n")
        # The module may be one that an earlier test imported from its own folder.
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that reaches beyond this machine, even if the code under test swallows the error."""
    attempts: list[str] = []
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def refuse(target: object) -> None:
        attempts.append(str(target))
        raise OSError(f"a test tried to reach {target}")

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and not _is_local(address):
            refuse(address)
        connect(self, address)  # type: ignore[arg-type]

    def guarded_lookup(host: object, *arguments: object, **options: object) -> object:
        if host is not None and not _is_local(host):
            refuse(host)
        return lookup(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)
    yield
    if attempts:
        pytest.fail(f"network access: {', '.join(attempts)}")


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test that leaves threads, environment variables or another working directory behind."""
    # What a run sets for its process.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "hamdg.data.parallel" in sys.modules:
        sys.modules["hamdg.data.parallel"].limit_threads(None)
    before = (_environment(), Path.cwd(), _threads())
    yield
    environment, folder, threads = before
    changed = sorted(name for name, _ in environment.items() ^ _environment().items())
    assert not changed, f"environment variables changed: {changed}"
    assert Path.cwd() == folder
    left = [thread.name for thread in _threads() - threads]
    assert not left, f"threads left running: {left}"


def _is_local(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    return str(host.decode() if isinstance(host, bytes) else host).startswith(_LOOPBACK)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_LIBRARY_VARIABLES)}


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive() and not thread.daemon}


Deep = Callable[[Path, int], Path]


@pytest.fixture
def deep() -> Iterator[Deep]:
    """Make folders within folders below a new one, and a file in the last, whose path is returned."""
    made: list[Path] = []

    def make(top: Path, levels: int) -> Path:
        top.mkdir()
        made.append(top)
        here = os.open(top, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("1.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.close(here)
        return top.joinpath(*["d"] * levels)

    yield make
    # Python's own `rmtree` cannot go so deep.
    subprocess.run(["rm", "-rf", *made], check=True)
