"""`base`: a recipe that is laid over another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg import cli
from hamdg.config.algorithms.erm import ErmSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe_file import file_settings, named_algorithm, read_unchecked
from hamdg.errors import ConfigError
from hamdg.runs.identity import identity

BASE = """\
held_out: photo
train: {steps: 40, lr: 0.002}
ham: {enrichment: {enabled: false}}
merge: {method: ties, options: {density: 0.3}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the recipe `base.yaml`, which is not the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def written(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        file_settings(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["base.yaml", "base", "./base.yaml", "./base"])
def test_keys_are_laid_over_those_of_the_base_section_by_section(folder: Path, name: str) -> None:
    own = written(folder, f"base: {name}\nheld_out: sketch\ntrain:\n  lr: 0.1\nmerge: {{options: {{scale: 2.0}}}}\n")
    recipe = read_recipe(own)
    assert (recipe.held_out, recipe.train.steps, recipe.train.lr) == ("sketch", 40, 0.1)
    assert recipe.merge.options == {"density": 0.3, "scale": 2.0}
    assert {one.key: one.place for one in file_settings(own)} == {
        "train.steps": f"in `{folder / 'base.yaml'}`, line 2",
        "ham.enrichment.enabled": f"in `{folder / 'base.yaml'}`, line 3",
        "merge.method": f"in `{folder / 'base.yaml'}`, line 4",
        "merge.options.density": f"in `{folder / 'base.yaml'}`, line 4",
        "held_out": f"in `{own}`, line 2",
        "train.lr": f"in `{own}`, line 4",
        "merge.options.scale": f"in `{own}`, line 5",
    }


def test_a_base_may_have_a_base_in_another_folder(folder: Path) -> None:
    written(folder, "base: ../base.yaml\ntrain: {steps: 50, warmup: 5}\n", "inner/middle.yaml")
    train = read_recipe(written(folder, "base: inner/middle\ntrain: {warmup: 6}\n")).train
    assert (train.steps, train.lr, train.warmup) == (50, 0.002, 6)


def test_a_recipe_that_comes_with_hamdg_can_be_a_base(folder: Path) -> None:
    recipe = read_recipe(written(folder, "base: mini/erm\nseed: 3\n"))
    assert (recipe.algorithm, recipe.held_out, recipe.runtime.threads, recipe.seed) == ("erm", "art_painting", 1, 3)


def test_the_same_keys_in_one_file_are_the_same_run(folder: Path) -> None:
    own = written(folder, "base: base.yaml\ntrain: {lr: 0.1}\n")
    whole = written(folder, BASE.replace("0.002", "0.1"), "whole.yaml")
    assert read_recipe(own) == read_recipe(whole)
    assert identity(read_recipe(own)) == identity(read_recipe(whole)) != identity(read_recipe(folder / "base.yaml"))


def test_another_algorithm_or_merge_method_starts_from_its_own_defaults(folder: Path) -> None:
    own = written(folder, "base: base.yaml\nalgorithm: erm\nmerge: {method: uniform}\n")
    recipe = read_recipe(own)
    assert named_algorithm(own) == recipe.algorithm == "erm"
    assert (recipe.settings, recipe.merge.options, recipe.train.steps) == (ErmSettings(), {}, 40)
    same = read_unchecked(written(folder, "base: base.yaml\nalgorithm: ham\nmerge: {method: ties}\n"))
    assert same == read_unchecked(folder / "base.yaml")


def test_an_empty_base_changes_nothing(folder: Path) -> None:
    written(folder, "# nothing\n", "empty.yaml")
    assert read_recipe(written(folder, "base: empty\nseed: 4\n")).seed == 4


def test_print_config_prints_the_resolved_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = written(folder, "base: base.yaml\ntrain: {lr: 0.1}\n")
    assert cli.main(["run", str(own), "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "base:" not in printed
    assert read_recipe(written(folder, printed, "printed.yaml")).train == read_recipe(own).train


def test_a_recipe_based_on_itself_is_refused(folder: Path) -> None:
    own = written(folder, "seed: 1\nbase: own.yaml\n")
    assert message(own) == (
        f"`base` leads back to `{own}`; name a recipe that is not based on this one (in `{own}`, line 2)."
    )
    written(folder, "base: last\n", "middle.yaml")
    last = written(folder, "base: ./middle.yaml\n", "last.yaml")
    first = written(folder, "base: middle.yaml\n", "first.yaml")
    assert message(first) == (
        f"`base` leads back to `{folder / 'middle.yaml'}`; name a recipe that is not based on this one "
        f"(in `{last}`, line 1)."
    )


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("mini/emr", "`base`: there is no recipe `mini/emr`; did you mean `mini/erm`"),
        ("./bsae.yaml", "`base`: there is no recipe `{0}/bsae.yaml`; did you mean `{0}/base.yaml`"),
        ("3", "Expected `base` to be the path or the name of a recipe, but got `3`"),
        ("", "Expected `base` to be the path or the name of a recipe, but got `null`"),
        ("[a, b]", "Expected `base` to be the path or the name of a recipe, but got `['a', 'b']`"),
    ],
)
def test_a_base_that_is_nowhere_is_refused_with_its_place(folder: Path, base: str, said: str) -> None:
    own = written(folder, f"seed: 1\nbase: {base}\n")
    found = message(own)
    assert found.startswith(said.format(folder))
    assert found.removesuffix(".").endswith(f" (in `{own}`, line 2)")


def test_what_is_wrong_with_a_base_is_said_of_its_own_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = written(folder, "train: {stpes: 3}\n", "broken.yaml")
    own = written(folder, "base: broken.yaml\n")
    assert cli.main(["run", str(own)]) == 2
    said = capsys.readouterr().err
    assert f"There is no key `train.stpes` in `{broken}`, line 1; did you mean `train.steps`?" in said
    sweep = written(folder, "variants: {}\n", "sweep.yaml")
    assert message(written(folder, "base: sweep\n")).startswith(f"`{sweep}` is a sweep file, not a recipe")
