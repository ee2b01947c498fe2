"""Runs that were unpacked have records only: nothing takes a training from them, and none is mixed into them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.recipe import Recipe
from hamdg.errors import RunDirectoryError
from hamdg.report.table import format_text
from hamdg.runs.archive import unpack, write_archive
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.manifest import has_records_only
from hamdg.runs.packing import pack
from hamdg.runs.record import read_record
from hamdg.stages import pipeline, step_times
from hamdg.stages.context import open_context
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work

Own = Callable[..., Recipe]
ONLY = "was unpacked and has records only; to train it, delete that folder and repeat the command."


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Return a function that gives a tiny recipe whose network is no path of this machine."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CONF / "tiny-vit.json", "tiny.json")
    return lambda *overrides: tiny("--model.name=./tiny.json", *overrides, tower="vit")


def repack(recipe: Recipe, tmp_path: Path) -> Path:
    """Leave the records of a finished run alone, and return its directory."""
    path = run_directory(recipe)
    write_archive(tmp_path / "run.tar.xz", [pack(RunDirectory(path))])
    shutil.rmtree(tmp_path / "runs")
    unpack(tmp_path / "run.tar.xz", tmp_path / "runs")
    return path


def test_an_unpacked_run_is_done_and_its_training_is_not_shared(
    own: Own, worked: list[Work], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = own("--merge.options.keep=0.5"), own("--merge.options.keep=0.25")
    record = pipeline.run(first)
    one, two, before = repack(first, tmp_path), run_directory(second), record.read_bytes()
    count = len(worked)
    assert pipeline.run(first) == record
    said = capsys.readouterr().out
    assert f"`{one}` is done; `--force` repeats it" in said
    assert format_text(read_record(record)) in said
    assert len(worked) == count
    pipeline.dry_run(first)
    assert "nothing is left to do" in capsys.readouterr().out
    assert step_times.earlier_runs(open_context(second, RunDirectory(two))).runs == 0
    # A variant of the merge trains itself.
    pipeline.run(second)
    assert [work.step for work in worked[count:] if work.run == two] == ["train", "merge"]
    assert [work for work in worked[count:] if work.run == one] == []
    assert record.read_bytes() == before
    assert step_times.earlier_runs(open_context(first, RunDirectory(one))).runs == 1
    # From the start, it is a run as any other.
    pipeline.run(first, force=True)
    assert not has_records_only(RunDirectory(one))


def test_more_of_an_unpacked_run_is_refused(own: Own, tmp_path: Path) -> None:
    recipe = own()
    pipeline.run(recipe)
    path = repack(recipe, tmp_path)
    before = sorted(path.iterdir())
    for refused in (
        lambda: pipeline.run(recipe, until="train"),
        lambda: pipeline.run(recipe, again=True),
        lambda: pipeline.dry_run(recipe, until="merge"),
    ):
        with pytest.raises(RunDirectoryError, match=f"^{re.escape(f'`{path}` {ONLY}')}$"):
            refused()
    assert sorted(path.iterdir()) == before


def test_an_unpacked_control_is_refused_before_anything_is_trained(
    own: Own, worked: list[Work], tmp_path: Path
) -> None:
    recipe = own("--controls.erm=true")
    pipeline.run(recipe)
    (control,) = (tmp_path / "runs").glob("*/*/erm/seed*")
    repack(RunDirectory(control).recipe(), tmp_path)
    count = len(worked)
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(f'The ERM control: `{control}` {ONLY}')}"):
        pipeline.run(recipe)
    assert len(worked) == count
