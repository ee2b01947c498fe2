"""The rows of a run: which there are, what they are merged of, and what they are measured by."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, cast

import pytest
import torch

from hamdg.algorithms.base import StepResult
from hamdg.algorithms.mtda import training
from hamdg.algorithms.mtda.merging import BUFFERS, merge_targets
from hamdg.config.algorithms.mtda import MtdaSettings
from hamdg.report.table import format_text
from hamdg.runs.averages import average_error
from hamdg.runs.lines import read_lines
from hamdg.stages.context import open_context
from tests.algorithms.mtda.conftest import TARGETS, equal

if TYPE_CHECKING:
    from tests.algorithms.mtda.conftest import Finished


def test_the_rows_are_those_that_were_announced(whole: Finished) -> None:
    context = whole.context
    entries = context.algorithm.entries(context)
    keys = list(dict.fromkeys(entry.key for entry in entries))
    assert keys == list(context.algorithm.keys(context.sources)) == [row["key"] for row in whole.record["rows"]]
    assert keys[:4] == ["source_model", *(f"source/{name}" for name in TARGETS)]
    assert keys[-1] == "mtda"
    for name in ("source_model", "source/cartoon", "union_mixed", "union_apart", "starts", "ensemble", "merged"):
        assert f"reestimated/{name}" in keys
    assert {"merged_first", "merged_mean", "merged_separate", "reestimated/merged_separate"} <= set(keys)
    by_key = {entry.key: entry.weights for entry in entries}
    adapted = whole.last("adapt")
    for kind in BUFFERS[:2]:
        assert equal(by_key[f"merged_{kind}"], merge_targets(adapted, kind))
    # Their weights are the same, and so are the images that their statistics are of.
    again, own = by_key["reestimated/merged"], by_key["mtda"]
    moved = {name for name in own if not torch.equal(own[name], again[name])}
    assert moved
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
    notes = {row["key"]: row["note"] for row in whole.record["rows"]}
    assert all(("needs data" in note) == key.startswith("reestimated/") for key, note in notes.items())


def test_models_from_different_starts_are_merged_as_the_others(whole: Finished) -> None:
    settings = cast("MtdaSettings", whole.recipe.settings)
    recipe = replace(whole.recipe, settings=replace(settings, merge=replace(settings.merge, buffers="first")))
    context = open_context(recipe, whole.run)
    (found,) = (entry for entry in context.algorithm.entries(context) if entry.key == "starts")
    apart = {TARGETS[0]: whole.last("adapt")[TARGETS[0]], **whole.last("readapt")}
    assert equal(found.weights, merge_targets(apart, "first"))


def test_models_from_different_starts_are_warned_of_and_those_from_one_are_not(
    whole: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "_self_trained", lambda *_: StepResult())
    context, settings = whole.context, cast("MtdaSettings", whole.recipe.settings)
    found = training.adapt_step(settings, TARGETS).run(context)
    assert found.facts["start_distance"] == 0
    assert capsys.readouterr().err == ""
    found = training.adapt_step(settings, TARGETS[1:], training.READAPT, training.STARTS).run(context)
    assert (
        f"these models come from different starts, {found.facts['start_distance']:.2f} of their norm apart: their mean "
        "is hardly a model."
    ) in capsys.readouterr().err


def test_the_headline_is_the_harmonic_mean_on_what_no_step_saw(whole: Finished) -> None:
    record = whole.record
    assert record["average"] == "harmonic"
    # Of 42 images, a fifth is 8.4.
    assert {record["splits"][name]["validation"] for name in TARGETS} == {8}
    for row in record["rows"]:
        values = [cast("float", row["targets"][name]["accuracy_in20"]) for name in TARGETS]
        wanted = 0.0 if 0 in values else 3 / sum(1 / one for one in values)
        assert row["held_out"] == pytest.approx(wanted)
        assert row["standard_error"] == pytest.approx(average_error(values, [8, 8, 8], "harmonic"))
    shown = format_text(record)
    assert "Several held-out domains: harmonic mean." in shown
    assert "Held out: the 20 % part of the images, which no step has read." in shown
    assert f"standard error over the 20 % part of {record['n_held_out']} images" in shown
    assert "MTDA merge: the merge is the paper's" in shown
    assert all(name in shown.splitlines()[2] for name in TARGETS)
    page = (whole.run.path / "report.html").read_text()
    assert "harmonic mean over the domains" in page
    # Shares of images are drawn in per cent, on an axis that holds them.
    ends = {one["title"]: one["limits"] for one in record["steps"]["adapt"]["figures"] if one["kind"] == "curves"}
    assert ends["Pseudo-labels that the teacher is sure of"] == [0, 100]
    assert "Statistics of BatchNorm are measured anew at each point" in page


def test_lines_are_measured_with_statistics_of_their_own(whole: Finished) -> None:
    lines = read_lines(whole.run)
    assert lines is not None
    assert list(lines["lines"]) == [f"source/{name}" for name in TARGETS]
    rows = {row["key"]: row for row in whole.record["rows"]}
    for name in TARGETS:
        own = lines["lines"][f"source/{name}"]
        assert own["sketch"][0] == pytest.approx(rows[f"reestimated/source/{name}"]["targets"]["sketch"]["accuracy"])
        assert own["sketch"][-1] == pytest.approx(rows["reestimated/merged"]["targets"]["sketch"]["accuracy"])
    pairs = lines["pairs"]
    keys = [f"source/{name}" for name in TARGETS]
    # Beside them, from the first model to those from other starts.
    others = [(keys[0], f"{key}, another start") for key in keys[1:]]
    assert [(one["first"], one["last"]) for one in pairs] == [*combinations(keys, 2), *others]
    for one in pairs[3:]:
        assert one["values"]["sketch"][0] == pairs[0]["values"]["sketch"][0]
    for one in pairs[:3]:
        for end, at in ((one["first"], 0), (one["last"], -1)):
            assert {name: own[at] for name, own in one["values"].items()} == {
                name: own[0] for name, own in lines["lines"][end].items()
            }
    page = (whole.run.path / "report.html").read_text()
    assert "Along the lines between the models" in page
    assert "art_painting to sketch, another start" in page
