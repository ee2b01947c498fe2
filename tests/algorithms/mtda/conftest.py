"""Tiny runs of training-free merging for several targets, which tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.models.network import Weights
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import Record, read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context
from tests.stages.conftest import tiny_arguments

if TYPE_CHECKING:
    Run = Callable[..., "Finished"]

TARGETS = ("art_painting", "cartoon", "sketch")
ARGUMENTS = (
    "--algorithm=mtda",
    "--model.name=mini-resnet8-16",
    "--model.weights=null",
    "--model.image_size=32",
    "--model.statistics=live",
    "--held_out=sketch+art+cartoon",
    "--mtda.adapt.steps=3",
    "--mtda.adapt.threshold=0.1",
    "--mtda.reestimate.images=8",
    "--evaluate.average=harmonic",
    "--runtime.quiet=true",
)
PLAIN = ("--mtda.compare.union=false", "--mtda.compare.starts=false", "--mtda.reestimate.images=0")


def recipe_of(root: Path, *overrides: str) -> Recipe:
    return read_recipe(None, [*tiny_arguments(root, "rn"), *ARGUMENTS, *overrides])


class Finished:
    """A finished run, which nothing may change."""

    def __init__(self, recipe: Recipe) -> None:
        pipeline.run(recipe)
        self.recipe = recipe
        self.run = RunDirectory(run_directory(recipe))
        self.record: Record = read_record(self.run.record)

    @property
    def context(self) -> Context:
        return open_context(self.recipe, self.run)

    def last(self, step: str) -> dict[str, dict[str, torch.Tensor]]:
        return self.context.step(step).history().last


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that gives the finished run of some overrides, all below one root."""
    root = tmp_path_factory.mktemp("mtda")

    @cache
    def run(*overrides: str) -> Finished:
        return Finished(recipe_of(root, *overrides))

    return run


@pytest.fixture(scope="session")
def whole(finished: Run) -> Finished:
    return finished("--evaluate.lines=3", "--runtime.report=true")


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
