"""What a run prints, and what it leaves behind in the process."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.tools import smoke

if TYPE_CHECKING:
    from tests.stages.conftest import Commander

SPEAKING = re.compile(r"^(==>|    |  step )", re.MULTILINE)


def test_a_run_tells_its_steps_and_where_its_files_are(command: Commander, capsys: pytest.CaptureFixture[str]) -> None:
    own = command("own", "--runtime.report=true", tower="vit")
    assert cli.main(own.argv) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "\x1b" not in said.out
    stages = re.findall(r"^==> (\w+)", said.out, re.MULTILINE)
    assert stages == ["HAM", "train", "merge", "evaluate"]
    assert [int(step) for step in re.findall(r"^  step +(\d+)/4 \| loss ", said.out, re.MULTILINE)] == [1, 2, 3, 4]
    assert f"record  {own.directory.record}\n" in said.out
    assert said.out.endswith(f"report  {own.directory.report}\n")


def test_a_quiet_run_prints_its_table_alone(command: Commander, capsys: pytest.CaptureFixture[str]) -> None:
    own = command("own", tower="vit")
    assert cli.main([*own.argv, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert not SPEAKING.search(said.out)
    assert "HAM (reconstruction)" in said.out
    assert said.out.endswith(f"record  {own.directory.record}\n")


def test_a_run_is_done_although_nothing_of_it_can_be_printed(
    command: Commander, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command("own", tower="vit")
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert cli.main(own.argv) == 1
    assert own.directory.is_done
    assert capsys.readouterr().err == (
        "hamdg: error: The output cannot be written: no space left on device; the run is done, and "
        f"`{own.directory.record}` has its result.\n"
    )
    assert cli.main([*own.argv, "--quiet"]) == 0
    assert "HAM (reconstruction)" in capsys.readouterr().out


def open_files_and_threads() -> tuple[int, int]:
    # A Trainer and its module refer to each other: the mapped images are closed when the cycle is collected.
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_a_run_leaves_no_open_file_and_no_thread(command: Commander) -> None:
    warm, own = command("warm", tower="vit"), command("own", tower="vit")
    assert cli.main([*warm.argv, "--quiet"]) == 0
    before = open_files_and_threads()
    assert cli.main([*own.argv, "--quiet"]) == 0
    assert open_files_and_threads() == before


def test_smoke_runs_every_recipe_but_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = Path(__file__).parent.parent / "conf" / "tiny-vit.json"
    model = f"model: {{name: {conf}, weights: random}}\ncontrols: {{erm: false}}\nruntime: {{report: false}}\n"
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "grid.yaml").write_text("no: recipe")
    (tmp_path / "ham.yaml").write_text(model)
    (tmp_path / "erm.yaml").write_text(model + "algorithm: erm\n")
    assert smoke.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^smoke: .*?(\w+\.yaml) passed$", said, re.MULTILINE) == ["erm.yaml", "ham.yaml"]
    assert re.search(r"^smoke: 2 recipes in \d+ s$", said, re.MULTILINE)


def test_smoke_names_the_recipe_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("seed: one\n")
    assert smoke.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"smoke: {tmp_path / 'bad.yaml'}: Expected `seed` to be an integer of at least 0, but got `one`"
    )


def test_smoke_wants_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"smoke: there is no recipe below `{tmp_path}`\n"
