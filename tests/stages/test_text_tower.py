"""Runs that train both towers of a CLIP (`model.text_tower: trained`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import pytest
import torch

from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig, Recipe
from hamdg.data.domain import open_domain
from hamdg.data.resolve import prompts_of
from hamdg.data.subset import holdout
from hamdg.errors import ConfigError
from hamdg.merge import merge
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import Record, read_record
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from hamdg.stages.plan import make_plan

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

TRAINED = "--model.text_tower=trained"
EXPERTS = ("--algorithm=experts", "--merge.method=uniform", "--history.kind=last", TRAINED)
SOURCES = ("art_painting", "cartoon", "photo")


def finished(recipe: Recipe) -> tuple[RunDirectory, Record]:
    pipeline.run(recipe)
    run = RunDirectory(run_directory(recipe))
    return run, read_record(run.path)


def test_both_towers_are_merged_and_the_file_classifies_alone_as_the_run_does(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(*EXPERTS, "--model.statistics=live", "--train.lr=0.01")
    run, record = finished(recipe)
    assert "Class features: text features of the prompts, by a text tower that is trained." in capsys.readouterr().out
    base, merged = load_tensors(run.base), load_tensors(run.merged)
    own = {name: load_tensors(run.path / f"train/last/{name}.safetensors") for name in SOURCES}
    for name in ("text_projection", "transformer.resblocks.0.mlp.c_fc.weight", "visual.conv1.weight"):
        assert not torch.equal(merged[name], base[name])
        assert len({tuple(one[name].flatten().tolist()) for one in own.values()}) == 3
        torch.testing.assert_close(merged[name], torch.stack([one[name] for one in own.values()]).mean(dim=0))
    pooled = merge("uniform", own)["visual.bn1.running_var"]
    assert torch.equal(merged["visual.bn1.running_var"], pooled)
    assert torch.equal(merged["token_embedding.weight"], base["token_embedding.weight"])

    (config,) = run.path.glob("hamdg-*.json")
    open_clip.add_model_config(config)
    # Strict, as open_clip loads files.
    model = open_clip.create_model(config.stem, pretrained=str(run.merged)).eval()
    sketch = open_domain(recipe, "sketch", 32)
    ((pixels, labels),) = holdout(sketch, np.arange(len(sketch.labels))).parts(len(sketch.labels))
    context = open_context(recipe, run)
    texts = [prompts_of(recipe)[0].format(name) for name in context.bench.classes]
    with torch.no_grad():
        images = model.encode_image(context.preprocess(pixels), normalize=True)
        classes = model.encode_text(open_clip.get_tokenizer(config.stem)(texts), normalize=True)
    right = (images @ classes.T).argmax(dim=1) == labels
    assert record["held_out_accuracy"] == pytest.approx(float(right.double().mean()))
    assert record["class_features"]["use"] == "start of a text tower that is trained"
    moving = [name for name in own["photo"] if name.rpartition(".")[2] in ("running_mean", "running_var")]
    count = sum(one.numel() for name, one in own["photo"].items() if name not in moving and one.is_floating_point())
    assert make_plan([context], until="evaluate").parameters == count


@pytest.mark.parametrize("algorithm", ["erm", "coral", "ham"])
def test_other_algorithms_train_the_text_tower_too(tiny: Tiny, algorithm: str) -> None:
    recipe = tiny(f"--algorithm={algorithm}", TRAINED, tower="vit")
    pipeline.run(recipe, until="train")
    run = RunDirectory(run_directory(recipe))
    base = load_tensors(run.base)
    for path in (run.path / "train/last").iterdir():
        own = load_tensors(path)
        assert not torch.equal(own["text_projection"], base["text_projection"])
        assert not torch.equal(own["visual.proj"], base["visual.proj"])


def test_without_the_key_runs_are_the_same_as_before() -> None:
    before = Recipe()
    assert identity(replace(before, model=ModelConfig(text_tower="frozen"))) == identity(before)
    assert identity(replace(before, model=ModelConfig(text_tower="trained"))) != identity(before)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["--model.name=mini-resnet8"], "but `mini-resnet8` has no text tower; leave it out, or choose a CLIP"),
        (
            ["--model.text_head=source_means"],
            "but with `model.text_head` `source_means` no text stands for the classes; leave one of them out",
        ),
    ],
)
def test_where_there_is_no_text_nothing_of_it_is_trained(overrides: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"`model.text_tower` is `trained`, {sentence}"):
        read_recipe(None, [f"--runtime.root={tmp_path}", TRAINED, *overrides])
