"""ERM++ from its first training to its table, with a network whose loss does not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.config.reading import read_recipe
from hamdg.errors import ConfigError
from hamdg.runs.steps import read_index, read_step_summary
from hamdg.stages import pipeline
from hamdg.tracking.rows import read_rows
from tests.stages.conftest import tiny_arguments

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

CONSTANT = ("--train.schedule=constant", "--train.warmup=0")
# No loss is better than the first one, so that the rate falls after the second and the third, which ends it.
SHORT = (
    *(*CONSTANT, "--train.lr=1e-9", "--train.steps=8", "--train.check_every=1", "--erm_pp.classifier_steps=0"),
    *("--erm_pp.average_start=2", "--erm_pp.patience=0", "--erm_pp.drops=2", "--runtime.log_every=1"),
)


def logged(path: Path, name: str) -> list[float]:
    return [row.value for row in read_rows(path) if row.name == name]


def test_the_second_training_repeats_the_schedule_of_the_first_on_all_images(done: Callable[..., Done]) -> None:
    own = done("erm_pp", *SHORT)
    first, second = (read_step_summary(own.run.step(name)) for name in ("search", "train"))
    schedule = first["facts"]["schedule"]
    assert isinstance(schedule, dict)
    assert (schedule["steps"], schedule["falls"], list(schedule["losses"])) == (3, [2, 3], ["1", "2", "3"])
    assert [step["facts"]["steps"] for step in (first, second)] == [3, 3]
    assert [step["images_seen"] for step in (first, second)] == [3 * 4 * 3] * 2
    assert "It makes the schedule" in str(first["figures"][0]["note"])
    rates = [logged(own.run.step(name).metrics, "lr") for name in ("search", "train")]
    assert rates[0] == rates[1] == pytest.approx([1e-9, 1e-9, 1e-9])
    losses = logged(own.run.step("search").metrics, "validation/loss")
    assert losses == pytest.approx(list(schedule["losses"].values()))
    held = [read_index(own.run.step(name))["sources"]["pooled"]["last"] for name in ("search", "train")]
    assert [entry["step"] for entry in held] == [3, 3]
    # Nothing is held out in the second training.
    assert [entry["validation_accuracy"] is None for entry in held] == [False, True]
    context = own.context()
    rows = {entry.key: entry for entry in context.algorithm.entries(context)}
    assert list(rows) == list(context.algorithm.keys(context.sources)) == ["zero_shot", "erm_pp_search", "erm_pp"]
    assert rows["erm_pp"].note == "trained on the sources' hold-out sets, too"
    pairs = zip(rows["erm_pp_search"].weights.values(), rows["erm_pp"].weights.values(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ("--erm_pp.classifier_steps=0",),
            "`train.schedule` is `cosine`, but ERM++ lowers the learning rate where the loss on the hold-out sets "
            "tells; set it to `constant`.",
        ),
        (
            CONSTANT,
            "`erm_pp.classifier_steps` is 500, but `{name}` has no classifier that could be trained before the rest; "
            "set it to 0, or `model.head` to `linear`.",
        ),
        (
            (*CONSTANT, "--erm_pp.classifier_steps=0"),
            "`erm_pp.average_start` is 600, but the training has `train.steps` 4; lower it or train longer.",
        ),
        (
            (*CONSTANT, "--erm_pp.classifier_steps=0", "--erm_pp.average_start=1", "--runtime.devices=2"),
            "The training of `ErmPpLearner` (learner `pooled`) follows its loss on the hold-out sets, which one of 2 "
            "processes measures; use one device.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_trains(
    tmp_path: Path, changes: tuple[str, ...], said: str
) -> None:
    recipe = read_recipe(None, [*tiny_arguments(tmp_path, "vit"), "--algorithm=erm_pp", *changes])
    with pytest.raises(ConfigError) as caught:
        pipeline.run(recipe)
    assert str(caught.value) == said.format(name=recipe.model.name)
