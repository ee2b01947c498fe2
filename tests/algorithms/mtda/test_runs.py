"""Whole runs of training-free merging for several targets: what each step reads and leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from hamdg.algorithms.mtda.merging import merge_targets
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.runs.identity import defining_part, identity
from hamdg.runs.steps import read_step_summary
from hamdg.stages.discovery import algorithm_of
from tests.algorithms.mtda.conftest import PLAIN, TARGETS, Finished, equal, recipe_of

if TYPE_CHECKING:
    from tests.algorithms.mtda.conftest import Run


def test_each_step_opens_what_it_declares_and_the_merge_opens_nothing(whole: Finished) -> None:
    steps = algorithm_of(whole.recipe).steps()
    assert [step.name for step in steps] == ["source", "adapt", "union", "starts", "readapt", "merge", "reestimate"]
    opened = {step.name: read_step_summary(whole.run.step(step.name))["opened"] for step in steps}
    assert opened == {
        "source": ["photo"],
        "adapt": list(TARGETS),
        "merge": [],
        "union": list(TARGETS),
        "starts": ["photo"],
        "readapt": list(TARGETS[1:]),
        "reestimate": list(TARGETS),
    }
    assert {step.name for step in steps if "targets" in step.reads} == {"adapt", "union", "readapt", "reestimate"}
    assert whole.record["part"] == "20%"


def test_all_models_start_from_the_source_model_and_the_merge_is_theirs(whole: Finished) -> None:
    source, adapt = whole.last("source")["source"], whole.context.step("adapt").history()
    assert tuple(adapt.last) == TARGETS
    assert all(equal(start, source) for start in adapt.start.values())
    assert all(not torch.equal(own["conv1.weight"], source["conv1.weight"]) for own in adapt.last.values())
    merged = load_tensors(whole.run.merged)
    assert equal(merged, merge_targets(adapt.last, "moments"))
    assert int(merged["bn1.num_batches_tracked"]) == sum(
        int(own["bn1.num_batches_tracked"]) for own in adapt.last.values()
    )
    assert read_metadata(whole.run.merged)["hamdg.method"] == "uniform"
    facts = read_step_summary(whole.run.step("adapt"))["facts"]
    assert facts["start_distance"] == 0
    assert cast("float", read_step_summary(whole.run.step("readapt"))["facts"]["start_distance"]) > 0.7


def test_source_batches_are_read_only_where_they_are_wanted(finished: Run) -> None:
    fed = finished(*PLAIN, "--mtda.adapt.source_batches=true")
    summary = read_step_summary(fed.run.step("adapt"))
    assert summary["opened"] == [*TARGETS[:2], "photo", "sketch"]
    assert summary["reads"] == ["sources", "targets"]
    assert summary["images_seen"] == 3 * 4 * 3 * 2
    assert not equal(load_tensors(fed.run.merged), load_tensors(finished(*PLAIN).run.merged))


def test_targets_may_have_steps_of_their_own(finished: Run) -> None:
    steps = {"art_painting": 1, "cartoon": 3, "sketch": 2}
    found = finished(*PLAIN, f"--mtda.adapt.steps={json.dumps(steps)}")
    start, adapted = found.last("source")["source"], found.last("adapt")
    counts = {
        name: int(own["bn1.num_batches_tracked"] - start["bn1.num_batches_tracked"]) for name, own in adapted.items()
    }
    assert counts == steps
    assert read_step_summary(found.run.step("adapt"))["images_seen"] == 4 * 6
    # Its rate went down to nothing earlier, so it is another model than the one of as many steps in all.
    assert not equal(adapted["sketch"], finished(*PLAIN).last("adapt")["sketch"])
    assert equal(load_tensors(found.run.merged), merge_targets(adapted, "moments"))


def test_copies_of_domains_in_another_light_are_targets(finished: Run, tmp_path: Path) -> None:
    copies = "--data.mini.copies=[photo_fog,photo_dark]"
    found = finished(*PLAIN, copies, "--held_out=photo+photo_dark+photo_fog", "--excluded=[cartoon,sketch]")
    assert found.record["targets"] == ["photo", "photo_dark", "photo_fog"]
    assert found.record["sources"] == ["art_painting"]
    # Without copies, nothing has changed.
    assert "copies" not in json.dumps(identity_values(recipe_of(tmp_path)))
    assert identity(recipe_of(tmp_path)) == identity(recipe_of(tmp_path, "--data.mini.copies=[]"))
    with pytest.raises(ConfigError, match=r"`data\.mini\.copies`: there is no `photo_rain`"):
        recipe_of(tmp_path, "--data.mini.copies=[photo_rain]")


def identity_values(recipe: Recipe) -> dict[str, object]:
    return defining_part(recipe)
