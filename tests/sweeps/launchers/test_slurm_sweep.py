"""Whole sweeps through submitit: with its own queue of local processes, and with a stand-in for SLURM's commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.sweeps.launchers import start
from hamdg.sweeps.launchers.slurm import Slurm
from tests.sweeps.launchers.conftest import TINY, results, sweep, working

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LOCAL = (
    "--launcher=slurm",
    "--launcher.slurm.cluster=local",
    "--launcher.slurm.time=60",
    "--launcher.slurm.cpus=1",
)
# As many processes of this machine have one thread each, as the jobs have.
CORES = len(os.sched_getaffinity(0))
ERM: dict[str, object] = {"recipe": "erm.yaml", "set": TINY}


def one_that_works(process: subprocess.Popen[str], root: Path) -> int:
    """Wait for a process that has a checkpoint to go on from, and return it."""
    while process.poll() is None:
        for found in working(root):
            return found
        time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.distributed
def test_a_preempted_run_goes_on_and_a_failed_one_names_its_log(sweep_file: SweepFile, tmp_path: Path) -> None:
    broken = {"recipe": "erm.yaml", "set": {**TINY, "data.batch_size": 1000}}
    grid: dict[str, object] = {"held_out": ["sketch"], "seeds": [0], "conditions": None}
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    process = sweep(sweep_file(**grid, root=str(disturbed), variants={"ERM": ERM, "broken": broken}), *LOCAL)
    os.kill(one_that_works(process, disturbed), signal.SIGUSR2)
    said, _ = process.communicate()
    assert process.returncode == 1
    assert re.search(r"1 of 2 runs failed.*variant `broken`.*`data\.batch_size` is 1000", said, re.DOTALL), said
    (trace,) = (disturbed / "sweeps").glob("*/*.txt")
    log = re.search(r"^The log of its job is `(.*)`\.$", trace.read_text(), re.MULTILINE)
    assert log is not None
    assert Path(log[1]).parent == disturbed / "sweeps" / "slurm"
    logs = [path.read_text() for path in (disturbed / "sweeps" / "slurm").iterdir()]
    assert sum("Exiting gracefully" in text or "Requeued job" in text for text in logs) == 1

    alone = sweep(sweep_file(**grid, root=str(undisturbed), variants={"ERM": ERM}), f"--processes={CORES}")
    said, _ = alone.communicate()
    assert alone.returncode == 0, said
    assert results(disturbed) == results(undisturbed)
    assert len(results(disturbed)) == 1


@pytest.mark.distributed
def test_ctrl_c_cancels_the_jobs(sweep_file: SweepFile, tmp_path: Path) -> None:
    long = {"recipe": "erm.yaml", "set": {**TINY, "train.steps": 100_000}}
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants={"ERM": long})
    process = sweep(path, *LOCAL)
    worker = one_that_works(process, tmp_path / "logs")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    until = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


# As much of SLURM as submitit asks for; the jobs of an array run one after another.
SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
text = pathlib.Path(sys.argv[1]).read_text()
here = pathlib.Path({folder!r})
(here / "submitted").open("a").write(text)
number = str(4000 + len(list(here.glob("array-*"))))
(here / f"array-{{number}}").touch()
array = re.search(r"--array=0-(\\d+)", text)
print("Submitted batch job", number, flush=True)
if os.fork():
    sys.exit()
os.setsid()
for stream in range(3):
    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
output = re.search(r"--output=(.*)", text)[1]
for task in range(int(array[1]) + 1) if array else [None]:
    names = {{"SLURM_JOB_ID": number}}
    if task is not None:
        names |= {{"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}}
    log = output.replace("%A", number).replace("%a", str(task)).replace("%j", number)
    with open(log, "a") as stream:
        subprocess.run(["bash", sys.argv[1]], env=os.environ | names, stdout=stream, stderr=stream, stdin=stream)
with (here / "sacct.txt").open("a") as states:
    for task in range(int(array[1]) + 1) if array else [None]:
        states.write(f"{{number}}{{'' if task is None else f'_{{task}}'}}|COMPLETED|node7\\n")
"""
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift;; esac; shift; done
exec "$@"
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
cat {folder}/sacct.txt 2>/dev/null
true
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which a stand-in for SLURM writes down what it is asked."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    commands = {
        "sbatch": SBATCH.format(python=sys.executable, folder=str(folder)),
        "srun": SRUN,
        "sacct": SACCT.format(folder=folder),
        "scancel": f'#!/bin/sh\necho "$@" >> {folder}/cancelled\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_jobs_of_one_moment_are_an_array_of_slurm(cluster: Path, tmp_path: Path) -> None:
    root = tmp_path / "sweeps"
    root.mkdir()
    options = Slurm(partition="gpu", cpus=2, parallel=2, setup=["export SAID=hello"])
    with start(options, 3, root) as pool:
        futures = [pool.submit(os.getenv, name) for name in ("SLURM_ARRAY_TASK_ID", "SAID", "SLURM_ARRAY_TASK_ID")]
        assert [future.result() for future in futures] == ["0", "hello", "2"]
        assert pool.submit(os.getenv, "SLURM_ARRAY_JOB_ID").result() is None
    text = (cluster / "submitted").read_text()
    assert re.findall(r"^#SBATCH --array=(.*)$", text, re.MULTILINE) == ["0-2%2"]
    assert text.count("--partition=gpu") == 2
    assert not list((root / "slurm").glob("*.pkl"))


def test_a_job_of_slurm_that_dies_names_its_log(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamdg.sweeps.launchers.slurm.PATIENCE", 0.5)
    with start(Slurm(), 2, tmp_path) as pool:
        error = pool.submit(os._exit, 9).exception()
    message = rf"^Its job 4000 ended without a result \(completed\); its log is `{tmp_path}/slurm/4000_0_log\.out`\.$"
    assert re.search(message, str(error))
