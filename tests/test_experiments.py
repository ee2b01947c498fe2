from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from hamdg.commands.recipes import read_head
from hamdg.config.keys import value_at
from hamdg.config.reading import read_recipe
from hamdg.config.recipe_file import base_of, file_settings, read_unchecked
from hamdg.config.shipped import kind_of
from hamdg.data.registry import builtin
from hamdg.data.resolve import prompts_of

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "experiments").rglob("*.yaml"))
RECIPES = [path for path in FILES if kind_of(path) == "recipe"]
SWEEPS = [path for path in FILES if kind_of(path) == "sweep file"]
REAL = ("domainnet", "officehome", "pacs", "terra", "vlcs")


@pytest.mark.parametrize("path", [*RECIPES, *SWEEPS], ids=str)
def test_a_recipe_documents_itself(path: Path) -> None:
    head = read_head(ROOT / path)
    assert len(head.purpose) > 20
    name = path.relative_to("experiments").with_suffix("")
    verb = "run" if path in RECIPES else "sweep"
    assert re.fullmatch(rf"hamdg {verb} {name}( --[\w.]+=[A-Z]+)*", head.command)
    assert re.match(r"((about )?[\d.]+ (minutes|s) on \d+ CPU cores?|not measured(; needs a GPU)?)", head.time)
    assert re.search(r"\d %|\d\.\d|docs/\w+\.md|not measured|nothing is known", head.expected)


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_a_recipe_can_be_read_and_lies_where_its_benchmark_says(path: Path, tmp_path: Path) -> None:
    own = path.parts[1] == "custom"  # which has the domains and classes of its images
    given = {one.key: one.value for one in file_settings(ROOT / path)}
    names = ("images", "labels") if "data.ids" in given else ("cat", "dog")
    domains = ("day", *str(given["held_out"]).split("+")) if own else ()
    for domain, name in product(domains, names):
        (tmp_path / domain / name).mkdir(parents=True)
        (tmp_path / domain / name / "1.jpg").touch()
    recipe = read_recipe(ROOT / path, [f"--data.root={tmp_path}"] if own else [])
    assert path.parts[1] == recipe.benchmark


def leaves(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("ids", "options"):  # what these hold are no keys
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_a_recipe_holds_only_what_differs_from_its_base_or_the_defaults(path: Path) -> None:
    given = yaml.safe_load((ROOT / path).read_text())
    given = leaves({key: value for key, value in given.items() if key != "base"})
    algorithm = [f"--algorithm={given['algorithm']}"] if "algorithm" in given else []
    defaults = read_unchecked(base_of(ROOT / path), algorithm)
    for key, value in given.items():
        default = value_at(defaults, key)
        # What a reader wants to see at once may be repeated.
        assert key in ("benchmark", "held_out", "algorithm") or value != default, f"{key} is so anyway"


def test_every_benchmark_has_its_recipe() -> None:
    assert set(builtin()) == {"mini", "mini-scenes", *REAL}
    assert {path.parts[1] for path in RECIPES} == {"mini", "mini-scenes", "custom", *REAL}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("algorithm", ["ham", "clipood"])
def test_a_real_benchmark_is_trained_as_clipood_is(name: str, algorithm: str) -> None:
    """The settings of CLIPood's official scripts."""
    recipe = read_recipe(ROOT / "experiments" / name / f"{algorithm}.yaml")
    larger = name in ("officehome", "domainnet")
    assert (recipe.train.lr, recipe.train.weight_decay) == (1e-5 if larger else 5e-6, 0.1)
    assert recipe.train.steps == 500 * (20 if name == "domainnet" else 10)
    assert (recipe.data.batch_size, recipe.data.validation_fraction, recipe.train.check_every) == (12, 0.2, 500)
    assert (recipe.history.kind, recipe.history.beta, recipe.history.start) == ("beta", 0.5, 0.0)
    assert (recipe.model.name, recipe.model.weights) == ("ViT-B-16-quickgelu", "openai")
    assert prompts_of(recipe) == ["a photo of a {}."]


@pytest.mark.parametrize("name", REAL)
def test_erm_is_trained_as_ham_is(name: str) -> None:
    ham, erm = (read_recipe(ROOT / "experiments" / name / f"{one}.yaml") for one in ("ham", "erm"))
    assert (erm.benchmark, erm.held_out, erm.data, erm.model) == (ham.benchmark, ham.held_out, ham.data, ham.model)
    assert erm.train == ham.train


@pytest.mark.parametrize(
    ("name", "steps", "interval", "r"),
    [
        ("pacs", 5001, 100, 1.3),
        ("officehome", 5001, 100, 1.3),
        ("terra", 5001, 100, 1.3),
        ("vlcs", 5001, 50, 1.2),
        ("domainnet", 15001, 500, 1.3),
    ],
)
def test_swad_looks_at_the_loss_as_often_as_its_code(name: str, steps: int, interval: int, r: float) -> None:
    recipe = read_recipe(ROOT / "experiments" / name / "swad.yaml")
    assert (recipe.train.steps, recipe.train.check_every) == (steps, interval)
    assert (recipe.history.kind, recipe.history.n_s, recipe.history.n_e, recipe.history.r) == ("swad", 3, 6, r)
    assert (recipe.train.lr, recipe.train.weight_decay, recipe.train.schedule) == (5e-5, 0.0, "constant")
    assert (recipe.data.batch_size, recipe.data.augment) == (32, "domainbed")
    assert (recipe.model.normalization, recipe.model.head) == ("imagenet", "linear")
