"""What a run says before it begins: what is done, taken, resumed and to do, by what is there; nothing is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from hamdg import cli
from hamdg.config.recipe import Recipe
from hamdg.data.domain import opened_domains
from hamdg.progress import Progress
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline, plan_text, step_times
from hamdg.stages.context import open_context
from hamdg.stages.disk import Disk
from hamdg.stages.plan import Plan, PlannedStep, make_plan

if TYPE_CHECKING:
    from hamdg.stages.context import Context
    from tests.stages.conftest import Commander, Tiny, Work
    from tests.tiny import Tower


def plan_of(recipe: Recipe, until: str = "evaluate", *, force: bool = False, again: bool = False) -> Plan:
    own = open_context(recipe, RunDirectory(run_directory(recipe)))
    controls = [replace(own, recipe=one, run=RunDirectory(run_directory(one))) for one in own.algorithm.controls()]
    return make_plan([*controls, own], until=until, force=force, again=again)


def states(plan: Plan) -> dict[str, dict[str, str]]:
    return {run.algorithm: {step.name: step.state for step in run.steps} for run in plan.runs}


ALL = ("train", "merge", "validate", "evaluate")


def test_of_a_new_run_everything_is_to_do_and_no_time_is_invented(tiny: Tiny) -> None:
    recipe = tiny("--controls.erm=true")
    with opened_domains() as opened:
        plan = plan_of(recipe)
    assert states(plan) == {name: dict.fromkeys(ALL, "to do") for name in ("erm", "ham")}
    assert (plan.seconds, plan.earlier) == (None, 0)
    assert [run.learners for run in plan.runs] == [("pooled",), ("art_painting", "cartoon", "photo")]
    assert plan.sources == dict.fromkeys(("art_painting", "cartoon", "photo"), (34, 8))
    assert plan.targets == {"sketch": 42}
    assert not opened
    assert not Path(recipe.runtime.root).exists()


def test_a_record_that_goes_meanwhile_is_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, there = tmp_path / "gone" / "record.json", tmp_path / "record.json"
    there.write_text("{}")
    # As when another process begins a run again between the two looks.
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, there]))
    context = SimpleNamespace(recipe=SimpleNamespace(algorithm="ham"), run=RunDirectory(tmp_path / "a/b/c/d"))
    assert step_times._newest(cast("Context", context)) == [there, gone]


def test_work_is_counted_in_images_through_networks(tiny: Tiny) -> None:
    erm, ham = plan_of(tiny("--controls.erm=true")).runs
    work = {step.name: step.work for step in ham.steps}
    # 4 steps of 4 images of 3 sources, forward and back; zero-shot, 3 sources, 3 averages and HAM on 3 x 8, then 42.
    assert work == {"train": 3 * 4 * 4 * 3, "merge": 0, "validate": 8 * 3 * 8, "evaluate": 8 * 42}
    assert {step.name: step.work for step in erm.steps} == work | {"validate": 3 * 3 * 8, "evaluate": 3 * 42}


def test_the_last_step_ends_the_plan(tiny: Tiny) -> None:
    assert [*states(plan_of(tiny(), "train"))["ham"]] == ["train"]
    assert [*states(plan_of(tiny(), "validate"))["ham"]] == ["train", "merge", "validate"]
    assert plan_of(tiny(), "validate").targets == {"sketch": None}


def test_what_a_finished_run_tells_of_itself_and_of_the_next(copied: Callable[[Tower], RunDirectory]) -> None:
    run = copied("vit")
    recipe = replace(run.recipe(), runtime=replace(run.recipe().runtime, root=str(run.path.parents[3])))
    plan = plan_of(recipe)
    assert all(one.is_done for one in plan.runs)
    assert plan.seconds == 0
    assert "nothing is left to do" in " ".join(plan_text.lines(plan))

    again = plan_of(recipe, again=True)
    assert states(again)["ham"] == dict.fromkeys(ALL, "done") | {"evaluate": "to do"}
    record = json.loads(run.record.read_text())
    assert again.seconds == record["timings"]["evaluate"]

    forced = plan_of(recipe, force=True)
    assert states(forced) == {"erm": dict.fromkeys(ALL, "done"), "ham": dict.fromkeys(ALL, "to do")}

    other = plan_of(replace(recipe, merge=replace(recipe.merge, options={**recipe.merge.options, "keep": 0.7})))
    train, merge = other.runs[-1].steps[:2]
    assert (train.state, train.taken_from, merge.state) == ("taken", run.path, "to do")
    validation = json.loads(run.validation.read_text())["seconds"]
    last = record["timings"]["merge"] + record["timings"]["evaluate"] + validation
    assert other.seconds == pytest.approx(last)
    assert other.earlier == 1
    assert f"train (taken from {run.path.name}), merge, evaluate" in " ".join(plan_text.lines(other))
    assert other.progress().left().endswith(" left")

    longer = plan_of(replace(recipe, train=replace(recipe.train, steps=5)))
    assert (longer.seconds, longer.earlier) == (None, 0), "runs of other steps tell no time"


def test_a_step_after_one_that_is_done_again_is_done_again(copied: Callable[[Tower], RunDirectory]) -> None:
    run = copied("vit")
    recipe = replace(run.recipe(), runtime=replace(run.recipe().runtime, root=str(run.path.parents[3])))
    run.step("merge").summary.unlink()
    assert states(plan_of(recipe))["ham"] == dict.fromkeys(ALL, "to do") | {"train": "done"}


def test_a_merge_that_is_done_again_leaves_joint_training_as_it_is(tiny: Tiny, worked: list[Work]) -> None:
    recipe = tiny("--algorithm=experts", "--experts.joint_share=0.5", tower="vit")
    pipeline.run(recipe, until="mix")
    run = RunDirectory(run_directory(recipe))
    run.step("merge").summary.unlink()
    planned = {"train": "done", "merge": "to do", "joint": "done", "mix": "to do"}
    assert states(plan_of(recipe, "mix"))["experts"] == planned
    worked.clear()
    pipeline.run(recipe, until="mix")
    assert [(work.run, work.step) for work in worked] == [(run.path, "merge"), (run.path, "mix")]
    assert set(states(plan_of(recipe, "mix", force=True))["experts"].values()) == {"to do"}


def test_a_stopped_training_goes_on_after_its_checkpoint(
    command: Commander, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command("own", "--runtime.checkpoint_every=2", tower="vit")
    update = Progress.update

    def stop(progress: Progress, step: int, steps: int, text: Callable[[], str] | None = None) -> None:
        if step == 3:
            raise ZeroDivisionError
        update(progress, step, steps, text)

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Progress, "update", stop)
        cli.main(own.argv)
    (train, *_) = plan_of(own.recipe).runs[-1].steps
    assert (train.state, train.at, train.of) == ("resumed", 2, 4)
    assert cli.main([*own.argv, "--dry-run"]) == 0
    assert "train (goes on after step 2 of 4)" in capsys.readouterr().out
    own.directory.step("train").resume.write_bytes(b"damaged")
    assert plan_of(own.recipe).runs[-1].steps[0].at == 0


def test_the_lines_answer_what_a_user_asks(tiny: Tiny) -> None:
    plan = replace(plan_of(tiny("--controls.erm=true")), disk=Disk(2e9, 10_000_000_000, Path("cache")))
    assert plan_text.title(plan) == "HAM (reconstruction) on mini, held out: sketch, seed 0"
    text = [re.sub(r"[\d,]{5,}", "N", line) for line in plan_text.lines(plan)]
    path = plan.runs[-1].path
    assert text == [
        "steps     ERM + SMA             train, merge, evaluate",
        "          HAM (reconstruction)  train, merge, evaluate",
        f"models    {plan.model}, N trained parameters each: 1 for ERM + SMA and 3 for HAM (reconstruction), 4 steps",
        "images    art_painting 34 + 8, cartoon 34 + 8, photo 34 + 8 (to train + to validate)",
        "          sketch 42: held out; files are listed, and opened after all training",
        "control   ERM + SMA trains on the same images, model and steps, to show what HAM (reconstruction) adds; "
        "--controls.erm=false does without",
        "disk      2.0 GB of decoded images; 10.0 GB are free",
        "time      an estimate follows the first steps",
        f"writes    {re.sub(r'[0-9,]{5,}', 'N', str(path))}",
    ]
    for needed, said in ((2e9, "2.0 GB of decoded images and activations"), (5e8, "500.0 MB of activations")):
        lines = plan_text.lines(replace(plan, disk=Disk(needed, 10_000_000_000, Path("cache"), 5e8)))
        assert f"disk      {said}; 10.0 GB are free" in lines


def test_a_control_that_trains_more_parameters_says_how_many(tiny: Tiny) -> None:
    plan = plan_of(tiny("--algorithm=lora", "--controls.erm=true", tower="vit"))
    control, own = (run.parameters for run in plan.runs)
    assert plan.parameters == own < control
    (line,) = (line for line in plan_text.lines(plan) if line.startswith("models"))
    said = f"1 for ERM + SMA ({control:,} trained parameters) and 1 for CLIP-LoRA ({own:,} trained parameters), 4 steps"
    assert line == f"models    {plan.model}: {said}"


@pytest.mark.parametrize(
    ("devices", "nodes", "said"),
    [
        (1, 1, ""),
        (4, 1, "processes 4 train together, each on a part of every batch"),
        (2, 2, "processes 4 train together, 2 on each of 2 machines, each on a part of every batch"),
    ],
)
def test_processes_that_train_together_are_counted(tiny: Tiny, devices: int, nodes: int, said: str) -> None:
    plan = replace(plan_of(tiny(f"--runtime.devices={devices}")), nodes=nodes)
    assert [line for line in plan_text.lines(plan) if line.startswith("processes")] == [said] * bool(said)
    assert (plan_text.values(plan)["devices"], plan_text.values(plan)["nodes"]) == (devices, nodes)


@pytest.mark.parametrize(
    ("until", "read_by", "said"),
    [
        ("validate", (), "sketch: held out, never opened"),
        ("evaluate", ("adapt",), "sketch 42: held out; `adapt` reads its images, without labels"),
    ],
)
def test_what_becomes_of_the_held_out_domain_is_said(
    tiny: Tiny, until: str, read_by: tuple[str, ...], said: str
) -> None:
    plan = replace(plan_of(tiny(), until), read_by=read_by)
    assert said in [line.strip() for line in plan_text.lines(plan)]


def test_times_name_the_runs_that_they_are_of(tiny: Tiny) -> None:
    plan = plan_of(tiny())
    steps = tuple(PlannedStep(step.name, "to do", seconds=30.0) for step in plan.runs[0].steps)
    known = replace(plan, runs=(replace(plan.runs[0], steps=steps),), earlier=3)
    assert "time      about 2:00 min, as in 3 earlier runs here" in plan_text.lines(known)
    assert "time      about 2:00 min, as in an earlier run here" in plan_text.lines(replace(known, earlier=1))
    last = replace(plan.runs[0], steps=(PlannedStep("train", "done", of=4), PlannedStep("evaluate", "to do")))
    assert "time      not known; nothing is left to train" in plan_text.lines(replace(plan, runs=(last,)))


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    command: Commander, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command("own", tower="vit")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([*own.argv, "--dry-run", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("HAM (reconstruction) on mini, held out: sketch, seed 0\nsteps     ")
    assert said.endswith(f"writes    {own.directory.path}\n")
    assert len(said.splitlines()) <= 12
    assert sorted(tmp_path.rglob("*")) == before

    assert cli.main([*own.argv, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(own.directory.path)
    assert found["sources"]["photo"] == {"training": 34, "holdout": 8}
    assert found["targets"] == {"sketch": 42}
    assert [step["name"] for step in found["runs"][0]["steps"]] == list(ALL)
    assert found["seconds"] is None


def test_a_dry_run_refuses_what_a_run_refuses(command: Commander, capsys: pytest.CaptureFixture[str]) -> None:
    own = command("own", tower="vit")
    assert cli.main([*own.argv, "--dry-run", "--until=mrege"]) == 2
    assert "The algorithm `ham` has no step `mrege`" in capsys.readouterr().err


def test_a_run_says_its_plan_first_and_a_done_one_does_not(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny("--train.steps=2", tower="vit")
    pipeline.run(recipe)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "==> HAM (reconstruction) on mini, held out: sketch, seed 0"
    assert lines[1] == "    steps     HAM (reconstruction)  train, merge, evaluate"
    pipeline.run(recipe)
    assert "steps" not in capsys.readouterr().out
