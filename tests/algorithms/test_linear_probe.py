"""A linear probe: features that are computed once and shared, the fit, and what comes out of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from hamdg.data.domain import open_domain
from hamdg.errors import ConfigError, DataError
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.predictions import TargetPredictions, read_predictions
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_step_summary, read_validation_by_source
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context
from hamdg.stages.features import read_features
from tests.algorithms.evaluated import evaluated, images_of

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work

OWN = "--algorithm=linear_probe"
SOURCES = ["art_painting", "cartoon", "photo"]


@torch.no_grad()
def encoded(context: Context, domain: str, positions: list[int]) -> Tensor:
    """Return open_clip's image features before normalization."""
    features: Tensor = context.clip.model.encode_image(images_of(context, domain, positions))
    return features


def test_the_features_are_the_encoders_and_the_result_is_a_plain_clip_with_a_layer_beside_it(tiny: Tiny) -> None:
    context = evaluated(tiny(OWN, "--data.mini.label_noise=0.2"))
    run = context.run
    found = read_features(context)
    validation = json.loads(run.splits.read_text())["validation_positions"]
    for name in SOURCES:
        labels = open_domain(context.recipe, name, context.preprocess.side).labels
        train = sorted(set(range(len(labels))) - set(validation[name]))
        for part, positions in ((found.train, train), (found.holdout, validation[name])):
            torch.testing.assert_close(part[name][0], encoded(context, name, positions))
            # With their noise: those that a user has.
            assert part[name][1].tolist() == labels[positions].tolist()
    for step, opened in (("features", SOURCES), ("probe", [])):
        assert read_step_summary(run.step(step))["opened"] == opened
    state, exported, head = (
        context.pretrained.state(),
        load_tensors(run.merged),
        load_tensors(run.path / "head.safetensors"),
    )
    assert all(torch.equal(exported[name], tensor) for name, tensor in state.items())
    features = encoded(context, "sketch", list(range(42)))
    predictions = read_predictions(run.predictions).targets["sketch"]
    assert isinstance(predictions, TargetPredictions)
    wanted = (features @ head["weight"].T + head["bias"]).argmax(dim=1)
    assert predictions.predicted["linear_probe"].tolist() == wanted.tolist()


def test_facts_rows_and_the_curve(tiny: Tiny) -> None:
    context = evaluated(tiny(OWN, "--linear_probe.grid=[1, 0.001, 100]"))
    record = read_record(context.run.record)
    assert [(row["key"], row["group"]) for row in record["rows"]] == [
        ("zero_shot", "control"),
        ("linear_probe", "merged"),
    ]
    summary = read_step_summary(context.run.step("probe"))
    facts = summary["facts"]
    grid, accuracies = facts["grid"], facts["accuracies"]
    assert isinstance(grid, dict)
    assert isinstance(accuracies, dict)
    assert grid["C"] == [0.001, 1.0, 100.0]
    assert facts["C"] == grid["C"][int(np.argmax(grid["accuracy"]))]
    chosen = grid["C"].index(facts["C"])
    assert read_validation_by_source(context.run)["linear_probe"] == pytest.approx(
        {name: own[chosen] for name, own in accuracies.items()}
    )
    (figure,) = summary["figures"]
    assert figure["kind"] == "lines"
    assert [one["label"] for one in figure["series"]] == ["mean", *SOURCES]
    assert figure["series"][0]["x"] == pytest.approx([-3.0, 0.0, 2.0])
    assert figure["series"][0]["y"] == grid["accuracy"]
    assert read_step_summary(context.run.step("features"))["images_seen"] == 3 * 42


def test_runs_share_the_features_whatever_else_they_do(tiny: Tiny, worked: list[Work]) -> None:
    options = ("--linear_probe.grid=[1]", "--linear_probe.standardize=false", "--data.batch_size=3")
    recipes = [tiny(OWN, option) for option in options]
    paths = [pipeline.run(recipe, until="probe").parent for recipe in recipes]
    assert len(set(paths)) == 3
    assert [work.step for work in worked] == ["features", "probe", "probe", "probe"]
    files = [path / "features" / "features.npz" for path in paths]
    assert files[0].samefile(files[1])
    # Other images, another split or another encoder have features of their own.
    others = ("--seed=1", "--held_out=photo", "--data.mini.images_per_class=5", "--model.normalization=imagenet")
    for option in others:
        pipeline.run(tiny(OWN, option), until="features")
    assert [work.step for work in worked].count("features") == 1 + len(others)


def test_an_image_classifier_has_the_probe_as_its_linear_layer(tiny: Tiny) -> None:
    context = evaluated(tiny(OWN, "--model.name=mini-resnet8", "--linear_probe.grid=[1]"))
    assert [row["key"] for row in read_record(context.run.record)["rows"]] == ["linear_probe"]
    exported, found = load_tensors(context.run.merged), context.step("probe").load("probe")
    assert torch.equal(exported["fc.weight"], found["weight"])
    assert torch.equal(exported["fc.bias"], found["bias"])


def test_a_class_that_no_source_has_is_named(tiny: Tiny) -> None:
    recipe = tiny(OWN)
    context = open_context(recipe, RunDirectory(pipeline.run(recipe, until="features").parent))
    path = context.step("features").folder / "features.npz"
    with np.load(path) as arrays:
        others = {name: np.zeros_like(own) if "train_labels" in name else own for name, own in arrays.items()}
    np.savez(path, **others)
    missing = ", ".join(f"`{name}`" for name in context.bench.classes[1:])
    message = (
        rf"^No source domain has a training image of the class {missing}, so that `linear_probe` cannot learn it\. Add "
        r"images, or leave the class out everywhere\.$"
    )
    with pytest.raises(DataError, match=message):
        read_features(context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--linear_probe.grid=[1, 0]"], r"`linear_probe\.grid\.1`.* a number above 0, but got .*0"),
        (["--linear_probe.grid=[]"], r"`linear_probe\.grid`.* a list of numbers, such as `\[0\.01, 1, 100\]`"),
        (["--linear_probe.gird=[1]"], r"did you mean `(--)?linear_probe\.grid`"),
        (
            ["--model.text_tower=trained"],
            r"^The algorithm `linear_probe` classifies .*, but `model\.text_tower` is `trained`; leave it out\.$",
        ),
        (
            ["--model.head=trained"],
            r" a linear layer of its own, .*, but `model\.head` is `trained`; leave it out\.$",
        ),
        (
            ["--model.statistics=live"],
            r"^The algorithm `linear_probe` leaves the encoder as it is, but `model\.statistics` is `live`; leave",
        ),
        (
            ["--benchmark=mini-scenes", "--held_out=fog", "--model.name=mini-unet"],
            r"`linear_probe` is for `classification`",
        ),
    ],
)
def test_bad_input(tiny: Tiny, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny(OWN, *options))


def test_damaged_features_are_named(tiny: Tiny) -> None:
    recipe = tiny(OWN)
    context = open_context(recipe, RunDirectory(pipeline.run(recipe, until="features").parent))
    (context.step("features").folder / "features.npz").write_bytes(b"PK")
    with pytest.raises(
        DataError, match=r"^The features `.*features\.npz` are missing or damaged; restore it, or delete"
    ):
        read_features(context)
