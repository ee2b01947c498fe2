"""A tiny run of every algorithm, up to the evaluation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hamdg.config.algorithms import names
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context
from hamdg.stages.discovery import algorithm_of
from tests.stages.conftest import tiny as tiny
from tests.stages.conftest import tiny_arguments
from tests.stages.conftest import worked as worked

# Those that fine-tune any network for one held-out domain; others have tests of their own.
OTHERS = {"coop", "dmm", "erm_pp", "linear_probe", "lp_ft", "mtda", "simple", "soup", "zero_shot"}
ALGORITHMS = tuple(name for name in names() if name not in OTHERS)


@dataclass(frozen=True)
class Done:
    """A run whose steps are all done, and which nothing may change."""

    recipe: Recipe
    run: RunDirectory

    def context(self) -> Context:
        return open_context(self.recipe, self.run)

    def copy(self, folder: Path) -> RunDirectory:
        return RunDirectory(shutil.copytree(self.run.path, folder / "copy"))


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """Return a function that gives the done run of an algorithm, with overrides."""
    root = tmp_path_factory.mktemp("algorithms")

    @cache
    def run(algorithm: str, *overrides: str) -> Done:
        arguments = [*tiny_arguments(root, "vit"), f"--algorithm={algorithm}", "--runtime.quiet=true", *overrides]
        recipe = read_recipe(None, arguments)
        pipeline.run(recipe, until=algorithm_of(recipe).steps()[-1].name)
        return Done(recipe, RunDirectory(run_directory(recipe)))

    return run
