"""Runs that loggers follow: what is wrong with a logger is said while the run is as it was."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from hamdg.config.reading import read_recipe
from hamdg.config.tracking import TrackingConfig
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_validation
from hamdg.stages import pipeline, repeating
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.tracking import kind_of
from hamdg.tracking.step import TrackedStep
from hamdg.tracking.tracker import StepTracker, tracked
from tests.stages.conftest import Tiny
from tests.tiny import Tower

WRONG: tuple[tuple[list[str], dict[str, int]], ...] = (
    (["lightning.pytorch.loggers.Nothing"], {}),
    (["csv"], {"csv.colour": 1}),
)


@pytest.mark.parametrize(("names", "options"), WRONG)
def test_a_logger_that_cannot_be_made_is_refused_before_anything_is_written_or_deleted(
    tiny: Tiny, names: list[str], options: dict[str, int]
) -> None:
    recipe = tiny(f"--tracking.loggers={names}", f"--tracking.options={options}")
    run = run_directory(recipe)
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"`tracking\.loggers`: the logger"):
            pipeline.dry_run(recipe, force=force)
        with pytest.raises(ConfigError, match=r"`tracking\.loggers`: the logger"):
            pipeline.run(recipe, force=force)
        assert _files(run) == (["kept.txt"] if force else [])
        run.mkdir(parents=True, exist_ok=True)
        (run / "kept.txt").touch()


KINDS = {
    "scmd": {"distill": "train"},
    "mtda": {"source": "train", "adapt": "train", "merge": "merge"},
    "dmm": {"common_start": "train", "train": "train", "merge": "merge", "synthesize": "synthesize"},
    "coral": {"train": "train", "evaluate": "evaluate"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_step_that_trains_models_is_found_as_one_whatever_its_name(name: str) -> None:
    held_out = "cartoon+sketch" if name == "mtda" else "sketch"
    algorithm = algorithm_of(read_recipe(None, [f"--algorithm={name}", f"--held_out={held_out}"]))
    assert {step: kind_of(algorithm, step) for step in KINDS[name]} == KINDS[name]


def test_a_process_that_srun_counts_is_followed_as_any_other(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    # What Lightning finds where `srun -n 2` has started two processes, which share the runs of a sweep.
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    recipe = tiny("--algorithm=erm", "--tracking.loggers=[tensorboard]")
    pipeline.run(recipe, until="train", show=False)
    assert list((run_directory(recipe) / "tensorboard" / "train").glob("events.*"))


def test_an_evaluation_and_a_merge_of_a_done_run_can_be_followed(copied: Callable[[Tower], RunDirectory]) -> None:
    run = copied("rn")
    record = read_record(run.record)
    assert repeating.reevaluate(run.path, ["--tracking.loggers=[csv]"]) == run.record
    assert [path.name for path in (run.path / "csv").iterdir()] == ["evaluate"]
    assert read_record(run.record)["rows"] == record["rows"]
    merged = repeating.remerge(run.path, ["--tracking.loggers=[csv]", "--merge.method=uniform"])
    assert {path.name for path in (merged.parent / "csv").iterdir()} == {"merge", "evaluate"}


def test_a_run_that_stops_before_the_evaluation_is_followed_to_its_validation(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[TrackedStep] = []

    def noted(config: TrackingConfig, step: TrackedStep) -> AbstractContextManager[StepTracker]:
        followed.append(step)
        return tracked(config, step)

    monkeypatch.setattr("hamdg.stages.tracking.tracked", noted)
    recipe = tiny("--tracking.loggers=[csv]", "--controls.erm=true")
    pipeline.run(recipe, until="validate", show=False)
    run = RunDirectory(run_directory(recipe))
    validations = [step for step in followed if step.name == "validate"]
    assert [(step.folder == run.path, step.is_result) for step in validations] == [(False, False), (True, True)]
    assert {step.name for step in followed} == {"train", "merge", "validate"}

    (file,) = (run.path / "csv" / "validate").rglob("metrics.csv")
    (logged,) = csv.DictReader(file.read_text().splitlines())
    assert float(logged["validation"]) == pytest.approx(list(read_validation(run).values())[-1])
    sources = [name for name in logged if name.startswith("validation/accuracy/")]
    assert sources == [f"validation/accuracy/{name}" for name in ("art_painting", "cartoon", "photo")]

    followed.clear()
    pipeline.run(recipe, show=False)
    assert [step.name for step in followed] == ["evaluate", "evaluate"]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))
