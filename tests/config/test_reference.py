"""What `hamdg run --help` and docs/recipes.md say of a recipe's keys comes from their types."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg import cli
from hamdg.config import keys
from hamdg.config.algorithms import names
from hamdg.config.algorithms.ham import HamSettings, HarmonizationConfig
from hamdg.config.reading import read_recipe, write_recipe
from hamdg.config.recipe import Recipe, TrainConfig
from hamdg.config.reference import Section, document, help_text, sections_of
from hamdg.runs.identity import identity

ROOT = Path(__file__).parents[2]


def all_keys(recipe: Recipe) -> list[str]:
    return [key.name for section in sections_of(recipe) for key in section.keys]


def test_the_page_is_that_of_the_types() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert page == document(), "update it with `python -m hamdg.config.reference docs/recipes.md`"


def test_every_key_and_section_is_explained() -> None:
    found: list[Section] = [section for name in names() for section in sections_of(Recipe(algorithm=name))]
    assert [section.name for section in found if not section.text] == []
    assert [key.name for section in found for key in section.keys if not key.text or not key.kind] == []


def test_a_recipe_has_the_keys_that_its_algorithm_reads() -> None:
    ham, erm = all_keys(Recipe()), all_keys(Recipe(algorithm="erm"))
    assert set(ham) == set(keys.known("ham"))
    assert {key.partition(".")[0] for key in set(ham) - set(erm)} == {"ham", "merge", "controls"}
    assert set(erm) < set(ham)


def test_the_help_of_a_section() -> None:
    own = HamSettings(harmonization=HarmonizationConfig(weight=3.0))
    said = help_text(Recipe(settings=own, train=TrainConfig(steps=40)))
    assert (
        "train: How every source model is fine-tuned.\n"
        "  --train.steps                   an integer between 1 and 1,000,000 (default: 200; here 40)\n"
        "                                  Optimizer steps (of each model; all advance in lock-step).\n"
    ) in said
    assert "  --train.lr                      a number above 0 (default: 0.001)\n" in said
    assert "  --ham.harmonization.weight      a number of at least 0 (default: 10.0; here 3.0)\n" in said
    assert max(map(len, said.splitlines())) <= 112


def test_the_help_of_a_recipe_is_that_of_its_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "mini/erm", "--help", "--train.steps=7"]) == 0
    said = capsys.readouterr().out
    assert "(default: 200; here 7)" in said
    assert "--ham." not in said
    assert "--merge." not in said
    assert cli.main(["run", "--help"]) == 0
    assert {f"--{key}" for key in keys.known()} <= set(capsys.readouterr().out.split())
    assert cli.main(["run", "mini/emr", "-h"]) == 2
    assert capsys.readouterr().err.startswith("hamdg: error: There is no recipe `mini/emr`; did you mean `mini/erm`")


@pytest.mark.parametrize("option", ["--print-config", "--print_config"])
@pytest.mark.parametrize(
    "overrides", [[], ["--merge.method=ties", "--merge.options.density=0.3"], ["--algorithm=coral"]]
)
def test_a_printed_recipe_is_the_same_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, overrides: list[str]
) -> None:
    assert cli.main(["run", "mini/separate", option, *overrides, "--seed=3"]) == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    recipe = read_recipe(ROOT / "experiments" / "mini" / "separate.yaml", [*overrides, "--seed=3"])
    again = read_recipe(printed)
    assert identity(again) == identity(recipe)
    assert (again.label, again.runtime, again.settings) == (recipe.label, recipe.runtime, recipe.settings)
    write_recipe(again, tmp_path / "written.yaml")
    assert (tmp_path / "written.yaml").read_text() == printed.read_text()
