"""What merging for several targets cannot do is refused before anything trains."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from hamdg.config.reading import read_recipe
from hamdg.errors import ConfigError, DataError
from hamdg.stages import pipeline
from tests.algorithms.mtda.conftest import ARGUMENTS, recipe_of
from tests.stages.conftest import tiny_arguments
from tests.toys import write


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--held_out=sketch",), r"`mtda` merges the models of several targets, but `held_out` names one, `sketch`"),
        (
            ("--model.statistics=frozen",),
            r"^The algorithm `mtda` works with the statistics of BatchNorm that each model's own images leave, but "
            r"`model\.statistics` is `frozen`, so that all models would have the start's; set it to `live`\.$",
        ),
        (
            ("--mtda.adapt.steps={art_painting: 3, photo: 2}",),
            r"^`mtda\.adapt\.steps` names `art_painting`, `photo`, but the targets are `art_painting`, `cartoon`, "
            r"`sketch`; give a number for each of them, or one for all\.$",
        ),
        (("--runtime.devices=2",), r"has BatchNorm statistics that move"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_trains(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    recipe = recipe_of(tmp_path / "runs", *overrides)
    with pytest.raises(ConfigError, match=message):
        pipeline.run(recipe)
    assert not (tmp_path / "runs").exists()


def test_targets_that_leave_no_image_to_test_on_are_refused_before_anything_trains(tmp_path: Path) -> None:
    given = [one for one in (*tiny_arguments(tmp_path / "runs", "rn"), *ARGUMENTS) if not one.startswith("--held_out")]
    for name, numbers in {"photo": range(6), "fog": range(6), "night": range(2)}.items():
        for kind, number in product(("cat", "dog"), numbers):
            write(tmp_path / "toys" / name / kind / f"{number}.png")
    place = ("--benchmark=custom", f"--data.root={tmp_path / 'toys'}", "--held_out=fog+night")
    with pytest.raises(DataError, match=r"^domain `night` has 4 images, too few to adapt to 80 % of them"):
        pipeline.run(read_recipe(None, [*(one for one in given if "data.mini" not in one), *place]))
    assert not (tmp_path / "runs").exists()


def test_a_network_without_batchnorm_is_refused_by_name(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path / "runs", "--model.name=torchvision/vit_b_32", "--model.weights=random", "--model.statistics=frozen"
    )
    with pytest.raises(
        ConfigError, match=r"`mtda` works with the statistics of BatchNorm, but `model\.name` `torchvision/vit_b_32`"
    ):
        pipeline.run(recipe)
    assert not (tmp_path / "runs").exists()


def test_a_clip_has_no_head_of_its_own_to_keep(tmp_path: Path) -> None:
    arguments = [*tiny_arguments(tmp_path / "runs", "rn"), *ARGUMENTS]
    arguments = [one for one in arguments if not one.startswith(("--model.image_size", "--model.weights=null"))]
    name = next(one for one in arguments if "tiny-rn" in one)
    recipe = read_recipe(None, [*arguments, name, "--mtda.merge.heads=separate"])
    with pytest.raises(ConfigError, match=r"`mtda\.merge\.heads` is `separate`, but `model\.name` .* has no head"):
        pipeline.run(recipe)
