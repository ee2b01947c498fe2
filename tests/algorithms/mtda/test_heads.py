"""Heads and last layers that each target keeps on a merged backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from safetensors.torch import load_file

from hamdg.algorithms.mtda.merging import merge_targets, with_head
from hamdg.config.reading import read_recipe
from hamdg.errors import RunDirectoryError
from hamdg.merge.files import load_tensors
from hamdg.models.mini_resnet import WIDTHS, MiniResNet
from hamdg.stages import pipeline
from hamdg.stages.exporting import mean_by_key
from tests.algorithms.mtda.conftest import ARGUMENTS, PLAIN, TARGETS, Finished, equal
from tests.stages.conftest import tiny_arguments

if TYPE_CHECKING:
    from tests.algorithms.mtda.conftest import Run


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


def test_source_validation_of_separate_heads_is_their_mean() -> None:
    values = [{"photo": 0.5, "art": 1.0}, {"photo": 0.25, "art": 0.5}, {"photo": 0.75, "art": 0.0}]
    assert mean_by_key(["source", "mtda", "mtda"], values) == {"source": values[0], "mtda": {"photo": 0.5, "art": 0.25}}


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
