"""What identifies runs of networks with and without text; runs from before a key are those with its default."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hamdg.config.recipe import ModelConfig, Recipe, TrainConfig
from hamdg.runs.identity import identity, part


def model(**values: object) -> Recipe:
    return replace(Recipe(), model=replace(ModelConfig(), **values))  # type: ignore[arg-type]


def test_keys_of_a_model_that_are_left_out_define_no_run() -> None:
    assert part(Recipe(), ())["model"] == {
        "name": "mini-rn",
        "weights": None,
        "prompts": part(Recipe(), ())["model"]["prompts"],  # type: ignore[index]
    }


@pytest.mark.parametrize("change", [{"statistics": "live"}, {"name": "mini-resnet8"}, {"normalization": "clip"}])
def test_what_changes_a_model_is_another_run(change: dict[str, object]) -> None:
    assert identity(model(**change)) != identity(Recipe())


def test_optimizers_of_other_kinds_are_other_runs_and_their_keys_define_no_other() -> None:
    def run(**values: object) -> str:
        return identity(replace(Recipe(), train=replace(TrainConfig(), **values)))  # type: ignore[arg-type]

    assert run(optimizer="adamw", momentum=0.5) == identity(Recipe())
    assert len({run(optimizer="sgd", momentum=0.5), run(optimizer="sgd"), identity(Recipe())}) == 3


def test_text_defines_no_run_of_a_network_without_text() -> None:
    plain = model(name="mini-resnet8")
    assert identity(model(name="mini-resnet8", prompts=["a {}."])) == identity(plain)
    words = replace(plain, data=replace(plain.data, words={"dog": "puppy"}))
    assert identity(words) == identity(plain)
    assert identity(model(name="mini-resnet8", image_size=32)) != identity(plain)


@pytest.mark.parametrize(
    ("name", "has_text"),
    [
        ("mini-rn", True),
        ("RN50", True),
        ("timm/own.json", True),
        ("timm/resnet18", False),
        ("torchvision/resnet50", False),
        ("mini-resnet8-16", False),
    ],
)
def test_names_tell_which_models_have_text(name: str, has_text: bool) -> None:
    config = ModelConfig(name)
    assert config.has_text == has_text
    assert config.knows_classes == has_text
    assert replace(config, text_head="linear_probe").knows_classes
