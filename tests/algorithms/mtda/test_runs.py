"""Whole runs of training-free merging for several targets: what each step reads, leaves and says, and kills."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from safetensors.torch import load_file

from hamdg import cli
from hamdg.algorithms.base import Step
from hamdg.algorithms.mtda.merging import BUFFERS, merge_targets, with_head
from hamdg.config.algorithms.mtda import MtdaSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, RunDirectoryError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models.mini_resnet import WIDTHS, MiniResNet
from hamdg.models.network import Weights
from hamdg.report.table import format_text
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import defining_part, identity, run_directory
from hamdg.runs.lines import read_lines
from hamdg.runs.record import Record, read_record
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline, running
from hamdg.stages.context import Context, open_context
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.step_files import StepFiles
from tests.algorithms.test_sections import left_by, undeclared
from tests.stages.conftest import tiny_arguments
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    Run = Callable[..., "Finished"]

TARGETS = ("art_painting", "cartoon", "sketch")
ARGUMENTS = (
    "--algorithm=mtda",
    "--model.name=mini-resnet8-16",
    "--model.weights=null",
    "--model.image_size=32",
    "--model.statistics=live",
    "--held_out=sketch+art+cartoon",
    "--mtda.adapt.steps=3",
    "--mtda.adapt.threshold=0.1",
    "--mtda.reestimate.images=8",
    "--evaluate.average=harmonic",
    "--runtime.quiet=true",
)
PLAIN = ("--mtda.compare.union=false", "--mtda.compare.starts=false", "--mtda.reestimate.images=0")


def recipe_of(root: Path, *overrides: str) -> Recipe:
    return read_recipe(None, [*tiny_arguments(root, "rn"), *ARGUMENTS, *overrides])


class Finished:
    """A finished run, which nothing may change."""

    def __init__(self, recipe: Recipe) -> None:
        pipeline.run(recipe)
        self.recipe = recipe
        self.run = RunDirectory(run_directory(recipe))
        self.record: Record = read_record(self.run.record)

    @property
    def context(self) -> Context:
        return open_context(self.recipe, self.run)

    def last(self, step: str) -> dict[str, dict[str, torch.Tensor]]:
        return self.context.step(step).history().last


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that gives the finished run of some overrides, all below one root."""
    root = tmp_path_factory.mktemp("mtda")

    @cache
    def run(*overrides: str) -> Finished:
        return Finished(recipe_of(root, *overrides))

    return run


@pytest.fixture(scope="session")
def whole(finished: Run) -> Finished:
    return finished("--evaluate.lines=3", "--runtime.report=true")


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_step_opens_what_it_declares_and_the_merge_opens_nothing(whole: Finished) -> None:
    steps = algorithm_of(whole.recipe).steps()
    assert [step.name for step in steps] == ["source", "adapt", "merge", "union", "starts", "readapt", "reestimate"]
    opened = {step.name: read_step_summary(whole.run.step(step.name))["opened"] for step in steps}
    assert opened == {
        "source": ["photo"],
        "adapt": list(TARGETS),
        "merge": [],
        "union": list(TARGETS),
        "starts": ["photo"],
        "readapt": list(TARGETS[1:]),
        "reestimate": list(TARGETS),
    }
    assert {step.name for step in steps if "targets" in step.reads} == {"adapt", "union", "readapt", "reestimate"}
    assert whole.record["part"] == "20%"


def test_all_models_start_from_the_source_model_and_the_merge_is_theirs(whole: Finished) -> None:
    source, adapt = whole.last("source")["source"], whole.context.step("adapt").history()
    assert tuple(adapt.last) == TARGETS
    assert all(equal(start, source) for start in adapt.start.values())
    assert all(not torch.equal(own["conv1.weight"], source["conv1.weight"]) for own in adapt.last.values())
    merged = load_tensors(whole.run.merged)
    assert equal(merged, merge_targets(adapt.last, "moments"))
    assert int(merged["bn1.num_batches_tracked"]) == sum(
        int(own["bn1.num_batches_tracked"]) for own in adapt.last.values()
    )
    assert read_metadata(whole.run.merged)["hamdg.method"] == "uniform"
    facts = read_step_summary(whole.run.step("adapt"))["facts"]
    assert facts["start_distance"] == 0
    assert cast("float", read_step_summary(whole.run.step("readapt"))["facts"]["start_distance"]) > 0.7


def test_the_rows_are_those_that_were_announced(whole: Finished) -> None:
    context = whole.context
    entries = context.algorithm.entries(context)
    keys = list(dict.fromkeys(entry.key for entry in entries))
    assert keys == list(context.algorithm.keys(context.sources)) == [row["key"] for row in whole.record["rows"]]
    assert keys[:4] == ["source_model", *(f"source/{name}" for name in TARGETS)]
    assert keys[-1] == "mtda"
    for name in ("source_model", "source/cartoon", "union_mixed", "union_apart", "starts", "ensemble", "merged"):
        assert f"reestimated/{name}" in keys
    assert {"merged_first", "merged_mean", "merged_separate", "reestimated/merged_separate"} <= set(keys)
    by_key = {entry.key: entry.weights for entry in entries}
    adapted = whole.last("adapt")
    for kind in BUFFERS[:2]:
        assert equal(by_key[f"merged_{kind}"], merge_targets(adapted, kind))
    # Their weights are the same, and so are the images that their statistics are of.
    again, own = by_key["reestimated/merged"], by_key["mtda"]
    moved = {name for name in own if not torch.equal(own[name], again[name])}
    assert moved
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
    notes = {row["key"]: row["note"] for row in whole.record["rows"]}
    assert all(("needs data" in note) == key.startswith("reestimated/") for key, note in notes.items())


def test_models_from_different_starts_are_merged_as_the_others(whole: Finished) -> None:
    settings = cast("MtdaSettings", whole.recipe.settings)
    recipe = replace(whole.recipe, settings=replace(settings, merge=replace(settings.merge, buffers="first")))
    context = open_context(recipe, whole.run)
    (found,) = (entry for entry in context.algorithm.entries(context) if entry.key == "starts")
    apart = {TARGETS[0]: whole.last("adapt")[TARGETS[0]], **whole.last("readapt")}
    assert equal(found.weights, merge_targets(apart, "first"))


def test_a_separate_head_is_for_its_own_target(whole: Finished, finished: Run) -> None:
    adapted, context = whole.last("adapt"), whole.context
    merged = load_tensors(whole.run.merged)
    own = {entry.only: entry.weights for entry in context.algorithm.entries(context) if entry.key == "merged_separate"}
    assert list(own) == [(name,) for name in TARGETS]
    MiniResNet(WIDTHS["mini-resnet8-16"], num_classes=7).load_state_dict(merged, strict=True)
    for (name,), weights in own.items():
        assert torch.equal(weights["fc.weight"], adapted[name]["fc.weight"])
        assert torch.equal(weights["conv1.weight"], merged["conv1.weight"])
    other = finished("--mtda.merge.heads=separate", *PLAIN)
    row = other.record["rows"][-1]
    assert row["key"] == "mtda"
    # Rows with other statistics have heads as the result has.
    apart = other.context.algorithm.entries(other.context)
    averaged = [one for one in apart if one.key == "merged_mean"]
    assert [one.only for one in averaged] == [(name,) for name in TARGETS]
    assert equal(averaged[1].weights, with_head(merge_targets(adapted, "mean"), adapted["cartoon"], "fc."))
    assert row["label"] == "MTDA merge, separate heads"
    assert set(row["targets"]) == set(TARGETS)
    assert "merged_shared" in {one["key"] for one in other.record["rows"]}
    # One file for each target, which is a whole network of the library's names; none that is one target's alone.
    assert not other.run.merged.exists()
    files = [f"merged/{name}/merged.safetensors" for name in TARGETS]
    assert list(other.record["files"]) == files
    for name, file in zip(TARGETS, files, strict=True):
        found = load_tensors(other.run.path / file)
        assert equal(found, own[name,])
        alone = MiniResNet(WIDTHS["mini-resnet8-16"], num_classes=7)
        alone.load_state_dict(found, strict=True)
    (other.run.path / files[0]).unlink()
    with pytest.raises(RunDirectoryError, match=rf"`{files[0]}` is missing; restore it, or let `hamdg evaluate .*`"):
        pipeline.run(other.recipe)
    pipeline.run(other.recipe, again=True)
    assert equal(load_tensors(other.run.path / files[0]), own[TARGETS[0],])


def test_the_headline_is_the_harmonic_mean_on_what_no_step_saw(whole: Finished) -> None:
    record = whole.record
    assert record["average"] == "harmonic"
    for row in record["rows"]:
        values = [cast("float", row["targets"][name]["accuracy_in20"]) for name in TARGETS]
        wanted = 0.0 if 0 in values else 3 / sum(1 / one for one in values)
        assert row["held_out"] == pytest.approx(wanted)
    shown = format_text(record)
    assert "Several held-out domains: harmonic mean." in shown
    assert "Held out: the 20 % part of the images, which no step has read." in shown
    assert f"standard error over the 20 % part of {record['n_held_out']} images" in shown
    assert "MTDA merge: the merge is the paper's" in shown
    assert all(name in shown.splitlines()[2] for name in TARGETS)
    page = (whole.run.path / "report.html").read_text()
    assert "harmonic mean over the domains" in page
    # Shares of images are drawn in per cent, on an axis that holds them.
    ends = {one["title"]: one["limits"] for one in record["steps"]["adapt"]["figures"] if one["kind"] == "curves"}
    assert ends["Pseudo-labels that the teacher is sure of"] == [0, 100]
    assert "Statistics of BatchNorm are measured anew at each point" in page


def test_lines_are_measured_with_statistics_of_their_own(whole: Finished) -> None:
    lines = read_lines(whole.run)
    assert lines is not None
    assert list(lines["lines"]) == [f"source/{name}" for name in TARGETS]
    rows = {row["key"]: row for row in whole.record["rows"]}
    for name in TARGETS:
        own = lines["lines"][f"source/{name}"]
        assert own["sketch"][0] == pytest.approx(rows[f"reestimated/source/{name}"]["targets"]["sketch"]["accuracy"])
        assert own["sketch"][-1] == pytest.approx(rows["reestimated/merged"]["targets"]["sketch"]["accuracy"])
    pairs = lines["pairs"]
    keys = [f"source/{name}" for name in TARGETS]
    # Beside them, from the first model to those from other starts.
    others = [(keys[0], f"{key}, another start") for key in keys[1:]]
    assert [(one["first"], one["last"]) for one in pairs] == [*combinations(keys, 2), *others]
    for one in pairs[3:]:
        assert one["values"]["sketch"][0] == pairs[0]["values"]["sketch"][0]
    for one in pairs[:3]:
        for end, at in ((one["first"], 0), (one["last"], -1)):
            assert {name: own[at] for name, own in one["values"].items()} == {
                name: own[0] for name, own in lines["lines"][end].items()
            }
    page = (whole.run.path / "report.html").read_text()
    assert "Along the lines between the models" in page
    assert "art_painting to sketch, another start" in page


def test_options_of_the_merge_and_comparisons_retrain_nothing(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(*PLAIN)
    done, work = [], running._work

    def watched(own: Context, step: Step) -> None:
        done.append(step.name)
        work(own, step)

    monkeypatch.setattr(running, "_work", watched)
    other = finished(*PLAIN, "--mtda.merge.buffers=mean")
    assert done == ["merge"]
    assert [row["key"] for row in other.record["rows"]].count("merged_moments") == 1
    assert equal(load_tensors(other.run.merged), merge_targets(first.last("adapt"), "mean"))


def test_source_batches_are_read_only_where_they_are_wanted(finished: Run) -> None:
    fed = finished(*PLAIN, "--mtda.adapt.source_batches=true")
    summary = read_step_summary(fed.run.step("adapt"))
    assert summary["opened"] == [*TARGETS[:2], "photo", "sketch"]
    assert summary["reads"] == ["sources", "targets"]
    assert summary["images_seen"] == 3 * 4 * 3 * 2
    assert not equal(load_tensors(fed.run.merged), load_tensors(finished(*PLAIN).run.merged))


def test_targets_may_have_steps_of_their_own(finished: Run) -> None:
    steps = {"art_painting": 1, "cartoon": 3, "sketch": 2}
    found = finished(*PLAIN, f"--mtda.adapt.steps={json.dumps(steps)}")
    start, adapted = found.last("source")["source"], found.last("adapt")
    counts = {
        name: int(own["bn1.num_batches_tracked"] - start["bn1.num_batches_tracked"]) for name, own in adapted.items()
    }
    assert counts == steps
    assert read_step_summary(found.run.step("adapt"))["images_seen"] == 4 * 6
    # Its rate went down to nothing earlier, so it is another model than the one of as many steps in all.
    assert not equal(adapted["sketch"], finished(*PLAIN).last("adapt")["sketch"])
    assert equal(load_tensors(found.run.merged), merge_targets(adapted, "moments"))


def test_a_step_depends_on_what_it_declares_alone(finished: Run, tmp_path: Path) -> None:
    own = finished(*PLAIN)
    for number, step in enumerate(algorithm_of(own.recipe).steps()):
        other = undeclared(own.recipe, step)
        settings = cast("MtdaSettings", own.recipe.settings)
        # Which steps there are must stay the same.
        changed = replace(
            cast("MtdaSettings", other.settings), compare=settings.compare, reestimate=settings.reestimate
        )
        recipe, copy = replace(other, settings=changed), tmp_path / step.name / "run"
        before, summary = left_by(StepFiles(own.run.path, step.name))
        run = RunDirectory(shutil.copytree(own.run.path, copy))
        run.step(step.name).reset()
        context = open_context(recipe, run)
        again = context.algorithm.steps()[number]
        running._work(context.narrowed(again, summary["identity"]), again)
        after, repeated = left_by(StepFiles(run.path, step.name))
        assert [file for file in before if after[file] != before[file]] == []
        assert repeated | {"seconds": 0} == summary | {"seconds": 0}


def test_an_adaptation_that_is_stopped_goes_on_to_the_same_bytes(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = finished(*PLAIN)
    recipe = recipe_of(tmp_path, *PLAIN, "--runtime.checkpoint_every=1")
    pipeline.run(recipe, until="source")

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe)

    stopped(run, monkeypatch, step=2)
    found = RunDirectory(run_directory(recipe))
    assert found.step("adapt").resume.exists()
    pipeline.run(recipe)
    assert found.merged.read_bytes() == wanted.run.merged.read_bytes()
    for name in TARGETS:
        file = f"adapt/last/{name}.safetensors"
        assert (found.path / file).read_bytes() == (wanted.run.path / file).read_bytes()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--held_out=sketch",), r"`mtda` merges the models of several targets, but `held_out` names one, `sketch`"),
        (
            ("--model.statistics=frozen",),
            r"^The algorithm `mtda` works with the statistics of BatchNorm that each model's own images leave, but "
            r"`model\.statistics` is `frozen`, so that all models would have the start's; set it to `live`\.$",
        ),
        (
            ("--mtda.adapt.steps={art_painting: 3, photo: 2}",),
            r"^`mtda\.adapt\.steps` names `art_painting`, `photo`, but the targets are `art_painting`, `cartoon`, "
            r"`sketch`; give a number for each of them, or one for all\.$",
        ),
        (("--runtime.devices=2",), r"has BatchNorm statistics that move"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_trains(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    recipe = recipe_of(tmp_path / "runs", *overrides)
    with pytest.raises(ConfigError, match=message):
        pipeline.run(recipe)
    assert not (tmp_path / "runs").exists()


def test_a_network_without_batchnorm_is_refused_by_name(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path / "runs", "--model.name=torchvision/vit_b_32", "--model.weights=random", "--model.statistics=frozen"
    )
    with pytest.raises(
        ConfigError, match=r"`mtda` works with the statistics of BatchNorm, but `model\.name` `torchvision/vit_b_32`"
    ):
        pipeline.run(recipe)
    assert not (tmp_path / "runs").exists()


def test_a_clip_has_no_head_of_its_own_to_keep(tmp_path: Path) -> None:
    arguments = [*tiny_arguments(tmp_path / "runs", "rn"), *ARGUMENTS]
    arguments = [one for one in arguments if not one.startswith(("--model.image_size", "--model.weights=null"))]
    name = next(one for one in arguments if "tiny-rn" in one)
    recipe = read_recipe(None, [*arguments, name, "--mtda.merge.heads=separate"])
    with pytest.raises(ConfigError, match=r"`mtda\.merge\.heads` is `separate`, but `model\.name` .* has no head"):
        pipeline.run(recipe)


def test_copies_of_domains_in_another_light_are_targets(finished: Run, tmp_path: Path) -> None:
    copies = "--data.mini.copies=[photo_fog,photo_dark]"
    found = finished(*PLAIN, copies, "--held_out=photo+photo_dark+photo_fog", "--excluded=[cartoon,sketch]")
    assert found.record["targets"] == ["photo", "photo_dark", "photo_fog"]
    assert found.record["sources"] == ["art_painting"]
    # Without copies, nothing has changed.
    assert "copies" not in json.dumps(identity_values(recipe_of(tmp_path)))
    assert identity(recipe_of(tmp_path)) == identity(recipe_of(tmp_path, "--data.mini.copies=[]"))
    with pytest.raises(ConfigError, match=r"`data\.mini\.copies`: there is no `photo_rain`"):
        recipe_of(tmp_path, "--data.mini.copies=[photo_rain]")


def identity_values(recipe: Recipe) -> dict[str, object]:
    return defining_part(recipe)


def test_the_evaluation_can_be_repeated_with_another_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(tmp_path, *PLAIN)
    pipeline.run(recipe)
    run = run_directory(recipe)
    assert "harmonic" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), "--evaluate.average=arithmetic"]) == 0
    record = read_record(run)
    assert record["average"] == "arithmetic"
    values = [cast("float", record["rows"][-1]["targets"][name]["accuracy_in20"]) for name in TARGETS]
    assert record["held_out_accuracy"] == pytest.approx(sum(values) / 3)
    assert "harmonic" not in capsys.readouterr().out


def test_streets_are_segmented_by_the_same_steps_with_the_last_layers_kept_apart(tmp_path: Path) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    dropped = ("--model.", "--data.mini.", "--held_out", "--algorithm")
    arguments = [one for one in (*tiny_arguments(tmp_path, "rn"), *ARGUMENTS) if not one.startswith(dropped)]
    own = [
        "--benchmark=mini-scenes",
        "--algorithm=mtda",
        "--held_out=day+dusk",
        "--excluded=[fog, rain]",
        "--data.scenes.images=10",
        "--data.scenes.image_size=32",
        "--model.name=mini-unet",
        "--model.statistics=live",
        "--mtda.merge.heads=separate",
        "--mtda.compare.starts=false",
    ]
    found = Finished(read_recipe(None, [*arguments, *own]))
    assert found.record["metric"] == "mIoU"
    row = found.record["rows"][-1]
    assert (row["key"], set(row["targets"])) == ("mtda", {"day", "dusk"})
    values = [cast("float", metrics["mIoU_in20"]) for metrics in row["targets"].values()]
    assert row["held_out"] == pytest.approx(2 / sum(1 / one for one in values) if all(values) else 0.0)
    context, adapted = found.context, found.last("adapt")
    entries = [one for one in context.algorithm.entries(context) if one.key == "mtda"]
    for entry in entries:
        (name,) = entry.only
        head = {key for key in entry.weights if torch.equal(entry.weights[key], adapted[name][key])}
        assert {key for key in entry.weights if key.startswith("segmentation_head.")} <= head
        assert not any("conv1.weight" in key for key in head)
    # The library loads the file of each target, with its own head, and nothing else.
    for entry in entries:
        folder = found.run.path / "merged" / entry.only[0]
        (config,) = folder.glob("hamdg-smp-*.json")
        model = smp.create_model(**json.loads(config.read_text()))
        model.load_state_dict(load_file(folder / "merged.safetensors"))
        assert equal(model.state_dict(), entry.weights)
