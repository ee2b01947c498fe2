"""SCMD through whole runs: rows, files, resuming, and what is refused before anything trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from hamdg import cli
from hamdg.algorithms.scmd.algorithm import Scmd
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.files import load_tensors, save_tensors
from hamdg.models import hub
from hamdg.models.clip import load_clip
from hamdg.models.network import Weights
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import Record, read_record
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from tests.stages.test_damaged_checkpoint import stopped
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny

TEACHER = (f"--scmd.teacher.name={CONF / 'tiny-vit.json'}", "--scmd.teacher.weights=random")
RESNET = ("--model.name=mini-resnet8-16", "--model.weights=null", "--model.image_size=32")
SCMD = ("--algorithm=scmd", *RESNET, *TEACHER)
EVERY_STEP = ("--history.start=0.5", "--history.every=1")


def finished(recipe: Recipe, until: str = "evaluate") -> RunDirectory:
    pipeline.run(recipe, until=until)
    return RunDirectory(run_directory(recipe))


def record_of(run: RunDirectory) -> Record:
    return read_record(run.path)


def history(run: RunDirectory, step: str, kind: str, name: str) -> dict[str, Tensor]:
    return load_tensors(run.path / f"{step}/{kind}/{name}.safetensors")


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_student_is_distilled_averaged_exported_and_evaluated(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tiny(*SCMD, *EVERY_STEP))
    record = record_of(run)
    assert [(row["key"], row["group"]) for row in record["rows"]] == [
        ("teacher", "control"),
        ("student", "control"),
        ("scmd", "merged"),
    ]
    assert record["rows"][0]["label"] == f"teacher, zero-shot: {CONF / 'tiny-vit.json'}"
    assert record["label"] == "SCMD"
    assert "SCMD" in capsys.readouterr().out
    facts = record["steps"]["distill"]["facts"]
    assert facts["hard_samples"] == {"steps": 4, "kept": 2, "of": 12}
    assert facts["scale"] == pytest.approx(1 / 0.07, rel=0.01)
    assert facts["scale"] != pytest.approx(1 / 0.07, rel=1e-7)
    merged, base = load_tensors(run.merged), load_tensors(run.base)
    assert all(torch.equal(merged[name], base[name]) for name in base if "running" in name)
    average = history(run, "distill", "history", "student")
    assert all(torch.equal(merged[name], tensor) for name, tensor in average.items())
    # Of the student alone: neither the teacher nor the linear map nor the scale is in a file.
    assert average.keys() <= base.keys()
    assert not equal(average, history(run, "distill", "last", "student"))


def test_the_result_is_the_mean_of_the_states_from_the_start_of_the_history_on(tiny: Tiny) -> None:
    mean = history(finished(tiny(*SCMD, *EVERY_STEP), until="distill"), "distill", "history", "student")
    kept = ("--history.kind=snapshots", "--history.keep=9", *EVERY_STEP)
    folder = finished(tiny(*SCMD, *kept), until="distill").path / "distill/snapshots/student"
    states = [load_tensors(path) for path in sorted(folder.iterdir())]
    assert [path.stem for path in sorted(folder.iterdir())] == ["step-000002", "step-000003", "step-000004"]
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, torch.stack([state[name] for state in states]).mean(dim=0))


def test_without_teacher_and_selection_it_is_erm_with_its_average_bit_for_bit(tiny: Tiny) -> None:
    off = ("--scmd.logit_weight=0", "--scmd.cross_modal_weight=0", "--scmd.hard_share=1")
    own, erm = finished(tiny(*SCMD, *off), until="distill"), finished(tiny("--algorithm=erm", *RESNET), until="train")
    for kind in ("last", "history"):
        ours, plain = history(own, "distill", kind, "student"), history(erm, "train", kind, "pooled")
        assert equal(ours, plain)


CHANGES = (
    "--scmd.logit_weight=0",
    "--scmd.cross_modal_weight=0",
    "--scmd.hard_share=1",
    "--scmd.whole_share=0.9",
    "--scmd.temperature=1",
    "--scmd.teacher.prompts=['this is a photo of a {}']",
    "--scmd.teacher.images=student",
)


def test_every_setting_changes_what_is_learned(tiny: Tiny) -> None:
    def learned(*changes: str) -> dict[str, Tensor]:
        return history(finished(tiny(*SCMD, *changes), until="distill"), "distill", "last", "student")

    plain = learned()
    assert [change for change in CHANGES if equal(learned(change), plain)] == []
    assert len({identity(tiny(*SCMD, change)) for change in (*CHANGES, "--seed=0")}) == len(CHANGES) + 1


def test_words_for_classes_define_a_run_whose_student_has_no_text(tiny: Tiny) -> None:
    words = "--data.words={dog: puppy}"
    assert identity(tiny(*SCMD)) != identity(tiny(*SCMD, words))
    assert identity(tiny("--algorithm=erm", *RESNET)) == identity(tiny("--algorithm=erm", *RESNET, words))


def test_a_clip_may_be_the_student(tiny: Tiny) -> None:
    record = record_of(finished(tiny("--algorithm=scmd", *TEACHER)))
    assert [row["key"] for row in record["rows"]] == ["zero_shot", "teacher", "student", "scmd"]


def test_statistics_may_move(tiny: Tiny) -> None:
    run = finished(tiny(*SCMD, "--model.statistics=live"))
    # Once a step: the pass that selects does not move them.
    assert int(load_tensors(run.merged)["bn1.num_batches_tracked"]) == 4


def test_a_stopped_run_ends_with_the_same_bytes(command: Commander, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = (*SCMD, *EVERY_STEP, "--train.schedule=constant", "--runtime.checkpoint_every=1")
    whole, cut = command("whole", *overrides), command("cut", *overrides)
    assert cli.main(whole.argv) == 0
    stopped(lambda: cli.main(cut.argv), monkeypatch, step=3)
    assert not cut.directory.merged.exists()
    # The teacher is made again: of a real CLIP it would be 350 MB a minute.
    state = torch.load(cut.directory.step("distill").resume, weights_only=True)["state_dict"]
    assert not [name for name in state if "teacher" in name]
    assert {"members.0.projector", "members.0.log_scale"} < set(state)
    assert cli.main(cut.argv) == 0
    assert whole.directory.merged.read_bytes() == cut.directory.merged.read_bytes()
    for kind in ("last", "history", "start"):
        file = f"distill/{kind}/student.safetensors"
        assert (whole.directory.path / file).read_bytes() == (cut.directory.path / file).read_bytes()
    ours, theirs = (read_step_summary(one.directory.step("distill"))["facts"] for one in (whole, cut))
    assert ours == theirs


def file_of_teacher(folder: Path, factor: float) -> Path:
    """Write a CLIP's weights to a file, all of them multiplied."""
    state = load_clip(
        read_recipe(None, [f"--model.name={CONF / 'tiny-vit.json'}", "--model.weights=random"]).model
    ).state()
    path = folder / "teacher.safetensors"
    save_tensors(path, {name: tensor * factor for name, tensor in state.items()})
    return path


def test_a_run_that_was_stopped_starts_again_with_another_teacher(
    command: Commander, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command(
        "own", *SCMD, f"--scmd.teacher.weights={file_of_teacher(tmp_path, 1.0)}", "--runtime.checkpoint_every=1"
    )
    stopped(lambda: cli.main(own.argv), monkeypatch, step=2)
    assert own.directory.step("distill").resume.exists()
    file_of_teacher(tmp_path, 1.01)
    assert cli.main(own.argv) == 0
    assert "holds a state that training cannot take over; the step starts again" in capsys.readouterr().err


def test_a_done_run_is_not_evaluated_beside_another_teacher(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(*SCMD, f"--scmd.teacher.weights={file_of_teacher(tmp_path, 1.0)}")
    run = finished(recipe, until="distill")
    file_of_teacher(tmp_path, 1.01)
    with pytest.raises(WeightsError, match=r"^The teacher `.*tiny-vit\.json` is not the one that `.*` was distilled"):
        pipeline.run(recipe)
    file_of_teacher(tmp_path, 1.0)
    pipeline.run(recipe)
    assert run.is_done


REFUSED = {
    "no CLIP": (
        ("--scmd.teacher.name=mini-resnet8",),
        r"^`scmd\.teacher\.name` is `mini-resnet8`, which has no text tower, but SCMD's teacher is a CLIP",
    ),
    "no such CLIP": (("--scmd.teacher.name=ViT-B-31",), r"`scmd\.teacher\.name`"),
    "another side": (
        ("--scmd.teacher.images=student", "--model.image_size=48"),
        r"^`scmd\.teacher\.images` is `student`, but the student's images have a side of 48 pixels and `.*` takes 32",
    ),
    "no words": (
        ("--scmd.teacher.prompts=[nothing]",),
        r"Expected every template of `scmd\.teacher\.prompts` to have one `\{\}` for the class, but got `nothing`",
    ),
    "two words": (
        ('--scmd.teacher.prompts=["{} {}"]',),
        r"Expected every template of `scmd\.teacher\.prompts` to have one `\{\}` for the class, but got `\{\} \{\}`",
    ),
    "classes alike": (
        ("--data.words={dog: elephant}",),
        r"^The text tower of `tiny-vit` gives the classes .*`dog` .* under `scmd\.teacher\.prompts` \(.*\), so that no "
        r"image could tell them apart: .* other words \(`data\.words`\), or set `scmd\.teacher\.prompts`",
    ),
    "parts of a batch": (
        ("--train.accumulate=2",),
        r"^The loss of `ScmdLearner` \(learner `student`\) needs the whole",
    ),
    "processes": (("--runtime.devices=2",), r"^The loss of `ScmdLearner` \(learner `student`\) needs the whole batch"),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_distilled_is_refused_before_anything_is_written(
    tiny: Tiny, overrides: tuple[str, ...], message: str
) -> None:
    recipe = tiny(*SCMD, *overrides)
    with pytest.raises(ConfigError, match=message):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()


def test_a_teachers_weights_that_are_missing_are_named_by_their_key(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*SCMD, f"--scmd.teacher.weights={tmp_path / 'none.safetensors'}")
    with pytest.raises((ConfigError, WeightsError), match=r"none\.safetensors"):
        pipeline.run(recipe)
    with pytest.raises((ConfigError, WeightsError), match=r"`scmd\.teacher\.weights`"):
        pipeline.run(tiny(*SCMD, "--scmd.teacher.name=ViT-B-32", "--scmd.teacher.weights=null"))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr(hub, "answers", lambda host, within: False)
    with pytest.raises(WeightsError, match=r"with `--scmd\.teacher\.weights=FILE`"):
        pipeline.run(tiny(*SCMD, "--scmd.teacher.name=RN50", "--scmd.teacher.weights=openai"))
    assert not Path(recipe.runtime.root).exists()


def test_the_published_quirks_are_in_the_table(tiny: Tiny) -> None:
    recipe = tiny(*SCMD, "--scmd.teacher.images=student", "--scmd.selection_steps=5000")
    row = record_of(finished(recipe))["rows"][0]
    assert row["note"] == "given the student's images as they are"
    assert isinstance(open_context(recipe, RunDirectory(run_directory(recipe))).algorithm, Scmd)
