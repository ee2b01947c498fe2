"""Recipes whose merge is a search: they choose as `hamdg merge RUN --search` does, and say what leaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from hamdg.errors import ConfigError
from hamdg.merge.candidates import Candidate
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.merge_figures import MergeFacts
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from hamdg.stages.search import search_merges
from tests.stages.conftest import EXPERTS

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


SEARCH = ("--merge.method=search", "--merge.options.budget=5", "--merge.options.methods=wise_ft,rhm")


def test_a_recipe_searches_as_the_command_does_and_keeps_what_it_tried(
    trained_experts: Callable[..., Path], tiny: Tiny
) -> None:
    commanded = search_merges(trained_experts(), 5, ["wise_ft", "rhm"]).found
    recipe = tiny(*EXPERTS, *SEARCH, tower="vit")
    pipeline.run(recipe, until="merge", show=False)
    run = RunDirectory(run_directory(recipe))
    summary = read_step_summary(run.step("merge"))
    merged = cast("MergeFacts", summary["facts"]["merge"])
    facts = merged["search"]
    chosen = commanded.chosen.candidate
    assert (facts["by"], facts["chosen"], facts["average"], facts["leaking"]) == (
        *("leave_one_out", str(chosen), "uniform"),
        False,
    )
    assert [(one["name"], one["score"]) for one in facts["candidates"]] == [
        (str(one.candidate), one.score("leave_one_out")) for one in commanded.ranked("leave_one_out")
    ]
    (figure,) = [one for one in summary["figures"] if one["title"] == "Search over merges"]
    assert figure["kind"] == "table"
    assert sum(name.endswith(" (chosen)") for name, *_ in figure["rows"]) == 1
    assert summary["opened"] == ["art_painting", "cartoon", "photo"]
    # The merge is the one that the chosen method makes.
    plain = tiny(*EXPERTS, f"--merge.method={chosen.method}", *(_given(chosen)), tower="vit")
    pipeline.run(plain, until="merge", show=False)
    wanted = load_tensors(run_directory(plain) / "merge" / "merged.safetensors")
    found = load_tensors(run.path / "merge" / "merged.safetensors")
    assert all(tensor.equal(wanted[name]) for name, tensor in found.items())


def _given(candidate: Candidate) -> list[str]:
    return [f"--merge.options.{name}={value}" for name, value in candidate.options.items()]


def test_a_recipe_says_that_sources_show_the_same_drawings(tiny: Tiny) -> None:
    own = ("--data.mini.copies=[photo_dark]", "--excluded=[cartoon,art_painting]", "--merge.options.by=in_domain")
    recipe = tiny(*EXPERTS, *SEARCH, *own, "--merge.options.budget=1", tower="vit")
    pipeline.run(recipe, until="merge", show=False)
    summary = read_step_summary(RunDirectory(run_directory(recipe)).step("merge"))
    assert cast("MergeFacts", summary["facts"]["merge"])["search"]["leaking"]
    (figure,) = [one for one in summary["figures"] if one["title"] == "Search over merges"]
    assert "LEAKING: the same drawings, in another light, are in photo and photo_dark, so that" in figure["note"]
    assert "each other's domains" not in figure["note"]


@pytest.mark.parametrize(("text_head", "noted"), [("prompts", False), ("source_means", True)])
def test_a_recipe_says_what_models_and_class_features_have_seen(tiny: Tiny, text_head: str, noted: bool) -> None:
    own = ("--algorithm=ham", f"--model.text_head={text_head}")
    recipe = tiny(*own, *SEARCH, "--merge.options.budget=1", tower="vit")
    pipeline.run(recipe, until="merge", show=False)
    summary = read_step_summary(RunDirectory(run_directory(recipe)).step("merge"))
    assert cast("MergeFacts", summary["facts"]["merge"])["search"]["leaking"]
    (figure,) = [one for one in summary["figures"] if one["title"] == "Search over merges"]
    assert "LEAKING" in figure["note"]
    assert ("learned from the labels of all sources" in figure["note"]) == noted


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--merge.options.methods=tie",),
            r"^`merge\.options\.methods`: there is no merge method `tie`; did you mean `ties`\?$",
        ),
        (
            ("--merge.options.budget=0",),
            r"^Expected `merge\.options\.budget` to be an integer of at least 1, but got `0`",
        ),
        (
            ("--algorithm=soup",),
            r"^`merge\.method` is `search`, which .* the algorithm `soup` are not one for each source",
        ),
        (
            ("--excluded=[photo,cartoon]",),
            r"that it leaves out, but there is one source domain; choose another method\.$",
        ),
    ],
)
def test_recipes_that_cannot_search_are_refused_before_training(
    tiny: Tiny, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline.run(tiny(*EXPERTS, "--merge.method=search", *overrides, tower="vit"), until="merge", show=False)
