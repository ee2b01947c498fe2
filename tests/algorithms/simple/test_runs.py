"""SIMPLE as a run: outputs that are computed once, what is trained on them, and the row of a whole pool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError, WeightsError
from hamdg.models.clip import load_clip
from hamdg.runs.directory import RunDirectory
from hamdg.runs.predictions import TargetPredictions, read_predictions
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from hamdg.stages.context import Context
from hamdg.stages.features import read_features
from tests.algorithms.evaluated import evaluated, images_of
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work

NAMES = [str(CONF / f"tiny-{tower}.json") for tower in ("rn", "vit")]
POOL = f"--simple.pool={json.dumps([f'{name}@random' for name in NAMES])}"
OWN = ("--algorithm=simple", POOL, "--simple.steps=20", "--simple.batch_size=8", "--simple.adapters=model")
SOURCES = ["art_painting", "cartoon", "photo"]


@torch.no_grad()
def outputs(context: Context, domain: str, positions: list[int]) -> list[Tensor]:
    """Return the image features of each model of the pool, by open_clip."""
    images = images_of(context, domain, positions)
    models = [load_clip(ModelConfig(name=name, weights="random")).model for name in NAMES]
    return [model.encode_image(images) for model in models]


def test_a_run_is_what_the_files_of_its_steps_say(tiny: Tiny) -> None:
    context = evaluated(tiny(*OWN, "--simple.top=1"))
    run, record = context.run, read_record(context.run.record)
    validation = json.loads(run.splits.read_text())["validation_positions"]
    found = read_features(context, "outputs")
    for name in SOURCES:
        torch.testing.assert_close(found.holdout[name][0], torch.cat(outputs(context, name, validation[name]), dim=1))
    own = context.step("match").load("average")
    first, second = outputs(context, "sketch", list(range(42)))
    image = relu(first @ own["matcher.of_image.weight"].T + own["matcher.of_image.bias"])
    models = relu(own["matcher.embedding"] @ own["matcher.of_model.weight"].T + own["matcher.of_model.bias"])
    raw = softplus((image @ models.T) @ own["matcher.mix.weight"].T + own["matcher.mix.bias"])
    adapted = [
        features @ own[f"adapters.model_{n}.weight"].T + own[f"adapters.model_{n}.bias"]
        for n, features in enumerate((first, second))
    ]
    # Of one model, the one with the largest weight.
    scores = torch.where((raw[:, 0] >= raw[:, 1])[:, None], adapted[0], adapted[1])
    predictions = read_predictions(run.predictions).targets["sketch"]
    assert isinstance(predictions, TargetPredictions)
    assert predictions.predicted["simple"].tolist() == scores.argmax(dim=1).tolist()
    assert [(row["key"], row["group"], row.get("passes", 1)) for row in record["rows"]] == [
        ("zero_shot", "control", 1),
        ("simple_last", "control", 2),
        ("simple", "merged", 2),
    ]
    # There is no single model to export.
    assert not run.merged.exists()
    assert [read_step_summary(run.step(step))["opened"] for step in ("outputs", "match")] == [SOURCES, []]
    weights = read_step_summary(run.step("match"))["facts"]["weights"]
    assert isinstance(weights, dict)
    assert all(sum(one) == pytest.approx(1.0) for one in weights.values())


def test_outputs_are_computed_once_for_all_settings_of_the_training(tiny: Tiny, worked: list[Work]) -> None:
    for option in ("--simple.lr=0.01", "--simple.top=1", "--simple.match=" + f"{NAMES[1]}@random"):
        pipeline.run(tiny(*OWN, option), until="match")
    assert [work.step for work in worked] == ["outputs", "match", "match", "match"]


def test_a_pool_whose_weights_are_others_now_is_refused(tiny: Tiny) -> None:
    recipe = tiny(*OWN)
    run = RunDirectory(pipeline.run(recipe, until="outputs").parent)
    summary = run.step("outputs").summary
    facts = json.loads(summary.read_text())
    facts["facts"]["sha256"][f"{NAMES[1]}@random"] = "0" * 64
    summary.write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match=r"^The model `.*tiny-vit\.json@random` of `simple\.pool` is not the"):
        pipeline.run(recipe, until="match")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--simple.pool=[mini-rn]"],
            r"^`simple\.pool` has 1 model, but a model is chosen among several; name two or more\.$",
        ),
        (["--simple.pool=[mini-rn, mini-rn]"], r"^`simple\.pool` names `mini-rn` twice; name each model once\.$"),
        (["--simple.pool=[mini-rn, mini-vt]"], r"^`mini-vt` in `simple\.pool`: .*mini-vt"),
        (["--simple.pool=[mini-rn, mini-unet]"], r"^`simple\.pool` names `mini-unet`, which gives every pixel a class"),
        (
            ["--simple.match=mini-resnet8"],
            r"^`simple\.match` is `mini-resnet8`, which is not in `simple\.pool`; choose one of `mini-rn`, `mini-vit`",
        ),
        (
            ["--model.statistics=live"],
            r"^The algorithm `simple` leaves its models as they are, but `model\.statistics` is",
        ),
        (["--simple.pool=mini-rn"], r"a list of models, such as `\[mini-rn, mini-vit\]`"),
        (["--benchmark=mini-scenes", "--held_out=fog", "--model.name=mini-unet"], r"`simple` is for `classification`"),
    ],
)
def test_bad_input(tiny: Tiny, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny("--algorithm=simple", *options))
