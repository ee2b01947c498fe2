"""What is repeated, and what is not: steps on their own, stopped adaptations, evaluations with another mean."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from hamdg import cli
from hamdg.algorithms.base import Step
from hamdg.algorithms.mtda.merging import merge_targets
from hamdg.config.algorithms.mtda import MtdaSettings
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline, running
from hamdg.stages.context import Context, open_context
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.sharing import step_identities
from hamdg.stages.step_files import StepFiles
from tests.algorithms.mtda.conftest import PLAIN, TARGETS, equal, recipe_of
from tests.algorithms.test_sections import left_by, undeclared
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    from tests.algorithms.mtda.conftest import Run


def test_options_of_the_merge_and_comparisons_retrain_nothing(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(*PLAIN)
    done, work = [], running._work

    def watched(own: Context, step: Step) -> None:
        done.append(step.name)
        work(own, step)

    monkeypatch.setattr(running, "_work", watched)
    other = finished(*PLAIN, "--mtda.merge.buffers=mean")
    assert done == ["merge"]
    assert [row["key"] for row in other.record["rows"]].count("merged_moments") == 1
    assert equal(load_tensors(other.run.merged), merge_targets(first.last("adapt"), "mean"))


def test_another_merge_trains_no_comparison(tmp_path: Path) -> None:
    def identities(*own: str) -> dict[str, str]:
        recipe = recipe_of(tmp_path, *own)
        return step_identities(recipe, algorithm_of(recipe).steps(), ["photo"], TARGETS)

    first, other = identities(), identities("--mtda.merge.buffers=mean")
    assert [name for name in first if first[name] != other[name]] == ["merge", "reestimate"]


def test_a_step_depends_on_what_it_declares_alone(finished: Run, tmp_path: Path) -> None:
    own = finished(*PLAIN)
    for number, step in enumerate(algorithm_of(own.recipe).steps()):
        other = undeclared(own.recipe, step)
        settings = cast("MtdaSettings", own.recipe.settings)
        # Which steps there are must stay the same.
        changed = replace(
            cast("MtdaSettings", other.settings), compare=settings.compare, reestimate=settings.reestimate
        )
        recipe, copy = replace(other, settings=changed), tmp_path / step.name / "run"
        before, summary = left_by(StepFiles(own.run.path, step.name))
        run = RunDirectory(shutil.copytree(own.run.path, copy))
        run.step(step.name).reset()
        context = open_context(recipe, run)
        again = context.algorithm.steps()[number]
        running._work(context.narrowed(again, summary["identity"]), again)
        after, repeated = left_by(StepFiles(run.path, step.name))
        assert [file for file in before if after[file] != before[file]] == []
        assert repeated | {"seconds": 0} == summary | {"seconds": 0}


def test_an_adaptation_that_is_stopped_goes_on_to_the_same_bytes(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = finished(*PLAIN)
    recipe = recipe_of(tmp_path, *PLAIN, "--runtime.checkpoint_every=1")
    pipeline.run(recipe, until="source")

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe)

    stopped(run, monkeypatch, step=2)
    found = RunDirectory(run_directory(recipe))
    assert found.step("adapt").resume.exists()
    pipeline.run(recipe)
    assert found.merged.read_bytes() == wanted.run.merged.read_bytes()
    for name in TARGETS:
        file = f"adapt/last/{name}.safetensors"
        assert (found.path / file).read_bytes() == (wanted.run.path / file).read_bytes()


def test_the_evaluation_can_be_repeated_with_another_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(tmp_path, *PLAIN)
    pipeline.run(recipe)
    run = run_directory(recipe)
    assert "harmonic" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), "--evaluate.average=arithmetic"]) == 0
    record = read_record(run)
    assert record["average"] == "arithmetic"
    values = [cast("float", record["rows"][-1]["targets"][name]["accuracy_in20"]) for name in TARGETS]
    assert record["held_out_accuracy"] == pytest.approx(sum(values) / 3)
    assert "harmonic" not in capsys.readouterr().out
