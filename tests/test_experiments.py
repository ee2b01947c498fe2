from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hamdg.config import Recipe
from hamdg.recipe import read_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.relative_to(ROOT) for path in (ROOT / "experiments" / "mini").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_a_recipe_documents_itself(path: Path) -> None:
    head = [line for line in (ROOT / path).read_text().splitlines() if line.startswith("#")]
    assert len(head[0]) > 20
    text = "\n".join(head)
    assert re.search(rf"# Command: +hamdg run {path}\b", text)
    assert re.search(r"# Time: +about [\d.]+ (minutes|s) on \d+ CPU cores", text)
    assert re.search(r"# Expected: +\S", text)


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_a_recipe_can_be_read_and_lies_where_its_benchmark_says(path: Path) -> None:
    recipe = read_recipe(ROOT / path)
    assert path.parts[1] == recipe.benchmark


def leaves(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_a_recipe_holds_only_what_differs_from_the_defaults(path: Path) -> None:
    given = leaves(yaml.safe_load((ROOT / path).read_text()))
    for key, value in given.items():
        default: object = Recipe()
        for name in key.split("."):
            default = getattr(default, name)
        # What a reader wants to see at once may be repeated.
        assert key in ("benchmark", "held_out", "algorithm") or value != default, f"{key} is the default anyway"
