"""Image classifiers through whole runs: frozen and live statistics, no text, a linear layer that is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from hamdg import cli
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig, Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.merge.tensors import sha256_tensor
from hamdg.models.architectures import build, find_architecture
from hamdg.models.image_classifier import fresh_head
from hamdg.report.table import class_features
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import Record, read_record
from hamdg.runs.steps import read_start
from hamdg.stages import class_features as stages_features
from hamdg.stages import pipeline
from hamdg.stages.context import check_batchnorm, open_context
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny

RESNET = ("--model.name=mini-resnet8-16", "--model.weights=null", "--model.image_size=32")
LIVE = "--model.statistics=live"
SOURCES = ("art_painting", "cartoon", "photo")


def finished(recipe: Recipe) -> tuple[RunDirectory, Record]:
    pipeline.run(recipe)
    run = RunDirectory(run_directory(recipe))
    return run, read_record(run.path)


def histories(run: RunDirectory) -> dict[str, dict[str, torch.Tensor]]:
    return {name: load_tensors(run.path / f"train/history/{name}.safetensors") for name in SOURCES}


@pytest.mark.parametrize("live", [False, True])
def test_experts_of_a_resnet_are_trained_merged_and_evaluated(
    tiny: Tiny, live: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (*RESNET, "--algorithm=experts", "--merge.method=uniform", "--evaluate.lines=3")
    run, record = finished(tiny(*overrides, *([LIVE] if live else [])))
    shown = capsys.readouterr().out
    assert record["batchnorm"] == ("live" if live else "frozen")
    assert f"BatchNorm statistics {record['batchnorm']} (" in shown
    # Nothing tells the classes before the training.
    assert [row["key"] for row in record["rows"]] == [*(f"source/{name}" for name in SOURCES), "experts"]
    assert record["zero_shot_accuracy"] is None
    assert record["prompts"] == []
    assert read_start(run)["class_features"]["kind"] == "random"

    merged, base, own = load_tensors(run.merged), load_tensors(run.base), histories(run)
    network = build(find_architecture("mini-resnet8-16"))
    network.fc = nn.Linear(64, 7)
    network.load_state_dict(merged, strict=True)
    assert torch.equal(base["fc.weight"], fresh_head(7, 64, seed=0))
    assert read_metadata(run.merged)["hamdg.classes"].startswith('["dog", "elephant"')
    weight = torch.stack([one["layer1.0.conv1.weight"] for one in own.values()]).mean(dim=0)
    torch.testing.assert_close(merged["layer1.0.conv1.weight"], weight)
    mean = "layer1.0.bn1.running_mean"
    if live:
        torch.testing.assert_close(merged[mean], torch.stack([one[mean] for one in own.values()]).mean(dim=0))
        assert int(merged["bn1.num_batches_tracked"]) == 3 * 4
    else:
        assert all(mean not in one for one in own.values())
        assert torch.equal(merged[mean], base[mean])


@pytest.mark.parametrize("algorithm", ["erm", "coral", "mmd", "ham"])
@pytest.mark.parametrize("live", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_algorithm_trains_a_resnet(tiny: Tiny, algorithm: str, live: bool) -> None:
    run, record = finished(tiny(*RESNET, f"--algorithm={algorithm}", *([LIVE] if live else [])))
    merged = load_tensors(run.merged)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in merged.values())
    assert record["batchnorm"] == ("live" if live else "frozen")
    assert all(row["key"] != "zero_shot" for row in record["rows"])
    assert (int(merged["bn1.num_batches_tracked"]) > 0) == live


@pytest.mark.parametrize("kind", ["ema", "beta", "snapshots", "swad"])
def test_every_history_takes_statistics_that_move(tiny: Tiny, kind: str) -> None:
    swad = ("--train.check_every=1", "--history.n_s=2", "--history.n_e=2") if kind == "swad" else ()
    overrides = (*RESNET, LIVE, "--algorithm=erm", f"--history.kind={kind}", "--history.every=1", *swad)
    run, _ = finished(tiny(*overrides))
    history = load_tensors(run.path / "train/history/pooled.safetensors")
    start = load_tensors(run.path / "train/start/pooled.safetensors")
    assert history["bn1.num_batches_tracked"].dtype == torch.int64
    assert not torch.equal(history["bn1.running_mean"], start["bn1.running_mean"])
    assert bool((history["bn1.running_var"] >= 0).all())


@pytest.mark.parametrize("policy", ["first", "refuse"])
def test_what_becomes_of_statistics_in_the_merge_is_the_recipe_s(tiny: Tiny, policy: str) -> None:
    recipe = tiny(*RESNET, LIVE, "--algorithm=experts", "--merge.method=uniform", f"--merge.buffers={policy}")
    if policy == "refuse":
        with pytest.raises(WeightsError, match=r"The models differ in the buffer `bn1\.running_mean`"):
            pipeline.run(recipe)
        return
    run, _ = finished(recipe)
    first = histories(run)[SOURCES[0]]
    assert torch.equal(load_tensors(run.merged)["bn1.running_mean"], first["bn1.running_mean"])


@pytest.mark.parametrize("head", ["source_means", "linear_probe"])
def test_a_learned_linear_layer_knows_the_classes_before_the_training_and_is_trained(tiny: Tiny, head: str) -> None:
    overrides = (*RESNET, "--algorithm=experts", "--merge.method=uniform", f"--model.text_head={head}")
    run, record = finished(tiny(*overrides))
    assert record["rows"][0]["key"] == "zero_shot"
    assert record["rows"][0]["label"] == f"start model, {head.replace('_', ' ')}"
    learned = load_tensors(run.class_features)["class_features"]
    assert torch.equal(load_tensors(run.base)["fc.weight"], learned)
    assert not torch.equal(load_tensors(run.merged)["fc.weight"], learned)
    # From its own result a run may start again; its classifier is left out.
    again = tiny(*overrides, f"--model.weights={run.merged}", "--algorithm=erm")
    pipeline.run(again, until="train")
    start = load_tensors(RunDirectory(run_directory(again)).base)
    assert torch.equal(start["conv1.weight"], load_tensors(run.merged)["conv1.weight"])


FROZEN = (*RESNET, "--model.text_head=linear_probe", "--model.train_head=false")


def test_a_frozen_linear_layer_is_the_same_in_all_models_and_in_the_exported_file(tiny: Tiny) -> None:
    run, record = finished(tiny(*FROZEN, "--algorithm=experts", "--merge.method=uniform"))
    learned = load_tensors(run.class_features)["class_features"]
    for weights in histories(run).values():
        assert not [name for name in weights if name.startswith("fc.")]
        assert weights
    base, merged = load_tensors(run.base), load_tensors(run.merged)
    assert base.keys() == merged.keys()
    for files in (base, merged):
        assert torch.equal(files["fc.weight"], learned)
        assert not files["fc.bias"].any()
    assert not torch.equal(merged["conv1.weight"], base["conv1.weight"])
    assert record["rows"][0]["label"] == "start model, linear probe"
    assert record["class_features"] == {"kind": "linear_probe", "sha256": sha256_tensor(learned)}
    assert class_features(record).endswith("of the sources' training images, frozen; no text is used")


@pytest.mark.parametrize("algorithm", ["erm", "wise_ft", "ham"])
def test_algorithms_train_behind_a_frozen_linear_layer(tiny: Tiny, algorithm: str) -> None:
    recipe = tiny(*FROZEN, f"--algorithm={algorithm}")
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    merged = load_tensors(run.path / "merge/merged.safetensors")
    assert "conv1.weight" in merged
    assert "fc.weight" not in merged


def test_rows_of_the_pretrained_classifier_are_a_start_that_reads_no_labels(tiny: Tiny) -> None:
    pipeline.run(first := tiny(*RESNET, "--algorithm=erm"), until="validate")
    weights = RunDirectory(run_directory(first)).merged
    rows = ", ".join(f"{name}: [{index}]" for index, name in enumerate(reversed(PACS.classes)))
    overrides = (*RESNET, f"--model.weights={weights}", "--model.text_head=class_rows", "--model.train_head=false")
    own = (*overrides, f"--model.class_rows={{{rows}}}")
    run, record = finished(tiny(*own, "--algorithm=experts", "--merge.method=uniform"))
    assert record["rows"][0]["label"] == "start model, class rows"
    assert class_features(record).startswith(
        "rows of the pretrained network's own classifier, centered by the sources'"
    )
    learned, merged = load_tensors(run.class_features), load_tensors(run.merged)
    assert torch.equal(merged["fc.weight"], learned["class_features"])
    assert torch.equal(merged["fc.bias"], learned["bias"])
    given = load_tensors(weights)["fc.weight"].double()
    centered = torch.nn.functional.normalize(given - given.mean(dim=0), dim=1).flip(0)
    found = torch.nn.functional.normalize(learned["class_features"].double(), dim=1)
    torch.testing.assert_close(found, centered, rtol=1e-4, atol=1e-5)

    high = rows.replace("dog: [6]", "dog: [7]")
    with pytest.raises(
        ConfigError, match="gives the class `dog` the row 7, but the classifier of `mini-resnet8-16` has"
    ):
        pipeline.run(tiny(*overrides, f"--model.class_rows={{{high}}}"))
    with pytest.raises(ConfigError, match=r"`model.weights` `null` of `mini-resnet8-16` have no classifier; name"):
        pipeline.run(tiny(*RESNET, "--model.text_head=class_rows", f"--model.class_rows={{{rows}}}"))


def test_the_class_features_of_a_sweep_are_learned_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.run(first := tiny(*FROZEN, "--algorithm=zero_shot"))
    with monkeypatch.context() as patch:
        patch.setattr(stages_features, "features_of", None)
        pipeline.run(second := tiny(*FROZEN, "--algorithm=erm"), until="train")
        with pytest.raises(TypeError):
            pipeline.run(tiny(*FROZEN, "--algorithm=erm", "--model.head_balance=classes"), until="train")
    one, other = (RunDirectory(run_directory(recipe)).class_features for recipe in (first, second))
    assert one.read_bytes() == other.read_bytes()


def test_a_head_may_be_learned_from_labels_without_the_noise_that_a_recipe_makes(tiny: Tiny) -> None:
    noisy = (*FROZEN, "--algorithm=zero_shot", "--data.mini.label_noise=0.5")
    found = []
    for overrides in (noisy, (*noisy, "--model.head_labels=clean"), (*FROZEN, "--algorithm=zero_shot")):
        pipeline.run(recipe := tiny(*overrides), until="validate")
        found.append(load_tensors(RunDirectory(run_directory(recipe)).class_features)["class_features"])
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["--model.train_head=false"], "`mini-rn` is a CLIP, whose head `model.head` decides on; leave it out, or"),
        (
            [*RESNET, "--model.train_head=false"],
            "the linear layer of `mini-resnet8-16` is drawn by the seed; set `model.text_head` to `linear_probe`, ",
        ),
        (
            ["--benchmark=mini-scenes", "--held_out=dusk", "--model.name=mini-unet", "--model.train_head=false"],
            "`mini-unet` is a segmentation network; leave it out, or choose an image classifier",
        ),
        (
            ["--model.head_balance=classes"],
            "`prompts` fits no linear probe; leave it out, or set that to `linear_probe`",
        ),
        (
            ["--model.head_labels=clean"],
            "with `model.text_head` `prompts` no labels are read for the head; leave it out",
        ),
        (
            ["--model.text_head=source_means", "--model.head_labels=clean"],
            "this recipe makes no labels of `mini` wrong, and which of them are wrong otherwise is not known; leave it",
        ),
        *(
            (
                ["--model.text_head=source_means", "--model.head_labels=clean", nothing],
                "this recipe makes no labels of `mini` wrong",
            )
            for nothing in (
                "--data.mini.label_noise={photo: 0.0}",
                "--data.mini.label_noise={sketch: 0.5}",  # which is held out
                "--data.conflicts.noise={photo: 0}",
                "--data.conflicts.swap={photo: {}}",
                "--data.conflicts.swap={photo: {dog: dog}}",
            )
        ),
    ],
)
def test_keys_of_the_head_that_make_no_sense_are_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, [*overrides, "--model.weights=null"])
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "--data.mini.label_noise={photo: 0.1}",
        "--data.conflicts.noise={photo: 0.1}",
        "--data.conflicts.swap={photo: {dog: horse, horse: dog}}",
    ],
)
def test_a_head_of_clean_labels_is_for_recipes_that_make_some_wrong(wrong: str) -> None:
    recipe = read_recipe(None, ["--model.text_head=source_means", "--model.head_labels=clean", wrong])
    assert recipe.model.head_labels == "clean"


def test_an_algorithm_that_trains_the_layer_first_says_that_it_is_frozen(tiny: Tiny) -> None:
    recipe = tiny(*FROZEN, "--algorithm=lp_ft", "--controls.erm=false")
    with pytest.raises(ConfigError, match=r"but `model\.train_head` is `false`; leave it out\."):
        pipeline.run(recipe)
    recipe = tiny(*FROZEN, "--algorithm=erm_pp", "--train.schedule=constant")
    with pytest.raises(ConfigError, match=r"set it to 0, or `model\.train_head` to `true`\."):
        pipeline.run(recipe)


def test_without_the_keys_of_the_head_runs_are_the_same_as_before() -> None:
    before = Recipe(model=ModelConfig("mini-resnet8", text_head="linear_probe"))
    same = ModelConfig("mini-resnet8", None, text_head="linear_probe", train_head=True, head_balance="domains")
    assert identity(replace(before, model=same)) == identity(before)
    others = ({"train_head": False}, {"head_balance": "classes"}, {"head_labels": "clean"})
    assert len({identity(before), *(identity(replace(before, model=replace(same, **own))) for own in others)}) == 4


def test_a_clip_with_batchnorm_may_move_its_statistics_too(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run, record = finished(tiny(LIVE, "--algorithm=experts", "--merge.method=uniform"))
    assert record["batchnorm"] == "live"
    assert record["rows"][0]["key"] == "zero_shot"
    assert "BatchNorm statistics live" in capsys.readouterr().out
    merged, base = load_tensors(run.merged), load_tensors(run.base)
    assert merged.keys() == base.keys()
    assert not torch.equal(merged["visual.bn1.running_mean"], base["visual.bn1.running_mean"])
    assert "batchnorm" not in finished(tiny("--algorithm=experts", "--merge.method=uniform"))[1]


def test_live_statistics_train_in_one_process(tiny: Tiny) -> None:
    recipe = tiny(*RESNET, LIVE, "--algorithm=experts", "--runtime.devices=2")
    with pytest.raises(ConfigError, match="has BatchNorm statistics that move, which each of 2 processes would move"):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()


def test_what_needs_batchnorm_or_a_clip_names_the_model(tiny: Tiny) -> None:
    recipe = tiny("--algorithm=experts", tower="vit")
    context = open_context(recipe, RunDirectory(run_directory(recipe)))
    assert context.clip is context.pretrained
    with pytest.raises(ConfigError, match=r"^The algorithm `experts` works with the statistics of BatchNorm, but"):
        check_batchnorm(context)
    other = tiny(*RESNET, "--algorithm=experts", "--model.statistics=live")
    context = open_context(other, RunDirectory(run_directory(other)))
    check_batchnorm(context)
    with pytest.raises(
        ConfigError, match=r"^The algorithm `experts` needs a CLIP with its text tower, but `model.name`"
    ):
        _ = context.clip


def test_a_stopped_run_with_live_statistics_ends_with_the_same_bytes(
    command: Commander, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*RESNET, LIVE, "--algorithm=experts", "--merge.method=uniform", "--runtime.checkpoint_every=1")
    whole, cut = command("whole", *overrides), command("cut", *overrides)
    assert cli.main(whole.argv) == 0
    stopped(lambda: cli.main(cut.argv), monkeypatch, step=2)
    assert not cut.directory.merged.exists()
    assert cli.main(cut.argv) == 0
    assert whole.directory.merged.read_bytes() == cut.directory.merged.read_bytes()
