"""A sweep on a real Ray cluster of two nodes, one of which is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.sweeps.launchers.conftest import TINY, children, results, sweep, working

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]


class RunningCluster(NamedTuple):
    address: str
    raylets: list[int]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningCluster]:
    place = Path("/tmp") / f"hamdg-ray-{os.getpid()}"  # a short path, for its sockets
    place.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    command = [sys.executable, str(Path(__file__).with_name("ray_cluster.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        everything = [process.pid]
        try:
            yield RunningCluster(**json.loads(process.stdout.readline()))
        finally:
            everything += children(process.pid)
            process.stdin.close()
            process.wait(60)
            left = [one for one in everything if Path(f"/proc/{one}").exists()]
            for one in left:
                os.kill(one, signal.SIGKILL)
            shutil.rmtree(place, ignore_errors=True)
    assert not left


def busy(raylets: Sequence[int], root: Path) -> int | None:
    """Return the raylet of a node on which a run has written a checkpoint."""
    workers = set(working(root))
    return next((one for one in raylets if workers & set(children(one))), None)


def test_the_runs_of_a_node_that_is_killed_go_on_elsewhere_and_end_with_the_same_files(
    sweep_file: SweepFile, cluster: RunningCluster, tmp_path: Path
) -> None:
    variants = {"ERM": {"recipe": "erm.yaml", "set": TINY}, "HAM": {"recipe": "ham.yaml", "set": TINY}}
    grid: dict[str, object] = {"held_out": ["sketch", "photo"], "seeds": [0], "conditions": None, "variants": variants}
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    process = sweep(
        sweep_file(**grid, root=str(disturbed)), "--launcher=ray", f"--launcher.ray.address={cluster.address}"
    )
    while process.poll() is None and (raylet := busy(cluster.raylets, disturbed)) is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    assert raylet is not None
    for one in [raylet, *children(raylet)]:
        os.kill(one, signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert said.count(" done: variant") == 4
    assert "retries remaining" in said
    assert not list((disturbed / "sweeps").glob(".shared*"))

    # A thread for each run, as on the cluster: sums of other numbers of threads differ in their last bits.
    alone = sweep(sweep_file(**grid, root=str(undisturbed)), f"--processes={len(os.sched_getaffinity(0))}")
    said, _ = alone.communicate()
    assert alone.returncode == 0, said
    assert results(disturbed) == results(undisturbed)
    assert len(results(disturbed)) == 4


def test_a_cluster_in_the_process_ends_with_it_and_leaves_nothing(
    sweep_file: SweepFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, place = tmp_path / "home", Path(tempfile.mkdtemp(prefix="h-", dir="/tmp"))
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(place))
    variants = {"ERM": {"recipe": "erm.yaml", "set": TINY}}
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants=variants)
    first = sweep(path, "--launcher=ray")
    while first.poll() is None and not list(working(tmp_path / "logs")):
        time.sleep(0.01)
    workers = list(children(first.pid))
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate()
    assert first.returncode == 130, said
    assert not [one for one in workers if Path(f"/proc/{one}").exists()]

    second = sweep(path, "--launcher=ray")
    said, _ = second.communicate()
    assert second.returncode == 0, said
    assert "(raylet)" not in said
    assert len(results(tmp_path / "logs")) == 1
    assert not list(home.iterdir())
    assert not [one.name for one in place.iterdir() if "ray" in one.name]
    shutil.rmtree(place)
