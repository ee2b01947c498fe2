"""The row of all source models at once, what the record says of its cost, and joint training mixed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import torch

from hamdg.algorithms.experts import Experts
from hamdg.config.reading import read_recipe
from hamdg.merge import MergeSettings, merge_with
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import defining_part, run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context
from hamdg.stages.sharing import step_identities
from tests.stages.conftest import tiny_arguments
from tests.tiny import Tower


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


def _run(root: Path, *own: str, tower: Tower = "vit") -> Context:
    recipe = read_recipe(None, [*tiny_arguments(root, tower), "--runtime.quiet=true", *own])
    pipeline.run(recipe)
    return open_context(recipe, RunDirectory(run_directory(recipe)))


def test_joint_training_is_mixed_in_and_taken_from_its_own_run(tmp_path: Path) -> None:
    rate = "--controls.erm_lr=0.003"
    alone = _run(tmp_path / "alone", "--algorithm=experts", "--controls.erm=false", rate, "--experts.joint_share=0.25")
    found = {one.key: one for one in alone.algorithm.entries(alone)}
    assert list(found)[-3:] == ["joint", "merged", "experts"]
    assert found["experts"].label == "25% ERM + SMA, 75% experts, merged by rhm"
    for name, tensor in found["experts"].weights.items():
        expected = 0.75 * found["merged"].weights[name].double() + 0.25 * found["joint"].weights[name].double()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)

    # A run of joint training, and one of experts, are trained once: this one takes both, and comes to the same.
    root = tmp_path / "shared"
    joint = _run(root, "--algorithm=erm", "--train.lr=0.003")
    plain = _run(root, "--algorithm=experts", "--controls.erm=false", rate)
    both = _run(root, "--algorithm=experts", "--controls.erm=false", rate, "--experts.joint_share=0.25")
    pairs = [(joint.step("train"), both.step("joint")), (plain.step("train"), both.step("train"))]
    for there, here in pairs:
        assert here.read()["identity"] == there.read()["identity"]
        assert {name.removeprefix(f"{here.name}/") for name in here.read()["wrote"]} == {
            name.removeprefix(f"{there.name}/") for name in there.read()["wrote"]
        }
        # One file with two names.
        assert (here.folder / "index.json").stat().st_ino == (there.folder / "index.json").stat().st_ino
    taken = {one.key: one for one in both.algorithm.entries(both)}
    for key in ("joint", "merged", "experts"):
        assert all(torch.equal(tensor, found[key].weights[name]) for name, tensor in taken[key].weights.items())
    assert read_record(both.run.record)["images_seen"] == read_record(alone.run.record)["images_seen"]


def test_the_mix_has_the_statistics_that_the_recipe_s_merge_asks_for(tmp_path: Path) -> None:
    live = ("--model.statistics=live", "--merge.buffers=mean", "--merge.method=uniform")
    context = _run(
        tmp_path, "--algorithm=experts", "--controls.erm=false", "--experts.joint_share=0.25", *live, tower="rn"
    )
    found = {one.key: one.weights for one in context.algorithm.entries(context)}
    names = [name for name in found["experts"] if name.endswith("running_var")]
    # Plain means of variances: pooled ones would have the distances of the means in them, too.
    options, models, base = {"alpha": 0.25}, {"joint": found["joint"]}, found["merged"]
    wanted = merge_with("wise_ft", models, base, options, MergeSettings(buffers="mean"))
    pooled = merge_with("wise_ft", models, base, options)
    assert all(torch.equal(found["experts"][name], wanted[name]) for name in names)
    assert any(not torch.equal(pooled[name], wanted[name]) for name in names)
    provenance = cast("dict[str, str]", context.step("mix").read()["facts"]["provenance"])
    assert json.loads(provenance["hamdg.settings"])["buffers"] == "mean"


def test_what_follows_joint_training_follows_from_all_before_it() -> None:
    def identities(*own: str) -> dict[str, str]:
        given = ["--algorithm=experts", "--experts.joint_share=0.5", "--controls.erm_lr=0.001", *own]
        recipe = read_recipe(None, given)
        return step_identities(recipe, Experts(recipe).steps(), ["art", "photo"], ["sketch"])

    first, faster, cut = identities(), identities("--train.lr=0.01"), identities("--merge.method=ties")
    assert first["joint"] == faster["joint"] == cut["joint"]
    assert len({first["mix"], faster["mix"], cut["mix"], identities("--experts.joint_share=0.4")["mix"]}) == 4
