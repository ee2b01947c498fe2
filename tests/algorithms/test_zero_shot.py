"""Zero-shot classification as an algorithm of no steps, against open_clip's own functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.errors import ConfigError, DataError
from hamdg.merge.files import load_tensors
from hamdg.models.tokenizer import tokenize
from hamdg.runs.directory import RunDirectory
from hamdg.runs.predictions import TargetPredictions, read_predictions
from hamdg.runs.record import read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context
from hamdg.stages.discovery import algorithm_of
from tests.algorithms.evaluated import evaluated, images_of

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

PROMPTS = ("a photo of a {}.", "an image of a {}.", "a drawing of the {}")


@torch.no_grad()
def predicted(context: Context, prompts: tuple[str, ...]) -> list[int]:
    """Return what open_clip predicts: cosines with the mean of the prompts' features, class by class."""
    model, heads = context.clip.model, []
    for name in context.bench.classes:
        texts = [prompt.replace("{}", name.replace("_", " ")) for prompt in prompts]
        feature = model.encode_text(tokenize(context.clip, texts), normalize=True).mean(dim=0)
        heads.append(feature / feature.norm())
    features = model.encode_image(images_of(context, "sketch", range(42)), normalize=True)
    found: list[int] = (features @ torch.stack(heads).T).argmax(dim=1).tolist()
    return found


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS])
def test_predicts_what_open_clip_does_with_one_prompt_or_an_ensemble(tiny: Tiny, prompts: tuple[str, ...]) -> None:
    context = evaluated(tiny("--algorithm=zero_shot", f"--model.prompts={json.dumps(prompts)}"))
    record, found = read_record(context.run.record), read_predictions(context.run.predictions).targets["sketch"]
    assert isinstance(found, TargetPredictions)
    assert found.predicted["zero_shot"].tolist() == predicted(context, prompts)
    assert [row["key"] for row in record["rows"]] == ["zero_shot"]
    assert record["held_out_accuracy"] == record["zero_shot_accuracy"]
    assert list(record["steps"]) == ["evaluate"]
    assert (record["label"], record["images_seen"]) == ("zero-shot", 0)
    state, exported = context.pretrained.state(), load_tensors(context.run.merged)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], state[name]) for name in state)


def test_more_prompts_are_another_run_and_settings_of_training_are_not(tiny: Tiny) -> None:
    first, same, other = (
        tiny("--algorithm=zero_shot", option)
        for option in ("--train.lr=0.5", "--history.kind=last", f"--model.prompts={json.dumps(PROMPTS)}")
    )
    paths = [pipeline.run(recipe, until="validate").parent for recipe in (first, same, other)]
    assert paths[0] == paths[1] != paths[2]
    assert not algorithm_of(first).controls()


def test_a_run_without_steps_goes_on_with_the_images_that_it_was_validated_on(tiny: Tiny) -> None:
    recipe = tiny("--algorithm=zero_shot")
    run = RunDirectory(pipeline.run(recipe, until="validate").parent)
    before = run.splits.read_text()
    run.splits.write_text(before.replace('"images": 42', '"images": 43', 1))
    with pytest.raises(DataError, match=r"began with other images of `\w+` \(43 then, 42 now"):
        pipeline.run(recipe)
    run.splits.write_text(before)
    assert pipeline.run(recipe).exists()


def test_it_has_no_step_to_stop_after(tiny: Tiny) -> None:
    message = r"^The algorithm `zero_shot` has no step `train`; its steps are `validate`, `evaluate`\.$"
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny("--algorithm=zero_shot"), until="train")


def test_a_model_that_does_not_know_the_classes_is_refused(tiny: Tiny) -> None:
    message = (
        r"^The algorithm `zero_shot` tests a model that knows the classes before it is trained, but what stands for "
        r"the classes of `mini-resnet8` is drawn by the seed; set `model.name` to a CLIP\.$"
    )
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny("--algorithm=zero_shot", "--model.name=mini-resnet8"))


def test_statistics_that_would_move_are_refused(tiny: Tiny) -> None:
    message = r"^The algorithm `zero_shot` trains nothing, but `model\.statistics` is `live`; leave it out\.$"
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny("--algorithm=zero_shot", "--model.statistics=live"))
