"""Algorithms are found inside the package and by entry points outside it, without torch."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config import algorithms
from hamdg.config.reading import read_recipe, write_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.runs.identity import defining_part, training_identity

if TYPE_CHECKING:
    from tests.conftest import Plugin

Install = Callable[[str, str], None]
GOOD = """
    from dataclasses import dataclass
    from typing import ClassVar

    from hamdg.config.algorithms import AlgorithmSettings

    @dataclass(frozen=True)
    class MineSettings(AlgorithmSettings):
        code: ClassVar[str] = "mine.algorithm:Mine"
        uses: ClassVar[tuple[str, ...]] = ("train",)
        weight: float = 0.5
"""


@pytest.fixture
def install(plugin: Plugin) -> Install:
    """Return a function that installs a package with one algorithm's settings."""

    def put(name: str, code: str) -> None:
        plugin("mine", algorithms.ENTRY_POINTS, {name: "mine:MineSettings"}, textwrap.dedent(code))

    return put


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, overrides)
    return str(caught.value)


def test_hamdgs_own_algorithms_are_found() -> None:
    assert {"erm", "ham"} <= set(algorithms.names())
    for name in algorithms.names():
        settings = algorithms.find(name)
        assert settings.__name__.casefold() == f"{name.replace('_', '')}settings"
        assert set(settings.uses) <= {"train", "history", "merge", "controls"}
        assert settings.code.partition(":")[0].startswith(f"hamdg.algorithms.{name}")


def test_an_installed_algorithm_has_a_section(install: Install, tmp_path: Path) -> None:
    install("mine", GOOD)
    recipe = read_recipe(None, ["--algorithm=mine", "--mine.weight=2"])
    assert (recipe.algorithm, vars(recipe.settings)) == ("mine", {"weight": 2.0})
    write_recipe(recipe, tmp_path / "config.yaml")
    assert read_recipe(tmp_path / "config.yaml") == recipe


def test_what_an_algorithm_uses_defines_its_runs(install: Install) -> None:
    install("mine", GOOD)
    recipe = read_recipe(None, ["--algorithm=mine"])
    assert defining_part(recipe)["mine"] == {"weight": 0.5}
    assert not {"history", "merge", "controls"} & set(defining_part(recipe))
    for same in ("--mine.weight=0.5", "--history.every=7", "--merge.method=ties", "--controls.erm=false"):
        assert training_identity(read_recipe(None, ["--algorithm=mine", same])) == training_identity(recipe)
    for other in ("--mine.weight=1", "--train.lr=1", "--data.batch_size=2"):
        assert training_identity(read_recipe(None, ["--algorithm=mine", other])) != training_identity(recipe)


def test_a_misspelled_key_of_an_installed_algorithm_is_found(install: Install) -> None:
    install("mine", GOOD)
    assert message("--algorithm=mine", "--mine.wieght=1") == (
        "There is no option or key `--mine.wieght`; did you mean `--mine.weight`?"
    )


def test_a_broken_package_is_one_line(install: Install) -> None:
    install("mine", "import nothing_of_that_name")
    assert message("--algorithm=mine") == (
        "`algorithm`: the algorithm `mine` of the package `mine` cannot be loaded (ModuleNotFoundError: No module "
        "named 'nothing_of_that_name'); repair or remove that package (on the command line)."
    )
    assert read_recipe(None) == Recipe()
    assert message("--train.stpes=1") == "There is no option or key `--train.stpes`; did you mean `--train.steps`?"


@pytest.mark.parametrize(
    "code",
    [
        "MineSettings = 3",
        GOOD.replace('        code: ClassVar[str] = "mine.algorithm:Mine"\n', ""),
        GOOD.replace("    @dataclass(frozen=True)\n", ""),
    ],
)
def test_what_an_installed_algorithm_must_be(install: Install, code: str) -> None:
    install("mine", code)
    assert message("--algorithm=mine") == (
        "`algorithm`: the entry point `mine` of `hamdg.algorithms` is not a dataclass that derives from "
        "`AlgorithmSettings` and has `code` and `uses`; repair or remove its package (on the command line)."
    )


def test_every_key_of_an_installed_algorithm_has_a_default(install: Install) -> None:
    install("mine", GOOD.replace("weight: float = 0.5", "weight: float\n        scale: float"))
    assert message("--algorithm=mine") == (
        "`algorithm`: the settings `MineSettings` of the entry point `mine` of `hamdg.algorithms` have no default for "
        "`weight`, `scale`; give every key one (on the command line)."
    )


def test_an_algorithm_uses_sections_that_there_are(install: Install) -> None:
    install("mine", GOOD.replace('("train",)', '("train", "histroy")'))
    assert message("--algorithm=mine") == (
        "`algorithm`: the algorithm `mine` (`mine`) uses the section `histroy`, which no recipe has; did you mean "
        "`history`? (on the command line)."
    )


def test_an_algorithm_cannot_have_the_name_of_a_shared_key(install: Install) -> None:
    install("train", GOOD)
    assert message("--algorithm=train") == (
        "`algorithm`: the algorithm `train` (`mine`) has the name of a key that all recipes share; give it another one "
        "(on the command line)."
    )


def test_settings_need_no_torch() -> None:
    code = """
import sys
from hamdg.config.algorithms import find, names
[*map(find, names())]
print("torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
