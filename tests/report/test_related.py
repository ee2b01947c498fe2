from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hamdg.report.page import write_report
from hamdg.report.related import related_runs
from hamdg.runs.record import Record, read_record


def place(root: Path, record: Record, *, page: bool = True, **changes: object) -> Path:
    """Put a run where it would lie, with another seed, held-out domain or recipe."""
    whole: dict[str, Any] = json.loads(json.dumps({**record, **changes}))
    folder = root.joinpath(*(str(whole[name]) for name in ("benchmark", "held_out", "algorithm")))
    run = folder / f"seed{whole['seed']}-{len(list(root.rglob('record.json'))):08}"
    run.mkdir(parents=True)
    (run / "record.json").write_text(json.dumps(whole))
    if page:
        (run / "report.html").write_text("<html></html>")
    return run


def test_controls_seeds_and_domains_are_linked_by_relative_paths(tmp_path: Path, ham: Record, erm: Record) -> None:
    control = place(tmp_path, erm)
    run = place(tmp_path, ham, control_runs=[f"erm/{control.name}"])
    second = place(tmp_path, ham, seed=2)
    photo = place(tmp_path, ham, held_out="photo", targets=["photo"], page=False)
    place(tmp_path, ham, seed=2, held_out="photo")  # neither this seed nor this domain
    other = json.loads(json.dumps(ham["config"]))
    other["train"]["steps"] += 1
    place(tmp_path, ham, seed=3, config=other)
    found = related_runs(run, read_record(run))
    assert [(one.relation, one.seed, one.held_out) for one in found] == [
        ("control", ham["seed"], "sketch"),
        ("seed", 2, "sketch"),
        ("domain", ham["seed"], "photo"),
    ]
    assert found[0].address == f"../../erm/{control.name}/report.html"
    assert (run / found[0].address).samefile(control / "report.html")
    assert (run / found[1].address).samefile(second / "report.html")
    assert found[2].address == ""
    html = write_report(run).read_text()
    assert f'<a href="../{second.name}/report.html">HAM (reconstruction)</a>' in html
    # A page that comes later is found when this one is written anew.
    (photo / "report.html").write_text("")
    assert f'href="../../../photo/ham/{photo.name}/report.html"' in write_report(run).read_text()


def test_what_does_not_define_an_experiment_makes_no_other_one(tmp_path: Path, ham: Record) -> None:
    run = place(tmp_path, ham)
    config = json.loads(json.dumps(ham["config"]))
    config |= {"runtime": {"threads": 9}, "label": "again", "seed": 1, "newer": {"key": 1}}
    place(tmp_path, ham, seed=1, config=config)
    assert [one.relation for one in related_runs(run, read_record(run))] == ["seed"]


def test_a_run_elsewhere_has_no_relatives_and_damaged_ones_are_left_out(tmp_path: Path, ham: Record) -> None:
    run = place(tmp_path / "root", ham)
    damaged = place(tmp_path / "root", ham, seed=5)
    (damaged / "record.json").write_text("{")
    empty = place(tmp_path / "root", ham, seed=6)
    (empty / "record.json").write_text('{"rows": []}')
    assert related_runs(run, read_record(run)) == []
    place(tmp_path / "root", ham, seed=7)
    alone = tmp_path / "alone"
    run.rename(alone)
    assert related_runs(alone, read_record(alone)) == []


@pytest.mark.parametrize("name", ["../../../elsewhere", "/etc", "erm/none"])
def test_a_record_names_no_folder_outside(tmp_path: Path, ham: Record, name: str) -> None:
    run = place(tmp_path / "root", ham, control_runs=[name])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "record.json").write_text(json.dumps(ham))
    assert related_runs(run, read_record(run)) == []
