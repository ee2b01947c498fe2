"""What identifies a run: the hash of everything that defines it, and where its files lie."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.files import user_path

# Sections that only what follows the training reads.
_AFTER_TRAINING = ("merge", "controls")


def defining_part(recipe: Recipe) -> dict[str, object]:
    """Return the part of a recipe that defines the run: all but `runtime`, `label`, and what is not used.

    Where the images of a registered benchmark lie does not define a run, nor does the cache; which images they are
    is recorded with the run and checked when it goes on. A benchmark's own prompts count as if they were given.

    Of the sections that recipes share, those count that the algorithm uses, beside its own settings. Its settings and
    a merge method's options count with their defaults filled in: giving a default is the same run, a changed default
    is another one.

    Raises:
        ConfigError: If the merge method or one of its options does not exist or makes no sense.
    """
    # Methods need torch, which recipes and the verbs about data do without.
    from hamdg.config.merge_section import defining_merge

    values = _trained_part(recipe)
    if "merge" in recipe.settings.uses:
        values["merge"] = defining_merge(recipe.merge)
    if "controls" in recipe.settings.uses:
        values["controls"] = asdict(recipe.controls)
    return values


def identity(recipe: Recipe) -> str:
    """Return the 8-digit hash of everything that defines the run."""
    return _hash(defining_part(recipe))


def training_identity(recipe: Recipe) -> str:
    """Return the hash of everything that training depends on; runs that only merge differently share it."""
    return _hash(_trained_part(recipe))


def _trained_part(recipe: Recipe) -> dict[str, object]:
    # Not above: what knows benchmarks knows recipes.
    from hamdg.data.resolve import prompts_of, with_own_words

    recipe = with_own_words(recipe)
    values: dict[str, Any] = {name: getattr(recipe, name) for name in ("benchmark", "held_out", "algorithm", "seed")}
    sections = ("data", "model", *(name for name in recipe.settings.uses if name not in _AFTER_TRAINING))
    values |= {name: asdict(getattr(recipe, name)) for name in sections}
    if own := asdict(recipe.settings):
        values[recipe.algorithm] = own
    if recipe.excluded:
        values["excluded"] = recipe.excluded
    _drop_unused_data(values["data"], recipe.benchmark)
    if recipe.model.text_head == "prompts":
        del values["model"]["text_head"]
        values["model"]["prompts"] = prompts_of(recipe)
    else:
        del values["model"]["prompts"]
    if recipe.model.text_head != "prompts" or not values["data"]["words"]:
        del values["data"]["words"]
    if recipe.model.normalization == "own":
        del values["model"]["normalization"]
    if "history" in values and recipe.history.kind != "swad":
        for name in ("n_s", "n_e", "r"):
            del values["history"][name]
    return values


def _drop_unused_data(data: dict[str, object], benchmark: str) -> None:
    places = ("root", "hub", "revision", "lists", "columns")
    for name in ("cache", "decode_once", *(() if benchmark == CUSTOM else places)):
        del data[name]
    if benchmark != "mini":
        del data["mini"]
    for name in ("lists", "domains", "shots"):
        if name in data and not data[name]:
            del data[name]
    if data["subset"] is not None:
        # Runs from when it meant the first of every class are other runs.
        data["subset"] = f"{data['subset']} drawn by the seed"
    if benchmark == "mini" or data["truncated"] == "refuse":
        del data["truncated"]
    if benchmark == "mini" or data["store"] == "uncompressed":
        del data["store"]


def _hash(values: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def run_directory(recipe: Recipe) -> Path:
    """Return where the run's files lie."""
    return sibling_runs(recipe) / f"seed{recipe.seed}-{identity(recipe)}"


def sibling_runs(recipe: Recipe) -> Path:
    """Return the folder of all runs of the same benchmark, held-out domain and algorithm."""
    return user_path(recipe.runtime.root, "runtime.root") / recipe.benchmark / recipe.held_out / recipe.algorithm
