"""Runs of a CLIP with a linear layer that is trained along (`model.head`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import pytest
import torch

from hamdg import cli
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig, Recipe
from hamdg.data.domain import open_domain
from hamdg.data.subset import holdout
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models.image_classifier import fresh_head
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import Record, read_record
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from hamdg.stages.plan import make_plan
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny

EXPERTS = ("--algorithm=experts", "--merge.method=uniform", "--train.lr=0.01")
SOURCES = ("art_painting", "cartoon", "photo")
HEADS = pytest.mark.parametrize("head", ["trained", "linear"])


def finished(recipe: Recipe) -> tuple[RunDirectory, Record]:
    pipeline.run(recipe)
    run = RunDirectory(run_directory(recipe))
    return run, read_record(run.path)


@HEADS
def test_heads_are_merged_and_the_files_classify_alone_as_the_run_does(
    tiny: Tiny, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(*EXPERTS, f"--model.head={head}")
    run, record = finished(recipe)
    said = {
        "trained": "Class features: text features of the prompts, as the start of a linear layer that is trained.",
        "linear": "Class features: a linear layer that the seed draws, trained from there on; no text is used.",
    }
    assert said[head] in capsys.readouterr().out
    rows = [row["key"] for row in record["rows"]]
    assert rows == [*(["zero_shot"] if head == "trained" else []), *(f"source/{one}" for one in SOURCES), "experts"]
    assert bool(record["prompts"]) == (head == "trained")

    base = load_tensors(run.base)
    own = [load_tensors(run.path / f"train/history/{name}.safetensors") for name in SOURCES]
    assert ("head.bias" in own[0]) == (head == "linear")
    mean = torch.stack([one["head.weight"] for one in own]).mean(dim=0)
    torch.testing.assert_close(load_tensors(run.path / "merge/merged.safetensors")["head.weight"], mean)
    assert all(not torch.equal(one["head.weight"], base["head.weight"]) for one in own)
    context = open_context(recipe, run)
    if head == "linear":
        assert torch.equal(base["head.weight"], fresh_head(7, context.pretrained.width, recipe.seed))
    assert make_plan([context], until="evaluate").parameters == sum(tensor.numel() for tensor in own[0].values())

    (config,) = run.path.glob("hamdg-*.json")
    open_clip.add_model_config(config)
    # Strict, as open_clip and torch load files.
    model = open_clip.create_model(config.stem, pretrained=str(run.merged)).eval()
    layer = torch.nn.Linear(context.pretrained.width, 7, bias=head == "linear")
    layer.load_state_dict(load_tensors(run.head))
    assert json.loads(read_metadata(run.head)["hamdg.classes"]) == list(context.bench.classes)
    sketch = open_domain(recipe, "sketch", 32)
    ((pixels, labels),) = holdout(sketch, np.arange(len(sketch.labels))).parts(len(sketch.labels))
    with torch.no_grad():
        scores = layer(model.encode_image(context.preprocess(pixels), normalize=head == "trained"))
    assert record["held_out_accuracy"] == pytest.approx(float((scores.argmax(dim=1) == labels).double().mean()))
    assert set(record["files"]) == {"merged.safetensors", "head.safetensors"}


@HEADS
def test_a_run_is_merged_again_and_its_files_without_it(tiny: Tiny, head: str, tmp_path: Path) -> None:
    recipe = tiny(*EXPERTS, f"--model.head={head}")
    run, _ = finished(recipe)
    assert cli.main(["merge", str(run.path), "--merge.method=ties", "--runtime.report=false"]) == 0
    (again,) = (one for one in run.path.parent.iterdir() if one.name.startswith("seed") and one != run.path)
    assert not torch.equal(load_tensors(again / "head.safetensors")["weight"], load_tensors(run.head)["weight"])

    files = [str(run.path / f"train/history/{name}.safetensors") for name in SOURCES]
    out = tmp_path / "out.safetensors"
    assert cli.main(["merge", "--method", "uniform", *files, "--base", str(run.base), "--out", str(out)]) == 0
    merged = load_tensors(out)
    assert torch.equal(merged["head.weight"], load_tensors(run.path / "merge/merged.safetensors")["head.weight"])
    assert merged.keys() == load_tensors(run.base).keys()


@pytest.mark.parametrize("algorithm", ["erm", "coral", "ham"])
@HEADS
def test_other_algorithms_and_histories_train_heads_too(tiny: Tiny, algorithm: str, head: str) -> None:
    recipe = tiny(f"--algorithm={algorithm}", f"--model.head={head}", "--history.kind=swad", "--history.n_s=2")
    pipeline.run(recipe, until="train")
    run = RunDirectory(run_directory(recipe))
    base = load_tensors(run.base)
    for path in (run.path / "train/history").iterdir():
        assert not torch.equal(load_tensors(path)["head.weight"], base["head.weight"])


def test_a_trained_head_starts_from_learned_class_features_where_there_are_some(tiny: Tiny) -> None:
    recipe = tiny(*EXPERTS, "--model.head=trained", "--model.text_head=linear_probe")
    run, record = finished(recipe)
    learned = load_tensors(run.class_features)["class_features"]
    scale = open_context(recipe, run).clip.model.logit_scale.detach().exp()
    torch.testing.assert_close(load_tensors(run.base)["head.weight"], scale * learned)
    assert record["rows"][0]["label"] == "start model, linear probe"


def test_a_stopped_run_goes_on_to_the_same_bytes(command: Commander, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--model.head=linear", "--algorithm=erm", "--train.optimizer=sgd", "--runtime.checkpoint_every=1")
    whole = command("whole", *options)
    assert cli.main(whole.argv) == 0
    broken = command("broken", *options)
    stopped(lambda: cli.main(broken.argv), monkeypatch)
    assert broken.directory.step("train").resume.exists()
    assert cli.main(broken.argv) == 0
    for name in ("merged.safetensors", "head.safetensors", "base.safetensors", "train/last/pooled.safetensors"):
        assert (broken.directory.path / name).read_bytes() == (whole.directory.path / name).read_bytes()


def test_without_the_keys_runs_are_the_same_as_before() -> None:
    before = Recipe()
    assert identity(replace(before, model=ModelConfig(head="class_features"))) == identity(before)
    found = {identity(replace(before, model=ModelConfig(head=head))) for head in ("trained", "linear")}
    assert len(found | {identity(before)}) == 3
    # No text is used.
    plain = ModelConfig(head="linear")
    assert identity(replace(before, model=replace(plain, prompts=["{}"]))) == identity(replace(before, model=plain))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["--model.name=mini-resnet8"], "`mini-resnet8` has a linear layer of its own; leave it out, or choose a CLIP"),
        (
            ["--benchmark=mini-scenes", "--held_out=dusk", "--model.name=mini-unet"],
            "`mini-unet` has last layers of its own; leave it out, or choose a CLIP",
        ),
        (
            ["--model.text_tower=trained"],
            "with `model.text_tower` `trained` the text tower gives the class features in every pass; leave one of "
            "them out",
        ),
    ],
)
def test_where_there_is_another_head_none_is_trained(overrides: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"`model.head` is `trained`, but {sentence}"):
        read_recipe(None, [f"--runtime.root={tmp_path}", "--model.head=trained", *overrides])
