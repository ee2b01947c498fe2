"""The row of all source models at once, and what the record says of its cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hamdg.config.reading import read_recipe
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import defining_part, run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from tests.stages.conftest import tiny_arguments


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_the_ensemble_is_a_row_that_costs_a_pass_for_each_source(tmp_path: Path, mean: str) -> None:
    own = ["--algorithm=experts", "--controls.erm=false", "--runtime.quiet=true", f"--experts.ensemble={mean}"]
    recipe = read_recipe(None, [*tiny_arguments(tmp_path, "vit"), *own])
    pipeline.run(recipe)
    run = RunDirectory(run_directory(recipe))
    rows = {row["key"]: row for row in read_record(run.record)["rows"]}
    assert list(rows)[-2:] == ["ensemble", "experts"]
    assert rows["ensemble"]["label"] == f"ensemble, {mean}"
    assert {key: row["passes"] for key, row in rows.items() if "passes" in row} == {"ensemble": 3}
    # The same from the files: every source model alone, then the mean.
    context = open_context(recipe, run)
    entry = next(one for one in context.algorithm.entries(context) if one.key == "ensemble")
    images, network = torch.randn(2, 3, 32, 32), context.network().eval()
    scores = []
    for weights in context.step("train").history().last.values():
        network.load(weights)
        scores.append(network(images))
    wanted = torch.stack(scores).mean(0) if mean == "logits" else torch.stack(scores).softmax(-1).mean(0).log()
    with torch.no_grad():
        torch.testing.assert_close(entry.network(images), wanted)


def test_runs_from_before_there_was_an_ensemble_are_the_runs_without() -> None:
    assert "experts" not in defining_part(read_recipe(None, ["--algorithm=experts"]))
