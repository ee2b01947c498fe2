"""Algorithms whose loss is made of frozen class features refuse models that have none, before anything trains."""

from __future__ import annotations

import pytest

from hamdg.errors import ConfigError
from hamdg.stages import pipeline
from tests.stages.conftest import Tiny


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("--model.text_tower=trained", "`model.text_tower` is `trained`; leave it out."),
        ("--model.head=linear", "`model.head` is `linear`; leave it out."),
        ("--model.name=mini-resnet8", "`model.name` `mini-resnet8` has a linear layer; choose a CLIP."),
    ],
)
@pytest.mark.parametrize("name", ["clipood", "vl2v"])
def test_models_without_frozen_class_features_are_refused(tiny: Tiny, name: str, change: str, why: str) -> None:
    recipe = tiny(f"--algorithm={name}", *(["--model.weights=null"] if "resnet8" in change else []), change)
    with pytest.raises(ConfigError) as caught:
        pipeline.run(recipe)
    start = f"The algorithm `{name}` compares image features with frozen class features, but "
    assert str(caught.value) == start + why
