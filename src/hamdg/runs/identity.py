"""What identifies a run and its steps: hashes of all that defines them, and where a run's files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hamdg.config.data import CUSTOM, RENDERED, ConflictsConfig
from hamdg.config.recipe import HistoryConfig, Recipe, TrainConfig
from hamdg.data.class_rows import class_rows
from hamdg.data.resolve import prompts_of, with_own_words
from hamdg.files import user_path


def identity(recipe: Recipe) -> str:
    """Return the 8-digit hash of everything that defines the run."""
    return hashed(defining_part(recipe))


def defining_part(recipe: Recipe) -> dict[str, object]:
    """Return the part of a recipe that defines the run: all that its algorithm uses, and the held-out domain.

    Where the images of a registered benchmark lie does not define a run, nor does the cache; which images they are
    is recorded with the run and checked when it goes on. A benchmark's own prompts count as if they were given.
    A merge method's options count with its defaults filled in: giving a default is the same run, a changed default
    is another one.

    Raises:
        ConfigError: If the merge method or one of its options does not exist or makes no sense.
    """
    return _targets(recipe) | part(recipe, {*recipe.settings.uses, recipe.algorithm})


def training_identity(recipe: Recipe) -> str:
    """Return a hash that runs share which differ in what follows training alone."""
    found = _targets(recipe) | part(recipe, {*recipe.settings.uses} - {"merge", "controls"})
    own = {key: value for key, value in _own_settings(recipe).items() if key not in recipe.settings.after_training}
    return hashed(found | ({recipe.algorithm: own} if own else {}))


def part(recipe: Recipe, sections: Iterable[str]) -> dict[str, object]:
    """Return what a recipe says of data and model, and in some sections.

    Args:
        recipe: The recipe.
        sections: Names of shared sections, of the algorithm's own, or of a part of that (`mtda.adapt`).
    """
    values: dict[str, object] = {
        "benchmark": recipe.benchmark,
        "algorithm": recipe.algorithm,
        "seed": recipe.seed,
        "data": _data(recipe),
        "model": _model(recipe),
    }
    found = {name: _section(recipe, name) for name in sorted(sections)}
    # An algorithm without settings of its own has nothing to say.
    return values | {name: value for name, value in found.items() if value}


def encoder_part(recipe: Recipe) -> dict[str, object]:
    """Return what a recipe says of images and of the pretrained encoder: what features of images depend on."""
    data = {
        name: value for name, value in _data(recipe).items() if name not in ("batch_size", "augment", "views", "words")
    }
    keys = ("name", "weights", "normalization", "image_size", "fold_batchnorm")
    model = {name: value for name, value in _model(recipe).items() if name in keys}
    return {"benchmark": recipe.benchmark, "seed": recipe.seed, "data": data, "model": model}


def hashed(values: dict[str, object]) -> str:
    """Return the 8-digit hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def run_directory(recipe: Recipe) -> Path:
    """Return where the run's files lie."""
    return sibling_runs(recipe) / f"seed{recipe.seed}-{identity(recipe)}"


def sibling_runs(recipe: Recipe) -> Path:
    """Return the folder of all runs of the same benchmark, held-out domain and algorithm."""
    return user_path(recipe.runtime.root, "runtime.root") / recipe.benchmark / recipe.held_out / recipe.algorithm


def _targets(recipe: Recipe) -> dict[str, object]:
    held_out: dict[str, object] = {"held_out": recipe.held_out}
    return held_out | ({"excluded": recipe.excluded} if recipe.excluded else {})


def _section(recipe: Recipe, name: str) -> object:
    own, _, inner = name.partition(".")
    if own == recipe.algorithm:
        values = _own_settings(recipe)
        return values[inner] if inner else values
    if name == "merge":
        # Methods need torch, which run directories do without.
        from hamdg.config.merge_section import defining_merge

        return defining_merge(recipe.merge)
    if name == "history":
        return _history(recipe.history)
    if name == "train":
        return _train(recipe.train)
    return asdict(getattr(recipe, name))


def _own_settings(recipe: Recipe) -> dict[str, Any]:
    values = asdict(recipe.settings)
    for key, default in recipe.settings.added.items():
        *sections, name = key.split(".")
        place = reduce(getitem, sections, values)
        if place[name] == default:
            del place[name]
    return values


def _train(config: TrainConfig) -> dict[str, object]:
    values = asdict(config)
    if config.optimizer == "adamw":
        del values["momentum"]
    # Runs from before these keys are the runs with their defaults.
    defaults = {"check_images": None, "accumulate": 1, "schedule": "cosine", "optimizer": "adamw"}
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def _history(config: HistoryConfig) -> dict[str, object]:
    values = asdict(config)
    if config.kind != "swad":
        for name in ("n_s", "n_e", "r"):
            del values[name]
    return values


def _model(recipe: Recipe) -> dict[str, object]:
    values = asdict(recipe.model)
    del values["class_rows"]
    if recipe.model.text_head == "class_rows":
        values["class_rows"] = {name: list(rows) for name, rows in class_rows(recipe).items()}
    if recipe.model.text_head == "prompts":
        del values["text_head"]
    if recipe.model.text_head == "prompts" and recipe.model.uses_text:
        values["prompts"] = prompts_of(recipe)
    else:
        del values["prompts"]
    # Runs from before these keys are the runs with their defaults.
    defaults: dict[str, object] = {
        "normalization": "own",
        "image_size": None,
        "statistics": "frozen",
        "text_tower": "frozen",
    }
    defaults |= {"head": "class_features", "frozen_blocks": 0, "fold_batchnorm": False}
    defaults |= {"train_head": True, "head_balance": "domains", "head_labels": "given"}
    for name, default in defaults.items():
        if values[name] == default:
            del values[name]
    return values


def _data(recipe: Recipe) -> dict[str, object]:
    values = asdict(with_own_words(recipe).data)
    places = () if recipe.benchmark == CUSTOM else ("root", "hub", "revision", "lists", "columns")
    for name in ("cache", "decode_once", *places):
        del values[name]
    for name, section in RENDERED.items():
        if recipe.benchmark != name:
            del values[section]
    by_text = recipe.settings.uses_words or (recipe.model.text_head == "prompts" and recipe.model.uses_text)
    if not by_text or not values["words"]:
        del values["words"]
    for name in ("lists", "domains", "shots", "ids", "views"):
        if name in values and not values[name]:
            del values[name]
    if recipe.data.conflicts == ConflictsConfig():
        del values["conflicts"]
    # Runs from before these keys are the runs without further domains.
    if recipe.benchmark == "mini":
        for name in ("copies", "styles"):
            if not values["mini"][name]:
                del values["mini"][name]
    if values["subset"] is not None:
        # Runs from when it meant the first of every class are other runs.
        values["subset"] = f"{values['subset']} drawn by the seed"
    if recipe.benchmark in RENDERED or values["truncated"] == "refuse":
        del values["truncated"]
    if recipe.benchmark in RENDERED or values["store"] == "uncompressed":
        del values["store"]
    return values
