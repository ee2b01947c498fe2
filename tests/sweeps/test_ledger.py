"""The ledger of a sweep: lines of several processes, lines that were cut off, and what they say of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.recipe import Recipe, RuntimeConfig
from hamdg.errors import TrainingError
from hamdg.runs.directory import RunDirectory
from hamdg.sweeps.jobs import Job, is_done
from hamdg.sweeps.ledger import Ledger, last_entries, read_entries


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "sweeps" / "few-01234567.jsonl")
    made.open()
    return made


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("clean", "HAM", Recipe(runtime=RuntimeConfig(root=str(tmp_path))), "evaluate")


def test_a_line_that_was_cut_off_is_passed_over_and_stays_a_line(ledger: Ledger, job: Job) -> None:
    ledger.add(job, TrainingError("no"), 2.0)
    with ledger.path.open("a") as stream:
        stream.write('{"condition": "cl')
    ledger.add(job, "logs/a", 3.0)
    with ledger.path.open("a") as stream:
        stream.write('[1]\n{"condition": 3}\nnull\n')
    found = read_entries(ledger.path)
    assert [(entry.error, entry.run, entry.seconds) for entry in found] == [("no.", "", 2.0), ("", "logs/a", 3.0)]
    assert len(ledger.path.read_text().splitlines()) == 6
    assert read_entries(ledger.path.with_name("none.jsonl")) == []


def test_lines_of_before_there_were_times_are_read(ledger: Ledger, job: Job) -> None:
    old = {"condition": "clean", "variant": "HAM", "held_out": "sketch", "seed": 0}
    old |= {"run": "logs/a", "error": "", "traceback": "", "later": [1]}
    ledger.path.write_text(json.dumps(old) + "\n")
    assert last_entries(ledger.path)["logs/a"].variant == "HAM"


def test_a_run_that_is_found_done_keeps_its_time(ledger: Ledger, job: Job) -> None:
    directory = str(job.directory)
    ledger.add(job, directory, 30.0)
    ledger.add(job, directory)
    assert last_entries(ledger.path)[directory].seconds == 30.0
    ledger.add(job, TrainingError("no"), 1.0)
    assert last_entries(ledger.path)[directory].error == "no."


def test_ledgers_of_other_versions_of_the_file_count_those_of_other_files_do_not(ledger: Ledger, job: Job) -> None:
    other = Ledger(ledger.path.with_name("few-76543210.jsonl"))
    other.add(job, TrainingError("before"))
    Ledger(ledger.path.with_name("few-more-76543210.jsonl")).add(job, TrainingError("elsewhere"))
    assert {entry.error for entry in last_entries(ledger.path).values()} == {"before."}


@pytest.mark.parametrize(
    ("until", "name"), [("evaluate", "done"), ("validate", "validation.json"), ("train", "train.json")]
)
def test_a_run_is_done_when_what_its_sweep_asks_for_is_there(job: Job, until: str, name: str) -> None:
    asked = replace(job, until=until)
    run = RunDirectory(job.directory)
    run.path.mkdir(parents=True)
    assert not is_done(asked)
    (run.path / name).touch()
    assert is_done(asked)
