"""Runs that have a step in common do it once: known by its identity, linked, and never done twice at a time."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import console
from hamdg import files as files_module
from hamdg.algorithms.base import Step, StepResult
from hamdg.config.algorithms.ham import EnrichmentConfig, HamSettings
from hamdg.config.recipe import HistoryConfig, MergeConfig, Recipe, TrainConfig
from hamdg.runs.directory import RunDirectory, StepDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.steps import check_step, read_step_summary
from hamdg.stages import pipeline, sharing
from hamdg.stages.context import Context
from hamdg.stages.sharing import step_identities, step_lock

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work

TWO = ("--merge.options.keep=0.5", "--merge.options.keep=0.25")


def files(run: RunDirectory, step: str) -> dict[str, Path]:
    """Return the files of a step by their name in the run."""
    own = run.step(step)
    found = [own.summary, *(path for path in own.folder.rglob("*") if path.is_file())]
    return {path.relative_to(run.path).as_posix(): path for path in found}


def steps(worked: list[Work]) -> list[tuple[Path, str]]:
    return [(work.run, work.step) for work in worked]


def test_runs_that_differ_in_the_merge_alone_train_once_and_share_the_files(
    tiny: Tiny, worked: list[Work], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    one, two = (run_directory(recipe) for recipe in (first, second))
    pipeline.run(first, until="merge")
    pipeline.run(second, until="merge")
    assert steps(worked) == [(one, "train"), (one, "merge"), (two, "merge")]
    assert f"the same step of `{one}` is taken" in capsys.readouterr().out
    ours, theirs = (files(RunDirectory(path), "train") for path in (one, two))
    assert ours.keys() == theirs.keys()
    assert len(ours) > 8
    assert [name for name in ours if not ours[name].samefile(theirs[name])] == []
    assert not (one / "merge.json").samefile(two / "merge.json")
    # It is a whole run of its own, which does not need the other.
    shutil.rmtree(one)
    assert pipeline.run(second).is_file()
    assert steps(worked)[3:] == []


def test_a_forced_run_and_one_below_another_root_train_again(tiny: Tiny, worked: list[Work], tmp_path: Path) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    pipeline.run(first, until="train")
    pipeline.run(second, until="train", force=True)
    third = tiny(TWO[1], f"--runtime.root={tmp_path / 'elsewhere'}", tower="vit")
    pipeline.run(third, until="train")
    assert steps(worked) == [(run_directory(recipe), "train") for recipe in (first, second, third)]


@pytest.mark.parametrize("until", ["train", "merge"])
def test_leaving_a_source_out_shares_the_training_whichever_of_two_is_held_out(
    tiny: Tiny, worked: list[Work], until: str
) -> None:
    leave_out = ["--held_out=photo", "--excluded=[sketch]"], ["--held_out=sketch", "--excluded=[photo]"]
    recipes = [tiny(*options, tower="vit") for options in leave_out]
    for recipe in recipes:
        pipeline.run(recipe, until=until)
    one, two = (run_directory(recipe) for recipe in recipes)
    assert one != two
    assert (one, "train") in steps(worked)
    assert (two, "train") not in steps(worked)
    # The usual run has another source, and so another training.
    pipeline.run(tiny("--held_out=sketch", tower="vit"), until="train")
    assert [work.step for work in worked].count("train") == 2


def test_a_step_that_began_with_other_weights_is_not_taken(tiny: Tiny, worked: list[Work]) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    pipeline.run(first, until="train")
    start = RunDirectory(run_directory(first)).start
    start.write_text(json.dumps(json.loads(start.read_text()) | {"sha256": "0" * 64}))
    pipeline.run(second, until="train")
    assert steps(worked) == [(run_directory(first), "train"), (run_directory(second), "train")]


def test_a_step_that_saw_other_splits_is_not_taken(tiny: Tiny, worked: list[Work]) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    pipeline.run(first, until="train")
    splits = RunDirectory(run_directory(first)).splits
    facts = json.loads(splits.read_text())
    facts["domains"]["photo"]["fingerprint"] = "0" * 64
    splits.write_text(json.dumps(facts))
    pipeline.run(second, until="train")
    assert steps(worked) == [(run_directory(first), "train"), (run_directory(second), "train")]


def test_a_step_with_a_file_that_is_another_is_not_taken_and_named(
    tiny: Tiny, worked: list[Work], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    pipeline.run(first, until="train")
    run = RunDirectory(run_directory(first))
    damaged = next(path for name, path in files(run, "train").items() if name.endswith("cartoon.safetensors"))
    damaged.write_bytes(damaged.read_bytes() + b"\0")
    pipeline.run(second, until="train")
    assert steps(worked) == [(run_directory(first), "train"), (run_directory(second), "train")]
    said = capsys.readouterr().out
    assert f"the step `train` of `{run.path}` is not taken: `{damaged}` is not the file that" in said


@pytest.mark.parametrize("gone", ["train/index.json", "train.json"])
def test_a_step_whose_run_begins_again_just_now_is_not_taken(
    tiny: Tiny, worked: list[Work], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    first, second = (tiny(option, tower="vit") for option in TWO)
    one, two = (run_directory(recipe) for recipe in (first, second))
    pipeline.run(first, until="train")

    def checked(run: RunDirectory, step: StepDirectory) -> None:
        check_step(run, step)
        (one / gone).unlink()

    monkeypatch.setattr(sharing, "check_step", checked)
    pipeline.run(second, until="train")
    assert steps(worked) == [(one, "train"), (two, "train")]
    assert f"the step `train` of `{one}` is not taken: `{one / gone}` " in capsys.readouterr().out


def test_weights_and_class_features_whose_run_begins_again_just_now_are_written(
    tiny: Tiny, worked: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (tiny(option, "--model.text_head=source_means", tower="vit") for option in TWO)
    one, two = (RunDirectory(run_directory(recipe)) for recipe in (first, second))
    pipeline.run(first, until="train")
    kept = {path.name: path.read_bytes() for path in (one.base, one.class_features)}
    link, asked = files_module.link, list[Path]()

    def gone(source: Path, target: Path) -> None:
        if source.name in kept:
            asked.append(source)
            source.unlink()
        link(source, target)

    monkeypatch.setattr(files_module, "link", gone)
    pipeline.run(second, until="train")
    assert asked == [one.class_features, one.base]
    assert {path.name: path.read_bytes() for path in (two.base, two.class_features)} == kept
    assert steps(worked) == [(one.path, "train")]


def test_a_step_that_another_run_does_just_now_is_waited_for_and_taken(
    tiny: Tiny, worked: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tiny(TWO[0], f"--runtime.root={tmp_path / 'elsewhere'}", tower="vit")
    pipeline.run(elsewhere, until="train")
    done, (first, second) = RunDirectory(run_directory(elsewhere)), (tiny(option, tower="vit") for option in TWO)
    one, two = (RunDirectory(run_directory(recipe)) for recipe in (first, second))
    waits = threading.Event()
    note = console.note

    def noticed(text: str) -> None:
        note(text)
        if text == "another run is at the same step; waiting for it":
            waits.set()

    monkeypatch.setattr(console, "note", noticed)
    thread = threading.Thread(target=lambda: pipeline.run(second, until="train"))
    with step_lock(one, read_step_summary(done.step("train"))["identity"]):
        thread.start()
        assert waits.wait(60)
        assert not two.step("train").is_done
        shutil.copytree(done.path, one.path)
    thread.join(60)
    assert not thread.is_alive()
    assert two.step("train").summary.samefile(one.step("train").summary)
    assert steps(worked) == [(done.path, "train")]


def test_a_begun_step_goes_on_itself(tiny: Tiny, worked: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (tiny(option, "--runtime.checkpoint_every=1", tower="vit") for option in TWO)
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.cohort.history.CheckpointHistory.on_train_end", lambda *_: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception, match="stopped"):
            pipeline.run(second, until="train")
    assert RunDirectory(run_directory(second)).step("train").resume.exists()
    pipeline.run(first, until="train")
    pipeline.run(second, until="train")
    assert steps(worked) == [(run_directory(recipe), "train") for recipe in (second, first, second)]


def nothing(context: Context) -> StepResult:
    return StepResult()


OWN = Recipe(settings=HamSettings())
STEPS = (
    Step("learn", nothing, sections=frozenset({"train", "ham.enrichment"})),
    Step("fuse", nothing, reads=frozenset(), sections=frozenset({"merge"})),
    Step("adapt", nothing, reads=frozenset({"targets"})),
)


def identities(recipe: Recipe, sources: tuple[str, ...] = ("a", "b"), targets: tuple[str, ...] = ("t",)) -> list[str]:
    found = step_identities(recipe, STEPS, sources, targets)
    assert list(found) == ["learn", "fuse", "adapt"]
    return list(found.values())


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (replace(OWN, history=HistoryConfig(kind="last")), 3),
        (replace(OWN, settings=HamSettings(harmonization=replace(HamSettings().harmonization, every=9))), 3),
        (replace(OWN, label="another", held_out="photo", excluded=["art_painting"]), 3),
        (replace(OWN, merge=MergeConfig(method="uniform")), 1),
        (replace(OWN, train=TrainConfig(lr=0.5)), 0),
        (replace(OWN, settings=HamSettings(enrichment=EnrichmentConfig(enabled=False))), 0),
        (replace(OWN, seed=1), 0),
        (replace(OWN, model=replace(OWN.model, name="mini-vit")), 0),
        (replace(OWN, data=replace(OWN.data, batch_size=3)), 0),
    ],
)
def test_a_step_is_known_by_what_it_declares_and_by_the_steps_before(changed: Recipe, same: int) -> None:
    before, after = identities(OWN), identities(changed)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True] * same + [False] * (3 - same)


def test_a_step_is_known_by_the_domains_that_it_may_open() -> None:
    own = identities(OWN)
    assert identities(OWN, targets=("u",))[:2] == own[:2]
    assert identities(OWN, targets=("u",))[2] != own[2]
    assert not set(identities(OWN, sources=("a", "c"))) & set(own)
    assert identities(OWN, sources=("b", "a"))[0] == own[0]
