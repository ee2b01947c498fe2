"""Runs that several processes train together: the same result, files by the first one alone, and accidents."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hamdg.cohort import team
from hamdg.cohort.place import Place
from hamdg.config.checks import problems
from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe, RuntimeConfig, TrainConfig
from hamdg.data.domain import open_domain
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.stages import pipeline, processes, repeating
from hamdg.stages.context import open_context
from hamdg.tracking.rows import read_rows
from tests.stages.conftest import Work

if TYPE_CHECKING:
    from tests.stages.conftest import Command, Commander, Tiny
    from tests.tiny import Tower

# Long enough for both processes to matter, with a batch that two can share evenly and three cannot.
CPU = "--runtime.device=cpu"
TWO = (CPU, "--runtime.devices=2")
LONG = (CPU, "--train.steps=6", "--runtime.checkpoint_every=2", "--history.every=2")
ALGORITHMS = [
    ("ham", ("--ham.harmonization.method=sign_consensus", "--ham.harmonization.every=2")),
    ("ham", ("--ham.harmonization.method=pcgrad", "--ham.enrichment.combine=sum", "--data.mini.label_noise=0.2")),
    ("erm", ("--train.accumulate=2",)),
    ("experts", ("--history.kind=swad", "--history.n_s=2", "--history.n_e=1", "--train.check_every=1")),
]


def done(recipe: Recipe) -> RunDirectory:
    return RunDirectory(pipeline.run(recipe, show=False).parent)


def files(run: RunDirectory) -> list[str]:
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


def scores(run: RunDirectory, recipe: Recipe) -> dict[str, Tensor]:
    """Return what the models of a run say of the held-out images; their own numbers may differ where none matters."""
    context = open_context(recipe, run)
    (target,) = context.targets
    domain = open_domain(recipe, target, context.preprocess.side)
    images = context.preprocess(torch.as_tensor(domain.evaluation.read(np.arange(len(domain)))))
    found = {}
    paths = [path for path in run.path.rglob("*.safetensors") if path.name not in ("base.safetensors",)]
    for path in paths:
        network = context.network().eval()
        prefix = "visual."
        network.load(
            {
                name.removeprefix(prefix): tensor
                for name, tensor in load_tensors(path).items()
                if name.startswith(prefix)
            }
        )
        with torch.no_grad():
            found[str(path.relative_to(run.path))] = network(images)
    return found


def assert_close(found: RunDirectory, expected: RunDirectory, recipe: Recipe) -> None:
    """Compare what models say, and what was measured on the way, up to rounding."""
    ours, theirs = scores(found, recipe), scores(expected, recipe)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        torch.testing.assert_close(ours[name], values, rtol=0, atol=2e-3, msg=f"`{name}` differs")
    rows = [read_rows(run.step("train").metrics) for run in (found, expected)]
    assert [row[:4] for row in rows[0]] == [row[:4] for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        if one.name.startswith("enrichment/") and one.name != "enrichment/threshold":
            assert one.value == other.value, one
        elif not one.name.startswith("cosine/"):
            assert one.value == pytest.approx(other.value, rel=2e-2, abs=2e-3), one


def assert_same(found: RunDirectory, expected: RunDirectory) -> None:
    assert files(found) == files(expected)
    for name in files(expected):
        if name.endswith((".safetensors", ".npz", ".csv")):
            assert (found.path / name).read_bytes() == (expected.path / name).read_bytes(), name


def test_one_device_by_ddp_gives_the_same_bytes(tiny: Tiny, tmp_path: Path) -> None:
    alone = done(tiny(CPU))
    by_ddp = done(tiny(CPU, "--runtime.strategy=ddp", f"--runtime.root={tmp_path / 'ddp'}"))
    assert_same(by_ddp, alone)


def test_what_a_machine_lacks_is_refused_before_anything_is_written(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(CPU, "--runtime.nodes=2")
    with pytest.raises(ConfigError, match=r"^`runtime.nodes` is 2, but only this process was started; .* `torchrun`"):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"^`runtime.devices` is 2, but torch sees 1 GPUs; use at most as many"):
        processes.check_processes(RuntimeConfig(devices=2), torch.device("cuda"))
    processes.check_processes(RuntimeConfig(devices=2), torch.device("cpu"))


def test_a_loss_that_needs_the_whole_batch_is_refused_before_anything_is_written(tiny: Tiny) -> None:
    recipe = tiny("--algorithm=coral", *TWO)
    with pytest.raises(ConfigError, match=r"^The loss of `AlignmentLearner` .* cannot be split over 2 processes"):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()


def test_a_batch_must_have_an_image_for_every_part() -> None:
    recipe = Recipe(data=DataConfig(batch_size=5), train=TrainConfig(accumulate=3), runtime=RuntimeConfig(devices=2))
    assert [one.sentence for one in problems(recipe)] == [
        "`data.batch_size` is 5, but `runtime.devices` (2) times `train.accumulate` (3) make 6 parts of every batch; "
        "use at least 6 images or fewer parts"
    ]


def test_how_many_processes_train_is_no_other_run(tiny: Tiny) -> None:
    from hamdg.runs.identity import identity

    assert identity(tiny()) == identity(tiny("--runtime.devices=2", "--runtime.nodes=2", "--runtime.strategy=ddp"))


def test_another_number_of_processes_than_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "MASTER_ADDR": "a", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    message = (
        "4 processes were started, but `runtime.devices` (2) times `runtime.nodes` (1) is 2; give both as they were "
        "started."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"), processes.joined(RuntimeConfig(devices=2)):
        pass


@pytest.mark.distributed
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("algorithm", "options"), ALGORITHMS, ids=lambda value: str(value)[:40])
def test_two_processes_give_the_result_of_one(
    tiny: Tiny, tmp_path: Path, algorithm: str, options: tuple[str, ...]
) -> None:
    options = (f"--algorithm={algorithm}", *LONG, *options)
    recipe = tiny(*options, tower="vit")
    alone = done(recipe)
    together = done(tiny(*options, *TWO, f"--runtime.root={tmp_path / 'two'}", tower="vit"))
    assert files(together) == files(alone)
    assert_close(together, alone, recipe)
    if algorithm == "ham":
        ours, theirs = (np.load(run.step("train").folder / "samples.npz") for run in (together, alone))
        for name in ("images", "accepted", "model", "domain", "label", "step"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        np.testing.assert_allclose(ours["threshold"], theirs["threshold"], atol=1e-3)


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_three_processes_share_four_images(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(*LONG)
    alone = done(recipe)
    together = done(tiny(*LONG, "--runtime.devices=3", f"--runtime.root={tmp_path / 'three'}"))
    assert_close(together, alone, recipe)


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_several_trainings_of_a_run_and_none_when_it_is_done(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = team._started

    def noted(place: Place, threads: int) -> subprocess.Popen[bytes]:
        started.append(place.rank)
        return start(place, threads)

    monkeypatch.setattr(team, "_started", noted)
    recipe = tiny("--controls.erm=true", *TWO)
    pipeline.run(recipe)
    assert started == [1, 1]
    pipeline.run(recipe)
    pipeline.run(tiny("--controls.erm=true", *TWO, "--merge.method=uniform"))
    assert started == [1, 1]


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_a_loss_that_is_not_finite_stops_all_processes(command: Commander) -> None:
    broken = command("broken", *LONG, "--train.lr=1e30", "--train.clip_norm=0", "--runtime.devices=2")
    outcome = started(broken)
    _, error = outcome.communicate()
    assert outcome.returncode == 1
    assert re.match(r"hamdg: error: the (loss|gradient norm) of source `\w+` became nan at step \d", error), error
    assert not orphans(broken)


def started(command: Command, **environment: str) -> subprocess.Popen[str]:
    """Start a command as a user does, in a process of its own."""
    whole = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "hamdg", *command.argv],
        env=whole,
        cwd=command.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Ended(NamedTuple):
    """A process that has ended: its rank and exit code, and what it said."""

    rank: int
    code: int
    out: str
    err: str


def by_torchrun(command: Command) -> list[Ended]:
    """Run a command in two processes with the variables that `torchrun` sets, and beside the store that it keeps."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    variables["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    both = [started(command, **variables, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    said = [process.communicate() for process in both]
    return [Ended(rank, process.returncode, *said[rank]) for rank, process in enumerate(both)]


def orphans(command: Command) -> list[str]:
    """Return the processes of a command that are left; they work in its folder."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == command.folder and "cohort.member" in (process / "cmdline").read_text():
                left.append(process.name)
        except OSError:
            continue
    return left


def killed(command: Command, number: signal.Signals) -> tuple[int, str]:
    """Start a command, send it a signal once it has a checkpoint; return its exit code and its complaint."""
    process = started(command)
    checkpoint = command.directory.step("train").resume
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(number)
    error = process.communicate()[1]
    end = time.monotonic() + 10
    while orphans(command) and time.monotonic() < end:
        time.sleep(0.05)
    assert not orphans(command)
    assert checkpoint.exists(), "it came to its end; give it more steps"
    return process.returncode, error


@pytest.mark.distributed
@pytest.mark.timeout(600)
def test_a_killed_run_of_two_processes_goes_on(command: Commander) -> None:
    options = ("--train.steps=40", "--runtime.checkpoint_every=4", *TWO)
    calm, again, fewer = (command(name, *options) for name in ("calm", "again", "fewer"))
    process = started(calm)
    assert process.communicate()[1] == ""

    assert killed(again, signal.SIGKILL) == (-9, "")
    process = started(again)
    out, error = process.communicate()
    assert error == ""
    assert "going on from the last checkpoint of a stopped run" in out
    assert_same(again.directory, calm.directory)

    code, error = killed(fewer, signal.SIGINT)
    assert (code, error) == (
        130,
        "\nhamdg: stopped; repeat the same command to go on from the last checkpoint.\n",
    )
    fewer.argv.append("--runtime.devices=1")
    assert started(fewer).communicate()[1] == ""
    assert files(fewer.directory) == files(calm.directory)
    assert_close(fewer.directory, calm.directory, fewer.recipe)


def test_a_run_of_several_machines_is_evaluated_and_merged_again_on_one(
    copied: Callable[[Tower], RunDirectory], worked: list[Work]
) -> None:
    run = copied("rn")
    config = run.config.read_text()
    for name in ("devices", "nodes"):
        assert f"\n  {name}: 1\n" in config
        config = config.replace(f"\n  {name}: 1\n", f"\n  {name}: 2\n")
    run.config.write_text(config)
    worked.clear()  # the run that was copied may have been made just now
    again = repeating.remerge(run.path, ["--merge.method=uniform"])
    assert worked == [Work(again.parent, "merge")]
    assert repeating.reevaluate(run.path) == run.record


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_of_processes_that_torchrun_started_one_evaluates_and_merges_again(command: Commander) -> None:
    both = command("both", *TWO)
    assert started(both).communicate()[1] == ""
    run, config = both.directory, both.directory.config.read_text()
    for verb, options in {"evaluate": (), "merge": ("--merge.method=uniform",)}.items():
        both.argv = [verb, str(run.path), *options]
        first, second = by_torchrun(both)
        assert (first.code, first.err) == (0, "")
        assert "80 % part" in first.out
        assert second == Ended(1, 0, "", "")
    assert len(list(run.path.parent.glob("seed*/done"))) == 2
    assert run.config.read_text() == config

    both.argv = ["evaluate", str(run.path), "--runtime.devices=1"]
    said = "hamdg: error: 2 processes were started, but `runtime.devices` (1) times `runtime.nodes` (1) is 1; give "
    for process in by_torchrun(both):
        assert process.err.startswith(said)
        assert process.code == 2


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_processes_that_torchrun_started_join(command: Commander) -> None:
    own, joined = command("own", *TWO), command("joined", *TWO)
    assert started(own).communicate()[1] == ""
    for process in by_torchrun(joined):
        assert process.code == 0, process
        assert process.err == ""
        assert process.rank == 0 or process.out == ""
    assert_same(joined.directory, own.directory)
    # Of a run that is done, nobody waits for anybody.
    assert [process.code for process in by_torchrun(joined)] == [0, 0]
