"""`hamdg records`: the runs of a sweep, packed and unpacked elsewhere, make the same tables, page and figure."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hamdg.cli import main
from hamdg.stages import pipeline
from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.plan import todos
from hamdg.sweeps.status import states_of
from hamdg.sweeps.sweep_file import read_sweep
from tests.made_up import write_done

Said = pytest.CaptureFixture[str]
_SWEEP: dict[str, object] = {
    "held_out": ["sketch"],
    "seeds": [0],
    "controls": False,
    "reports": False,
    "leave_out": "pairs",
    "out": "results.md",
    "baseline": "ERM",
    "figure": {"out": "figure.svg", "dials": {"a dial": {"clean": "0", "noisy": "0.2"}}, "methods": ["HAM"]},
    "conditions": {"clean": {}, "noisy": {"data.mini.label_noise": 0.2}},
    "variants": {"ERM": {"recipe": "erm.yaml"}, "HAM": {"recipe": "ham.yaml"}},
}


def write_sweep(**changes: object) -> Path:
    """Write a sweep file and its recipes into the current folder."""
    Path("ham.yaml").write_text("merge: {method: uniform}\ncontrols: {erm: false}\n")
    Path("erm.yaml").write_text("algorithm: erm\n")
    path = Path("table.yaml")
    path.write_text(yaml.safe_dump(_SWEEP | changes, sort_keys=False))
    return path


def jobs_in(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path, threads=0)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a sweep file whose runs are done, in the current folder; none can be made."""

    def run(*_: object, **__: object) -> Path:
        raise AssertionError("a run was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "run", run)
    path = write_sweep()
    for number, job in enumerate(jobs_in(path)):
        write_done(job.recipe, 0.5 + number / 200, 10.0 + number)
    return path


def look(path: Path, capsys: Said) -> tuple[str, ...]:
    """Return all that commands print and write about a sweep."""
    capsys.readouterr()
    said = []
    for command in (["sweep", str(path)], ["table", str(path), "--costs"], ["report", str(path), "--out", "page.html"]):
        assert main(command) == 0, capsys.readouterr().err
        said.append(capsys.readouterr().out)
    files = [Path(name) for name in ("results.md", "figure.svg", "page.html")]
    said += [file.read_text() for file in files]
    for file in files:
        file.unlink()
    return tuple(said)


def test_a_sweep_looks_the_same_from_its_packed_records(
    sweep: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(sweep, capsys)
    assert "HAM" in before[0]
    assert main(["records", "pack", str(sweep), "--out", "records/table.tar.xz"]) == 0
    said = capsys.readouterr()
    # With a second domain held out, too.
    count = len(jobs_in(sweep))
    assert any(job.is_pair for job in jobs_in(sweep))
    assert said.out.startswith(f"packed {count} runs ({count} of mini) into records/table.tar.xz (")
    assert said.err == ""
    shutil.rmtree("lightning_logs")
    assert main(["records", "unpack", "records/table.tar.xz"]) == 0
    assert capsys.readouterr().out == f"unpacked {count} runs ({count} of mini) below lightning_logs\n"
    # On whatever machine.
    monkeypatch.setattr("hamdg.runs.manifest.usable_cores", lambda: 4_096)
    assert look(sweep, capsys) == before
    assert main(["records", "pack", "lightning_logs", "--out", "again.tar.xz"]) == 0
    assert Path("again.tar.xz").read_bytes() == Path("records/table.tar.xz").read_bytes()
    capsys.readouterr()
    assert main(["records", "unpack", "records/table.tar.xz"]) == 0
    there = f"{count} runs ({count} of mini) were there already and stay as they are"
    assert capsys.readouterr().out == f"unpacked 0 runs below lightning_logs; {there}\n"


def test_folders_are_packed_as_the_sweep_is_and_counted_as_json(sweep: Path, capsys: Said) -> None:
    assert main(["records", "pack", str(sweep), "--out", "a.tar.xz"]) == 0
    capsys.readouterr()
    one = str(jobs_in(sweep)[0].directory)
    assert main(["records", "pack", one, "lightning_logs", str(sweep), "--out", "b.tar.xz", "--json"]) == 0
    assert Path("a.tar.xz").read_bytes() == Path("b.tar.xz").read_bytes()
    found = json.loads(capsys.readouterr().out)
    count = len(jobs_in(sweep))
    assert found == {
        "file": "b.tar.xz",
        "bytes": Path("b.tar.xz").stat().st_size,
        "runs": {"mini": count},
        "left_out": [],
    }
    assert main(["records", "unpack", "a.tar.xz", "b.tar.xz", "--root", "new", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"root": "new", "runs": {"mini": count}, "there": {"mini": count}, "begun": {}}


def test_runs_that_are_begun_are_not_said_to_be_there(sweep: Path, capsys: Said) -> None:
    assert main(["records", "pack", str(sweep), "--out", "a.tar.xz"]) == 0
    one, two, *_ = (job.directory for job in jobs_in(sweep))
    (one / "done").unlink()
    capsys.readouterr()
    assert main(["records", "unpack", "a.tar.xz", "--json"]) == 0
    said = capsys.readouterr()
    what = "1 run (1 of mini) is begun and not finished; delete its folder to unpack it"
    assert said.err == f"hamdg: warning: {what}\n"
    found = json.loads(said.out)
    assert (found["runs"], found["there"]) == ({}, {"mini": len(jobs_in(sweep)) - 1})
    assert found["begun"] == {"mini": 1}
    (two / "done").unlink()
    assert main(["records", "unpack", "a.tar.xz"]) == 0
    what = "2 runs (2 of mini) are begun and not finished; delete their folders to unpack them"
    assert capsys.readouterr().err == f"hamdg: warning: {what}\n"


def test_a_run_with_another_record_elsewhere_is_said(sweep: Path, capsys: Said) -> None:
    shutil.copytree("lightning_logs", "copy")
    first = jobs_in(sweep)[0].directory
    other = Path("copy") / first.relative_to("lightning_logs")
    record = json.loads((other / "record.json").read_text())
    (other / "record.json").write_text(json.dumps(record | {"held_out_accuracy": 0.25}))
    (other / "done").write_bytes(b"")
    assert main(["records", "pack", str(sweep), "copy", "--out", "a.tar.xz"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"packed {len(jobs_in(sweep))} runs")
    (warning,) = said.err.splitlines()
    assert "Left out: `" in warning
    assert warning.endswith("which is packed, but has another record.")
    assert {str(first), str(other)} == {warning.split("`")[1], warning.split("`")[3]}


def test_home_folders_are_written_out(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    assert main(["records", "pack", str(sweep), "--out", "~/a.tar.xz"]) == 0
    assert main(["records", "unpack", str(home / "a.tar.xz"), "--root=~/logs"]) == 0
    assert len(list(home.glob("logs/*/*/*/*/done"))) == len(jobs_in(sweep))
    assert not Path("~").exists()


def test_runs_that_are_not_finished_are_left_out_and_said(sweep: Path, capsys: Said) -> None:
    one, two, three, *_ = (job.directory for job in jobs_in(sweep) if not job.is_pair)
    (one / "record.json").unlink()
    (two / "done").unlink()
    (three / "record.json").write_text("{")
    assert main(["records", "pack", str(sweep), "--out", "a.tar.xz"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"packed {len(jobs_in(sweep)) - 3} runs")
    warnings = said.err.splitlines()
    assert len(warnings) == 3
    assert f"Left out: `{two}` is not finished; repeat its command." in warnings[0]
    assert f"Left out: `{three / 'record.json'}` is not a readable record" in warnings[1]
    assert "Left out: 1 run without a record." in warnings[2]


def test_what_cannot_be_packed_or_unpacked_is_said_in_a_line(sweep: Path, capsys: Said) -> None:
    Path("file").write_text("no archive")
    (one, *_) = (job.directory for job in jobs_in(sweep))
    (one / "done").unlink()
    for arguments, message in (
        (["pack", str(sweep), "--out", "a.zip"], "`--out` is `a.zip`, which should end in `.tar.xz`."),
        (["pack", str(sweep), "--out", "file/a.tar.xz"], "Cannot write `file/a.tar.xz`: "),
        (["pack", str(one), "--out", "a.tar.xz"], f"No run can be packed: `{one}` is not finished; "),
        (["unpack", "file"], "`file` is not a whole .tar.xz archive ("),
        (["unpack", "a.tar.xz"], "There is no file `a.tar.xz`; "),
    ):
        assert main(["records", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"hamdg: error: {message}")
    assert main(["records", "pack", str(sweep), "--out", "b.tar.xz"]) == 0
    capsys.readouterr()
    assert main(["records", "unpack", "b.tar.xz", "--root", "file/logs"]) == 2
    assert capsys.readouterr().err.startswith("hamdg: error: Cannot unpack below `file/logs`: ")


def repack(sweep: Path) -> None:
    """Leave the records of a sweep's runs alone."""
    assert main(["records", "pack", str(sweep), "--out", "a.tar.xz"]) == 0
    shutil.rmtree("lightning_logs")
    assert main(["records", "unpack", "a.tar.xz"]) == 0


def test_what_an_unpacked_run_cannot_do_is_said(sweep: Path, capsys: Said) -> None:
    repack(sweep)
    job = next(job for job in jobs_in(sweep) if job.variant == "HAM")
    run = str(job.directory)
    command = f"made-up/ham --held_out={job.recipe.held_out} --seed={job.recipe.seed}"
    for arguments in (["merge", run, "--merge.method=ties"], ["merge", run, "--search"], ["evaluate", run]):
        capsys.readouterr()
        assert main(arguments) == 2
        assert capsys.readouterr().err == (
            f"hamdg: error: `{run}` was unpacked and has records only; to train it, delete that folder and repeat "
            f"`hamdg run {command}`.\n"
        )


def test_rows_that_the_records_lack_need_the_runs(sweep: Path, capsys: Said) -> None:
    for job in jobs_in(sweep):
        shutil.rmtree(job.directory)
        recipe = replace(job.recipe, evaluate=replace(job.recipe.evaluate, rows=[job.recipe.algorithm]))
        write_done(recipe, 0.5)
    repack(sweep)
    capsys.readouterr()
    assert main(["sweep", str(sweep)]) == 2
    first = jobs_in(sweep)[0].directory
    assert capsys.readouterr().err.startswith(
        f"hamdg: error: `{first}` was unpacked and has records only; to train it, delete that folder and repeat the "
    )


def test_no_training_is_planned_to_be_taken_from_an_unpacked_run(sweep: Path) -> None:
    repack(sweep)
    variants = {
        "ERM": {"recipe": "erm.yaml"},
        "HAM": {"recipe": "ham.yaml"},
        "ties": {"recipe": "ham.yaml", "set": {"merge.method": "ties"}},
        "dare": {"recipe": "ham.yaml", "set": {"merge.method": "dare"}},
    }
    path = write_sweep(variants=variants, leave_out="one")
    jobs = [job for job in jobs_in(path) if job.condition == "clean"]
    plan = {todo.state.job.variant: todo for todo in todos(states_of(read_sweep(path), path, jobs))}
    assert [name for name, todo in plan.items() if todo.state.kind == "done"] == ["ERM", "HAM"]
    assert plan["ties"].trains
    assert plan["dare"].trained_by == str(plan["ties"].directory)
