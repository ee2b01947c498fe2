"""Tiny runs, as those of tests/stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from tests.stages.conftest import Command, tiny_arguments
from tests.tiny import Tower

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    def recipe(*overrides: str, tower: Tower = "rn") -> Recipe:
        return read_recipe(None, [*tiny_arguments(tmp_path / "runs", tower), *overrides])

    return recipe


@pytest.fixture
def command(tmp_path: Path) -> Commander:
    def make(name: str, *overrides: str, tower: Tower = "rn") -> Command:
        return Command(tmp_path / name, tower, overrides)

    return make
