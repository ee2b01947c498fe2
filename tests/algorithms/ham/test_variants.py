"""Any training part of HAM, any history and any merge go together, by configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, get_args

import pytest
import torch

from hamdg.config.algorithms.ham import HarmonizationMethod
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import HistoryKind
from hamdg.merge import merge
from hamdg.merge.registry import list_methods
from hamdg.runs.identity import identity
from hamdg.runs.steps import read_step_summary
from tests.tiny import tiny_settings

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

    Runs = Callable[..., Done]

# Enrichment, harmonization, history and merge; every kind of each is in one of them, and every merge asks for something
# else: nothing, the base, the whole model at once, validation, gradients, activations.
SAMPLE = [
    ("true_class", "none", "mean", "uniform"),
    ("off", "cosine", "ema", "ties"),
    ("max_probability", "l2", "beta", "greedy_soup"),
    ("off", "sign_consensus", "last", "fisher"),
    ("true_class", "pcgrad", "snapshots", "regmean"),
    ("max_probability", "none", "swad", "tsv"),
    ("off", "none", "best", "rhm"),
    ("random", "project", "linear", "rhm"),
    ("off", "project", "validated", "uniform"),
]
ENRICHMENTS = ("off", "true_class", "max_probability", "random")
# Of one trajectory, or of the target's images.
NEVER = {name for name, info in list_methods().items() if info.trajectory or info.target}


def arguments(enrichment: str, harmonization: str, history: str, method: str) -> list[str]:
    own = ["--ham.enrichment.enabled=false"] if enrichment == "off" else [f"--ham.enrichment.confidence={enrichment}"]
    own += [f"--ham.harmonization.method={harmonization}", f"--history.kind={history}", "--history.n_s=1"]
    return [*own, f"--merge.method={method}", "--merge.examples=2"]


def test_the_sample_has_every_kind() -> None:
    columns = [set(column) for column in zip(*SAMPLE, strict=True)]
    assert columns[0] == set(ENRICHMENTS)
    assert columns[1] == set(get_args(HarmonizationMethod))
    assert columns[2] == set(get_args(HistoryKind))


@pytest.mark.parametrize(("enrichment", "harmonization", "history", "method"), SAMPLE)
def test_a_variant_is_a_recipe_away(done: Runs, enrichment: str, harmonization: str, history: str, method: str) -> None:
    context = done("ham", *arguments(enrichment, harmonization, history, method)).context()
    summary = read_step_summary(context.run.step("train"))
    assert ("selection" in summary["facts"]) == (enrichment != "off")
    found, merged = context.step("train").history(), context.step("merge").load("merged")
    assert context.step("train").index.is_file()
    result = context.algorithm.entries(context)[-1]
    assert result.key == "ham"
    assert all(torch.equal(tensor, merged[name]) for name, tensor in result.weights.items())
    base = context.base()
    assert any(not torch.equal(tensor, base[name]) for name, tensor in merged.items())
    if method == "uniform":
        mean = merge("uniform", found.history)
        assert all(torch.equal(tensor, mean[name]) for name, tensor in merged.items())


def test_simple_averages_have_the_statistics_that_the_merge_asks_for(done: Runs) -> None:
    network = ("--model.name=" + str(tiny_settings("rn")["model.name"]), "--model.statistics=live")
    merged = ("--merge.method=uniform", "--merge.buffers=mean", "--ham.enrichment.enabled=false")
    context = done("ham", *network, *merged).context()
    rows = {entry.key: entry.weights for entry in context.algorithm.entries(context)}
    assert any(name.endswith("running_var") for name in rows["ham"])
    assert all(torch.equal(tensor, rows["ham"][name]) for name, tensor in rows["uniform_history"].items())
    last = merge("uniform", context.step("train").history().last, buffers="mean")
    assert all(torch.equal(tensor, last[name]) for name, tensor in rows["uniform_last"].items())


def test_all_others_can_be_read_too_and_are_runs_of_their_own() -> None:
    methods = sorted(set(list_methods()) - NEVER)
    kinds = list(product(ENRICHMENTS, get_args(HarmonizationMethod), get_args(HistoryKind)))
    # Each kind of training and history with one of the methods, and each method with one of them.
    chosen = [(*kinds[number % len(kinds)], methods[number % len(methods)]) for number in range(len(kinds))]
    recipes = [read_recipe(None, ["--algorithm=ham", *arguments(*one)]) for one in chosen]
    assert {recipe.merge.method for recipe in recipes} == set(methods)
    assert len({identity(recipe) for recipe in recipes}) == len(recipes) == 216
