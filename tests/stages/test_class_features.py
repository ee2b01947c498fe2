"""A folder of drawn shapes, whose names the shipped CLIP does not know, as a user's own data set."""

from __future__ import annotations

import html
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from hamdg import cli
from hamdg.config.reading import read_recipe
from hamdg.data.benchmarks.mini import MINI
from hamdg.data.domain import open_domain
from hamdg.data.module import split_domain
from hamdg.errors import WeightsError
from hamdg.merge.tensors import sha256_tensor
from hamdg.models import learned_head
from hamdg.models.learned_head import read_head, write_head
from hamdg.models.logistic import Linear
from hamdg.report.table import CLASS_FEATURES
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import read_record
from hamdg.stages import class_features, pipeline
from hamdg.stages.context import open_context
from tests.stages.conftest import tiny_arguments
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

SHAPES = ("circle", "cross", "square", "triangle")
# Ground and line color of each domain.
DRAWN = {"chalk": ("#203020", "#e8e8d8"), "ink": ("#ffffff", "#101018"), "paint": ("#c8b890", "#b03020")}
SIDE, COUNT = 48, 10


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four shapes in three domains."""
    root, rng = tmp_path_factory.mktemp("own") / "shapes", np.random.default_rng(0)
    for domain, (ground, line) in DRAWN.items():
        for shape in SHAPES:
            folder = root / domain / shape
            folder.mkdir(parents=True)
            for index in range(COUNT):
                picture = Image.new("RGB", (SIDE, SIDE), ground)
                _draw(ImageDraw.Draw(picture), shape, line, rng, filled=bool(index % 2))
                picture.save(folder / f"{index:02}.png", compress_level=1)
    return root


def _draw(draw: ImageDraw.ImageDraw, shape: str, line: str, rng: np.random.Generator, filled: bool) -> None:
    x, y = rng.uniform(20, 28, 2)
    radius, turn = rng.uniform(11, 17), rng.uniform(-0.2, 0.2)
    fill = line if filled else None
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill, line, 2)
        return
    corners = {"cross": 4, "square": 4, "triangle": 3}[shape]
    start = turn - math.pi / 2 + (math.pi / 4 if shape == "square" else 0)
    angles = [start + 2 * math.pi * corner / corners for corner in range(corners)]
    points = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    if shape == "cross":
        draw.line([points[0], points[2]], line, 4 if filled else 2)
        draw.line([points[1], points[3]], line, 4 if filled else 2)
    else:
        draw.polygon(points, fill, line, 2)


def arguments(shapes: Path, root: Path, *overrides: str) -> list[str]:
    recipe = root / "recipe.yaml"
    recipe.write_text(
        f"benchmark: custom\nheld_out: paint\ndata: {{root: {shapes}, batch_size: 8}}\n"
        f"train: {{steps: 12, warmup: 2, check_every: 6}}\nevaluate: {{lines: 0}}\n"
        f"runtime: {{root: {root / 'runs'}, threads: 1, report: false}}\n"
    )
    return ["run", str(recipe), *overrides]


def test_classes_that_the_text_tower_cannot_tell_apart_stop_a_run_before_anything_is_written(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(shapes, tmp_path)) == 2
    error = capsys.readouterr().err
    assert "gives the classes `circle`, `cross`, `square`, `triangle` the same features" in error
    # A text tower that is trained does without learned class features.
    assert cli.main(arguments(shapes, tmp_path, "--model.text_tower=trained")) == 2
    assert "(`--model.text_tower=frozen --model.text_head=source_means` or" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_words_that_the_text_tower_knows_let_a_run_begin(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--data.words={circle: person, cross: guitar, square: house}"
    assert cli.main(arguments(shapes, tmp_path, words, "--controls.erm=false", "--train.steps=2")) == 0
    (record,) = (tmp_path / "runs").rglob("record.json")
    assert read_record(record)["words"] == ["person", "guitar", "house", "triangle"]
    assert (
        "the text tower of `mini-rn` does not know `triangle`, so that its feature means nothing"
        in capsys.readouterr().out
    )


LEARNED = ["source_means", "linear_probe"]


@pytest.mark.parametrize("head", ["source_means", pytest.param("linear_probe", marks=pytest.mark.slow)])
def test_class_features_of_the_sources_train_above_chance_on_words_that_the_model_does_not_know(
    shapes: Path, tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(shapes, tmp_path, f"--model.text_head={head}", "--runtime.report=true")) == 0
    shown = capsys.readouterr().out
    run, control = (RunDirectory(next((tmp_path / "runs/custom/paint" / kind).iterdir())) for kind in ("ham", "erm"))
    record = read_record(run.path)
    rows = {row["key"]: row for row in record["rows"]}
    # Chance is 0.25, with a standard error of 0.07.
    assert all(rows[key]["held_out"] > 0.5 for key in ("zero_shot", "erm/erm_sma", "ham"))
    label = f"start model, {head.replace('_', ' ')}"
    assert rows["zero_shot"]["label"] == label
    assert f"gain: points over {label}." in shown
    assert f"Class features: {CLASS_FEATURES[head]}, frozen; no text is used." in shown
    page = html.unescape(run.report.read_text())
    assert f"<dt>Class features</dt><dd>{CLASS_FEATURES[head]}, frozen" in page
    assert "<dt>Prompts</dt>" not in page
    assert "zero-shot" not in page.replace("zero-shot one", "")
    # The held-out domain has no part in them, and a run and its control have the same.
    assert record["steps"]["train"]["opened"] == ["chalk", "ink"]
    assert run.class_features.read_bytes() == control.class_features.read_bytes()
    digest = sha256_tensor(read_head(run.class_features).weight)
    assert record["class_features"] == {"kind": head, "sha256": digest}


@pytest.mark.parametrize("head", LEARNED)
def test_what_prompts_say_is_no_part_of_a_run_without_them(tiny: Tiny, head: str) -> None:
    own, learned = tiny(), tiny(f"--model.text_head={head}")
    assert identity(learned) != identity(own)
    assert identity(tiny(f"--model.text_head={head}", '--model.prompts=["a {}"]')) == identity(learned)
    assert identity(tiny(f"--model.text_head={head}", "--data.words={dog: hound}")) == identity(learned)


def test_a_run_that_differs_in_the_merge_alone_takes_the_class_features_over(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RunDirectory(pipeline.run(tiny("--model.text_head=source_means", tower="vit")).parent)
    monkeypatch.setattr("hamdg.stages.fit._Training.lead", lambda *_: pytest.fail("trained"))
    again = RunDirectory(
        pipeline.run(tiny("--model.text_head=source_means", "--merge.method=uniform", tower="vit")).parent
    )
    assert again.path != first.path
    assert again.class_features.read_bytes() == first.class_features.read_bytes()
    assert read_record(again.path)["class_features"] == read_record(first.path)["class_features"]


def test_class_features_that_a_run_did_not_begin_with_are_not_used_but_learned_again(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("--model.text_head=source_means", tower="vit")
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    content = run.class_features.read_bytes()
    exchange(run)
    with pytest.raises(
        WeightsError, match=r"are not those that the run was trained with; repeat the run with `--force`"
    ):
        _ = open_context(recipe, run).text_head
    # Where the same images give others now, as another version of a library might.
    learn = learned_head.learn_head
    with monkeypatch.context() as patch:
        patch.setattr(class_features, "learn_head", lambda *given: learn(*given).flip(0))
        with pytest.raises(WeightsError, match="are not those that the run was trained with"):
            pipeline.run(recipe)
    run.class_features.unlink()
    with pytest.raises(WeightsError, match=r"class_features.safetensors`, which training began with, are missing"):
        _ = open_context(recipe, run).text_head
    assert pipeline.run(recipe).exists()
    assert run.class_features.read_bytes() == content


def exchange(run: RunDirectory) -> None:
    """Give other classes the class features of a run."""
    write_head(
        run.class_features, Linear(read_head(run.class_features).weight.flip(0)), "source_means", MINI.classes, 1.0
    )


def cut(run: RunDirectory) -> None:
    """Leave only the beginning of the class features of a run."""
    run.class_features.write_bytes(run.class_features.read_bytes()[:50])


FEW = ("--model.text_head=source_means", "--runtime.checkpoint_every=1", "--runtime.quiet=true")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a training that nothing stopped; shared, so tests must not change it."""
    recipe = read_recipe(None, [*tiny_arguments(tmp_path_factory.mktemp("calm"), "vit"), *FEW])
    return RunDirectory(pipeline.run(recipe, until="train").parent)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of runs below which the same training was stopped; shared, so tests must not change it."""
    root = tmp_path_factory.mktemp("halfway")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped(lambda: pipeline.run(read_recipe(None, [*tiny_arguments(root, "vit"), *FEW])), patch)
    return root


def learned(run: RunDirectory) -> dict[str, bytes]:
    """Return the class features of a run and its models."""
    paths = (run.class_features, *run.step("train").index.parent.rglob("*.safetensors"))
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("damage", [exchange, cut, lambda run: run.class_features.unlink()])
def test_class_features_exchanged_or_lost_while_a_training_was_stopped_are_learned_again_and_it_goes_on(
    tiny: Tiny,
    tmp_path: Path,
    calm: RunDirectory,
    halfway: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[RunDirectory], None],
) -> None:
    shutil.copytree(halfway, tmp_path / "runs")
    recipe = tiny(*FEW, tower="vit")
    run = RunDirectory(run_directory(recipe))
    assert run.step("train").resume.is_file()
    damage(run)
    capsys.readouterr()
    pipeline.run(recipe, until="train")
    assert capsys.readouterr().err == ""
    assert learned(run) == learned(calm)


def test_images_that_are_read_for_class_features_alone_are_not_kept(shapes: Path, tmp_path: Path) -> None:
    small = ("--train.steps=1", "--train.warmup=0", "--algorithm=erm", f"--data.cache={tmp_path / 'cache'}")
    command = arguments(shapes, tmp_path, "--model.text_head=source_means", *small)
    recipe = read_recipe(Path(command[1]), [*command[2:], "--data.augment=clip"])
    pipeline.run(recipe, until="train")
    ink = open_domain(recipe, "ink", SIDE)
    train, validation = split_domain(recipe, ink)
    assert ink.evaluation.missing_bytes(train) > 0
    assert ink.training.missing_bytes(train) == ink.evaluation.missing_bytes(validation) == 0
    # They are the same features all the same.
    run = RunDirectory(run_directory(recipe))
    plain = read_recipe(Path(command[1]), command[2:])
    pipeline.run(plain, until="train")
    assert torch.equal(
        read_head(run.class_features).weight, read_head(RunDirectory(run_directory(plain)).class_features).weight
    )


def test_a_class_that_no_source_can_train_on_is_named(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "shapes"
    shutil.copytree(shapes, root)
    for domain in ("chalk", "ink"):
        for picture in sorted((root / domain / "cross").iterdir())[1:]:
            picture.unlink()
    # With this seed both images that are left validate.
    assert cli.main(arguments(root, tmp_path, "--model.text_head=source_means", "--data.validation_fraction=0.9")) == 2
    assert (
        "No source domain has a training image of the class `cross`, so that `model.text_head` of `source_means` cannot"
        in capsys.readouterr().err
    )
