"""A run on rendered streets, from the recipe to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file

from hamdg.config.algorithms import find
from hamdg.config.data import DataConfig, ScenesConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import (
    ControlsConfig,
    EvaluateConfig,
    MergeConfig,
    ModelConfig,
    Recipe,
    RuntimeConfig,
    TrainConfig,
)
from hamdg.data.domain import open_domain
from hamdg.data.module import split_domain
from hamdg.data.resolve import benchmark_of
from hamdg.data.splits import split
from hamdg.errors import ConfigError, DataError
from hamdg.mini import DomainArrays
from hamdg.mini.rendered import load_rendered
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.predictions import read_predictions
from hamdg.runs.record import read_record
from hamdg.stages import evaluate, pipeline
from hamdg.stages.context import Context
from hamdg.stages.discovery import algorithm_of
from hamdg.tasks.segmentation import SEGMENTATION


def recipe(root: Path) -> Recipe:
    scenes = ScenesConfig(images=10, image_size=32)
    return Recipe(
        benchmark="mini-scenes",
        held_out="dusk",
        excluded=["fog", "rain"],
        algorithm="experts",
        data=DataConfig(batch_size=4, cache=str(root / "cache"), scenes=scenes),
        model=ModelConfig(name="mini-unet", statistics="live"),
        train=TrainConfig(steps=4, warmup=1, check_every=2),
        merge=MergeConfig(method="uniform"),
        controls=ControlsConfig(erm=False),
        evaluate=EvaluateConfig(lines=3, images=4),
        runtime=RuntimeConfig(root=str(root / "runs"), threads=1, quiet=True, device="cpu"),
    )


def test_a_run_on_streets(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    pipeline.run(given, command="hamdg run streets", show=False)
    run = RunDirectory(run_directory(given))
    record = read_record(run.record)
    assert record["metric"] == "mIoU"
    assert [row["key"] for row in record["rows"]] == ["source/day", "source/game", "experts"]
    result = record["rows"][-1]
    own = result["targets"]["dusk"]
    assert record["held_out_accuracy"] == result["held_out"] == own["mIoU"]
    assert 0 < result["standard_error"] < 0.2
    assert record["zero_shot_accuracy"] is None

    found = read_predictions(run.predictions)
    assert (found.targets, list(found.maps)) == ({}, ["dusk"])
    counts = found.maps["dusk"].confusion("experts", 8)
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    assert own["mIoU"] == pytest.approx(float(np.mean((np.diag(counts) / union)[union > 0])), abs=1e-12)
    dusk = open_domain(given, "dusk", 32)
    labels = np.asarray(dusk.labels)
    assert counts.sum(axis=1).tolist() == [int((labels == label).sum()) for label in range(8)]

    worst, iou = found.worst, found.maps["dusk"].mean_iou["experts"]
    assert worst is not None
    assert worst.positions.tolist() == np.argsort(iou, kind="stable")[:8].tolist()
    for index, position in enumerate(worst.positions):
        np.testing.assert_array_equal(worst.labels[index], labels[position])
        np.testing.assert_array_equal(worst.images[index], np.asarray(dusk.evaluation.read(np.array([position])))[0])
        seen = labels[position] != 255
        right = (worst.predicted[index] == labels[position])[seen].mean()
        assert right == pytest.approx(found.maps["dusk"].pixel_accuracy["experts"][position])

    (config,) = run.path.glob("hamdg-smp-*.json")
    smp.create_model(**json.loads(config.read_text())).load_state_dict(load_file(run.merged))
    page = (run.path / "report.html").read_text()
    assert "jackknife standard error" in page
    assert "pixels of one true class" in page
    assert "The worst label maps" in page
    assert page.count(">dusk</span></li>") == 8
    assert "rgb(128, 64, 128)" in page
    assert "<h2>IoU by class</h2>" in page
    assert "<h3>mIoU on every domain, %</h3>" in page


def test_a_hold_out_set_without_labeled_pixels_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(tmp_path)
    (held,) = {len(split_domain(given, open_domain(given, name, 32))[1]) for name in ("day", "game")}

    def unlabeled(benchmark: str, name: str, data: DataConfig, cache: Path) -> DomainArrays:
        found = load_rendered(benchmark, name, data, cache)
        if name != "game":
            return found
        maps = found.labels.copy()
        maps[split(len(maps), 0.2, given.seed, benchmark_of(given).domains.index(name))[1]] = 255
        return replace(found, labels=maps, clean_labels=maps)

    monkeypatch.setattr("hamdg.data.domain.load_rendered", unlabeled)
    with pytest.raises(DataError) as caught:
        pipeline.run(given, show=False)
    assert str(caught.value) == (
        f"domain `game` has {held} label maps to validate on, and no pixel of a class in them; raise "
        "`data.validation_fraction`, or give the domain more label maps."
    )
    assert not RunDirectory(run_directory(given)).step("train").folder.exists()


def test_a_test_without_labeled_images_is_refused_in_a_sentence(tmp_path: Path) -> None:
    maps = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    maps[0, 1, 1] = 2
    dusk = open_domain(recipe(tmp_path), "dusk", 32)
    message = "Of `dusk`, the result is tested on 3 images, and 1 with a pixel of a class; 2 are needed."
    with pytest.raises(DataError, match=f"^{message}"):
        evaluate._check_labeled(dusk, maps)
    maps[1] = 0
    evaluate._check_labeled(dusk, maps)


def test_a_part_without_labeled_images_is_refused_too(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    bench, algorithm = benchmark_of(given), algorithm_of(given)
    context = SimpleNamespace(recipe=given, bench=bench, algorithm=algorithm, task=SEGMENTATION)
    dusk = open_domain(given, "dusk", 32)
    inside, outside = split_domain(given, dusk)
    maps = np.array(dusk.labels, np.uint8)
    maps[inside] = 255
    assert len(outside) >= 2
    context.tested_images = lambda domain: domain.evaluation
    with pytest.raises(DataError, match=r"^Of `dusk`, the result is tested on 8 images, and 0 with a pixel of a class"):
        evaluate._measured(cast("Context", context), replace(dusk, clean_labels=maps), [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--benchmark=mini-scenes", "--held_out=dusk"], r"^`mini-scenes` has label maps, and `mini-rn` gives a whole"),
        (["--model.name=mini-unet"], r"^`mini-unet` gives every pixel a class, but the images of `mini` have one each"),
        (
            ["--benchmark=mini-scenes", "--held_out=dusk", "--model.name=mini-unet", "--model.text_head=source_means"],
            r"^`model\.text_head` is `source_means`, but the last layers of a segmentation network",
        ),
    ],
)
def test_models_and_labels_have_to_go_together(given: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(None, given)


def test_algorithms_that_need_one_class_an_image_are_refused(tmp_path: Path) -> None:
    for name in ("ham", "coral", "mmd", "scmd", "dmm"):
        with pytest.raises(
            ConfigError, match=f"^The algorithm `{name}` is for `classification`, and `mini-scenes` for"
        ):
            algorithm_of(replace(recipe(tmp_path), algorithm=name, settings=find(name)()))
