from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.cli import main
from hamdg.commands import dashboard
from tests.tracking.dashboard.stub import Stub, running_stub


def hamdg(tmp_path: Path, *arguments: str, stub: Stub | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, since W&B keeps one more as a service."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_API_KEY": f"local-{'a' * 40}", "WANDB_BASE_URL": stub.address} if stub is not None else {}
    return subprocess.run(
        [sys.executable, "-m", "hamdg", "dashboard", *arguments],
        env=clean | own | {"HOME": str(home), "WANDB_SILENT": "true"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layout_is_shown_without_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "ablations", "--benchmark=pacs", "--dry-run", "--json"]) == 0
    layout = json.loads(capsys.readouterr().out)
    names = [section["name"] for section in layout["sections"]]
    assert names == ["Headline", "By held-out domain", "What matters", "Training", "Diagnostics", "Two runs"]
    titles = [panel["title"] for panel in layout["sections"][1]["panels"]]
    assert titles == [f"Held out: {name}" for name in ("art_painting", "cartoon", "photo", "sketch")]


def test_a_benchmark_for_segmentation_has_its_own_metric(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "ablations", "--benchmark=mini-scenes", "--dry-run", "--json"]) == 0
    layout = json.loads(capsys.readouterr().out)
    assert "summary:mIoU" in layout["columns"]
    assert "config:data.conflicts.noise" in layout["sections"][2]["panels"][2]["metrics"]


def test_runs_bring_their_table_and_what_they_differ_in(
    run_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ham, erm = run_copy("ham") / "record.json", run_copy("erm") / "record.json"
    for path, algorithm in ((ham, "ham"), (erm, "erm")):
        record = json.loads(path.read_text())
        record["config"]["algorithm"] = algorithm
        path.write_text(json.dumps(record))
    assert main(["dashboard", "ablations", str(ham), str(erm), "--dry-run", "--json"]) == 0
    headline, domains, matters, *_ = json.loads(capsys.readouterr().out)["sections"]
    assert "HAM (reconstruction)" in headline["panels"][0]["text"]
    assert [panel["title"] for panel in domains["panels"]] == ["Held out: sketch"]
    assert "config:algorithm" in matters["panels"][2]["metrics"]


def test_settings_that_differ_are_found_without_domains_seeds_and_places() -> None:
    first = {
        "seed": 0,
        "held_out": "photo",
        "merge": {"method": "rhm", "options": {"keep": 0.5}},
        "runtime": {"root": "a"},
    }
    other = {
        "seed": 1,
        "held_out": "sketch",
        "merge": {"method": "rhm", "options": {"keep": 0.2}},
        "runtime": {"root": "b"},
    }
    assert dashboard.varied([first, other]) == ("merge.options.keep",)
    assert dashboard.varied([first, first]) == ()


def test_workspace_and_report_are_saved(tmp_path: Path) -> None:
    with running_stub() as stub:
        done = hamdg(tmp_path, "team/ablations", "--json", stub=stub)
    assert done.returncode == 0, done.stderr
    addresses = json.loads(done.stdout)
    assert addresses["workspace"] == f"{stub.address}/team/ablations?nw=abc"
    assert addresses["report"].startswith(f"{stub.address}/team/ablations/reports/Ablations--")
    workspace, report = stub.saved
    assert (workspace["type"], workspace["displayName"]) == ("project-view", "Ablations")
    # A draft, until its author publishes it.
    assert (report["type"], report["projectName"]) == ("runs/draft", "ablations")
    assert '"name":"method"' in str(report["spec"]) or "method" in str(report["spec"])
    assert "evaluate" in str(report["spec"])


def test_without_a_login_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = hamdg(tmp_path, "ablations")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Log in with `wandb login`; `--dry-run` shows the layout without." in done.stderr
    assert not (tmp_path / "home" / ".netrc").exists()


def test_a_project_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with running_stub() as stub:
        done = hamdg(tmp_path, "team/missing", "--only=report", stub=stub)
    assert (done.returncode, stub.saved) == (2, [])
    assert "W&B does not take the dashboard of `team/missing`" in done.stderr


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["dashboard", "ablations"]) == 2
    assert "install it with `pip install 'hamdg[dashboard]'`." in capsys.readouterr().err


@pytest.mark.parametrize("project", ["", "team/"])
def test_a_project_without_a_name_is_refused(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", project, "--dry-run"]) == 2
    assert f"PROJECT `{project}` lacks a name" in capsys.readouterr().err


def test_only_the_project_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard"]) == 2
    assert "required: PROJECT; see" in capsys.readouterr().err


def test_one_address_is_that_of_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "ablations", "--update=https://wandb.ai/team/p?nw=abc"]) == 2
    assert "say with `--only workspace` or `--only report` which." in capsys.readouterr().err
