"""How far runs are, as their directories and the ledger say it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.ledger import Ledger, last_entries
from hamdg.sweeps.status import State, state_of
from hamdg.sweeps.sweep_file import read_sweep

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


@pytest.fixture
def job(sweep_file: SweepFile) -> Job:
    """Return a job whose run is done."""
    file = sweep_file(held_out=["sketch"], seeds=[0])
    made = jobs_of(read_sweep(file), file, threads=1)[0]
    made.directory.mkdir(parents=True)
    (made.directory / "record.json").write_text("{}")
    (made.directory / "done").write_text("{}")
    return made


def state(job: Job, tmp_path: Path) -> State:
    return state_of(job, last_entries(tmp_path / "ledger.jsonl"))


def test_a_done_run_without_its_record_is_not_done(job: Job, tmp_path: Path) -> None:
    assert state(job, tmp_path).kind == "done"
    (job.directory / "record.json").unlink()
    found = state(job, tmp_path)
    assert found.kind == "failed"
    assert found.reason.startswith(f"`{job.directory / 'record.json'}` is missing; restore it, or let `hamdg evaluate")


def test_a_failure_counts_if_it_is_younger_than_the_end_of_the_run(job: Job, tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.jsonl").add(job, ValueError("its record is damaged"))
    mark = job.directory / "done"
    os.utime(mark, (1.0, 1.0))
    assert state(job, tmp_path).kind == "failed"
    assert "its record is damaged" in state(job, tmp_path).reason
    os.utime(mark, (2e10, 2e10))
    assert state(job, tmp_path).kind == "done"
