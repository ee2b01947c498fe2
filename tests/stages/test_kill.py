"""A run that dies at any moment and is repeated ends with the files of a run that nothing happened to."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hamdg.runs.directory import RunDirectory
from hamdg.tracking.rows import read_rows
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.stages.conftest import Command, Commander, Zygote
    from tests.tiny import Tower

SIGN_CONSENSUS = (
    "--ham.harmonization.method=sign_consensus",
    "--ham.harmonization.every=2",
    "--history.kind=snapshots",
    "--history.keep=3",
)
RUNNING_MEAN = ("--ham.harmonization.method=pcgrad", "--history.kind=mean", "--model.text_head=linear_probe")
SWAD = ("--history.kind=swad", "--history.n_s=2", "--history.n_e=1", "--history.every=2")
TARGETS = (
    "--algorithm=mtda",
    "--model.name=mini-resnet8-16",
    "--model.weights=null",
    "--model.image_size=32",
    "--model.statistics=live",
    "--held_out=cartoon+sketch",
    "--mtda.adapt.steps=8",
    "--mtda.adapt.threshold=0.1",
    "--mtda.reestimate.images=8",
    "--runtime.checkpoint_every=1",
)
DISTILLED = (
    "--algorithm=scmd",
    "--model.name=mini-resnet8-16",
    "--model.weights=null",
    "--model.image_size=32",
    f"--scmd.teacher.name={CONF / 'tiny-vit.json'}",
    "--scmd.teacher.weights=random",
    "--train.steps=24",
    "--runtime.checkpoint_every=1",
)
LONG = ("--train.steps=16", "--runtime.checkpoint_every=3", "--train.check_every=5")


def kept_files(run: RunDirectory) -> dict[str, bytes]:
    """Return the content of all files that must not depend on what happened on the way."""
    names = ["merged.safetensors", "train/index.json", *(path.name for path in run.path.glob("hamdg-*.json"))]
    assert len(names) == 3
    if run.recipe().model.text_head != "prompts":
        names.append(run.class_features.name)
    names += [run.start.name, run.splits.name, run.base.name]
    names += [str(path.relative_to(run.path)) for path in run.step("train").index.parent.rglob("*.safetensors")]
    return {name: (run.path / name).read_bytes() for name in names}


def assert_same(found: RunDirectory, expected: RunDirectory) -> None:
    assert found.is_done
    assert kept_files(found) == kept_files(expected)
    assert read_rows(found.step("train").metrics) == read_rows(expected.step("train").metrics)
    with (
        np.load(found.step("train").folder / "samples.npz") as ours,
        np.load(expected.step("train").folder / "samples.npz") as theirs,
    ):
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    records = [json.loads(run.record.read_text()) for run in (found, expected)]
    for record in records:
        for key in ("timings", "command", "config"):
            del record[key]
        for step in record["steps"].values():
            del step["seconds"]
    assert records[0] == records[1]


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


def undisturbed(zygote: Zygote, command: Command) -> float:
    outcome = zygote.run(command.argv, command.folder)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.seconds


def killed_until_done(zygote: Zygote, command: Command, seconds: float, kills: int, seed: int) -> int:
    """Kill the command at random moments, and let it end at last; returns how often it was really killed."""
    chance, killed = random.Random(seed), 0
    for _ in range(kills):
        outcome = zygote.run(command.argv, command.folder, after=chance.uniform(0.05, seconds))
        assert outcome.code in (0, -9), outcome.err
        killed += outcome.code == -9
    outcome = zygote.run(command.argv, command.folder)
    assert outcome.code == 0, outcome.err
    return killed


@pytest.mark.slow  # the default tests kill the runs of a sweep, at file operations
@pytest.mark.parametrize(
    ("tower", "options"),
    [
        pytest.param("rn", SIGN_CONSENSUS, id="sign consensus, snapshots"),
        pytest.param("vit", RUNNING_MEAN, id="mean"),
        pytest.param("vit", SWAD, id="swad"),
    ],
)
def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_happened(
    zygote: Zygote, command: Commander, tower: Tower, options: tuple[str, ...]
) -> None:
    calm, disturbed = (command(name, *options, *LONG, tower=tower) for name in ("calm", "disturbed"))
    seconds = undisturbed(zygote, calm)
    assert killed_until_done(zygote, disturbed, seconds * 0.6, kills=4, seed=1) > 0
    assert_same(disturbed.directory, calm.directory)
    assert leftovers(disturbed.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        pytest.param(TARGETS, ("source", "adapt", "union", "readapt"), id="adaptation to targets"),
        pytest.param(DISTILLED, ("distill",), id="distillation from a frozen teacher"),
    ],
)
def test_steps_that_train_killed_at_random_moments_end_as_if_nothing_had_happened(
    zygote: Zygote, command: Commander, options: tuple[str, ...], steps: tuple[str, ...]
) -> None:
    calm, disturbed = (command(name, *options) for name in ("calm", "disturbed"))
    outcome = zygote.run(calm.argv, calm.folder)
    assert outcome.code == 0
    assert killed_until_done(zygote, disturbed, outcome.seconds * 0.3, kills=5, seed=2) > 0
    for file in sorted(calm.directory.path.rglob("*.safetensors")):
        name = file.relative_to(calm.directory.path)
        assert (disturbed.directory.path / name).read_bytes() == file.read_bytes(), name
    for step in steps:
        rows = [read_rows(one.directory.step(step).metrics) for one in (calm, disturbed)]
        assert rows[0] == rows[1]
    assert leftovers(disturbed.folder) == []


@pytest.mark.slow
def test_a_run_that_dies_beside_file_operations_ends_as_if_nothing_had_happened(
    zygote: Zygote, command: Commander
) -> None:
    options = (*SIGN_CONSENSUS, "--runtime.checkpoint_every=2")
    calm, disturbed = command("calm", *options, tower="vit"), command("disturbed", *options, tower="vit")
    undisturbed(zygote, calm)
    deaths = 0
    # Every attempt survives two operations more than the one before, so that it must come to an end.
    while (outcome := zygote.run(disturbed.argv, disturbed.folder, die_at=2 * deaths + 5)).code == 77:
        deaths += 1
    assert outcome.code == 0, outcome.err
    assert deaths > 3
    assert_same(disturbed.directory, calm.directory)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "options", [SIGN_CONSENSUS, RUNNING_MEAN, SWAD], ids=["sign consensus, snapshots", "mean", "swad"]
)
def test_a_run_may_die_at_any_file_operation(zygote: Zygote, command: Commander, options: tuple[str, ...]) -> None:
    options = (*options, "--runtime.checkpoint_every=2")
    calm = command("calm", *options, tower="vit")
    undisturbed(zygote, calm)
    moment = 0
    while True:
        moment += 1
        disturbed = command(f"disturbed-{moment}", *options, tower="vit")
        first = zygote.run(disturbed.argv, disturbed.folder, die_at=moment)
        if first.code == 0:
            break
        assert first.code == 77, first.err
        again = zygote.run(disturbed.argv, disturbed.folder)
        assert again.code == 0, (moment, again.err)
        assert_same(disturbed.directory, calm.directory)
    assert moment > 30


@pytest.mark.slow
def test_a_run_that_dies_while_force_deletes_it_begins_again(zygote: Zygote, command: Commander) -> None:
    calm, disturbed = command("calm", tower="vit"), command("disturbed", tower="vit")
    undisturbed(zygote, calm)
    undisturbed(zygote, disturbed)
    # The first removals of `--force` are those of `done`, summaries, and what the run began with.
    for moment in range(1, 21):
        assert zygote.run([*disturbed.argv, "--force"], disturbed.folder, die_at=moment).code == 77
        if moment % 3 == 0:
            assert zygote.run(disturbed.argv, disturbed.folder).code == 0
            assert_same(disturbed.directory, calm.directory)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_forty_kills_over_all_steps(zygote: Zygote, command: Commander) -> None:
    options = (*SIGN_CONSENSUS, *LONG, "--controls.erm=true", "--runtime.report=true")
    calm = command("calm", *options)
    seconds = undisturbed(zygote, calm)
    killed = 0
    for attempt in range(8):
        disturbed = command(f"disturbed-{attempt}", *options)
        killed += killed_until_done(zygote, disturbed, seconds * 0.7, kills=6, seed=attempt)
        assert_same(disturbed.directory, calm.directory)
    assert killed >= 20
