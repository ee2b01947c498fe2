"""Runs of a soup: what they draw, what they share with other soups, and what is made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
import torch

from hamdg.algorithms.soup import drawn
from hamdg.config.algorithms.soup import DrawConfig, SoupSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import MergeConfig, Recipe, TrainConfig
from hamdg.errors import ConfigError
from hamdg.merge import merge
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.steps import read_step_summary, read_validation
from hamdg.stages import pipeline
from hamdg.stages.discovery import algorithm_of

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

    Runs = Callable[..., Done]

DRAW = DrawConfig(lr=[1.0, 2.0, 3.0, 4.0], weight_decay=[0.0, 0.5])
TRAIN = TrainConfig(steps=10, lr=0.125, weight_decay=0.25)
# Learning rates that differ enough for runs of four steps to tell.
OWN = ("--soup.runs=3", "--soup.draw.lr=[0.0001, 0.01, 0.1]", "--history.kind=best", "--train.warmup=0")
NAMES = ("run-0", "run-1", "run-2")


def recipe_of(runs: int, method: str = "uniform") -> Recipe:
    return Recipe(algorithm="soup", settings=SoupSettings(runs=runs), merge=MergeConfig(method=method))


def test_every_run_draws_by_the_seed_and_its_number_alone() -> None:
    found = [drawn(DRAW, TRAIN, seed=0, number=number) for number in range(60)]
    assert found == [drawn(DRAW, TRAIN, seed=0, number=number) for number in range(60)]
    assert found != [drawn(DRAW, TRAIN, seed=1, number=number) for number in range(60)]
    # So many draws of four and of two values leave no pair out.
    assert {(one.lr, one.weight_decay) for one in found} == {(lr, own) for lr in DRAW.lr for own in DRAW.weight_decay}
    assert all(replace(one, lr=TRAIN.lr, weight_decay=TRAIN.weight_decay) == TRAIN for one in found)
    # An empty list leaves the recipe's value, and the other draws as they are.
    plain = [drawn(replace(DRAW, lr=[]), TRAIN, seed=0, number=number) for number in range(60)]
    assert {one.lr for one in plain} == {TRAIN.lr}
    assert [one.weight_decay for one in plain] == [one.weight_decay for one in found]


def test_diwas_values_are_the_defaults() -> None:
    settings = SoupSettings()
    assert (settings.runs, settings.draw.lr, settings.draw.weight_decay) == (20, [1e-5, 3e-5, 5e-5], [1e-4, 1e-6])


def test_the_steps_declare_what_they_read() -> None:
    def declared(recipe: Recipe) -> list[tuple[str, set[str], set[str]]]:
        return [(step.name, set(step.sections), set(step.reads)) for step in algorithm_of(recipe).steps()]

    run = {"train", "history", "soup.draw"}
    runs = [(f"run-{number}", run, {"sources"}) for number in range(2)]
    score = ("score", {"soup.runs"}, {"sources"})
    assert declared(recipe_of(2)) == [*runs, score, ("merge", {"merge", "soup.runs"}, set())]
    assert declared(recipe_of(2, "greedy_soup"))[-1] == ("merge", {"merge", "soup.runs"}, {"sources"})


def test_the_result_is_the_mean_of_the_runs_and_the_best_of_them_is_a_row(done: Runs) -> None:
    context = done("soup", *OWN, "--merge.method=uniform").context()
    contributed = {name: context.step(name).history().history[name] for name in NAMES}
    facts = {name: read_step_summary(context.run.step(name))["facts"] for name in (*NAMES, "score")}
    rates = {cast("Mapping[str, float]", facts[name]["drawn"])["lr"] for name in NAMES}
    assert len(rates) > 1
    entries = context.algorithm.entries(context)
    keys = [entry.key for entry in entries]
    assert keys == list(context.algorithm.keys(context.sources)) == ["zero_shot", "best_run", "soup"]
    scores, best = cast("Mapping[str, float]", facts["score"]["validation"]), str(facts["score"]["best"])
    assert tuple(scores) == NAMES
    assert best == next(name for name in NAMES if scores[name] == max(scores.values()))
    # What is scored in a step of its own is what the validation finds of the rows.
    assert read_validation(context.run)["best_run"] == pytest.approx(scores[best])
    assert all(torch.equal(tensor, contributed[best][name]) for name, tensor in entries[1].weights.items())
    mean = merge("uniform", contributed)
    assert all(torch.equal(tensor, mean[name]) for name, tensor in entries[2].weights.items())
    assert not any(torch.equal(mean["conv1.weight"], own["conv1.weight"]) for own in contributed.values())


def test_runs_that_draw_nothing_differ_in_their_order_of_batches_and_the_first_is_erm(done: Runs) -> None:
    own = done("soup", "--soup.runs=2", "--soup.draw.lr=[]", "--soup.draw.weight_decay=[]", "--merge.method=uniform")
    context = own.context()
    first, second = (context.step(name).history().last[name] for name in NAMES[:2])
    assert not torch.equal(first["conv1.weight"], second["conv1.weight"])
    pooled = done("erm").context().step("train").history().last["pooled"]
    assert all(torch.equal(tensor, pooled[name]) for name, tensor in first.items())


@pytest.mark.parametrize("accept", ["gt", "ge"])
def test_a_greedy_soup_is_no_worse_on_validation_than_its_best_run(done: Runs, accept: str) -> None:
    own = done("soup", *OWN, "--merge.method=greedy_soup", f"--merge.options.accept={accept}")
    validation = read_validation(own.run)
    assert validation["soup"] >= validation["best_run"]


def test_soups_share_the_runs_that_they_have_in_common(done: Runs) -> None:
    own = done("soup", *OWN, "--merge.method=uniform")
    before = {path.name: path.stat().st_ino for path in own.run.path.glob("run-*/history/*")}
    settings = replace(cast("SoupSettings", own.recipe.settings), runs=4)
    recipe = replace(own.recipe, merge=MergeConfig(method="ties"), settings=settings)
    pipeline.run(recipe, until="run-3")
    run = RunDirectory(run_directory(recipe))
    after = {path.name: path.stat().st_ino for path in run.path.glob("run-*/history/*")}
    assert {name: number for name, number in after.items() if name in before} == before
    assert len(after) == 4
    shutil.rmtree(run.path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--soup.runs=1", r"`soup\.runs`.* 2 "),
        ("--soup.draw.lr=[0.1, -1]", r"`soup\.draw\.lr\.1`.*above 0"),
        ("--soup.draw.weight_decay=0.1", r"`soup\.draw\.weight_decay`.*list"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(None, ["--algorithm=soup", setting])
