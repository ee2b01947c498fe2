from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from hamdg import cli
from tests.commands import test_table
from tests.made_up import METHODS, write_runs

# Of two variants one has two of its three runs, the other has failed or not begun.
unfinished_sweep = test_table.sweep

FEW = (METHODS[0], METHODS[4])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_runs(tmp_path / "runs", FEW, domains=("photo", "sketch"), seeds=(0, 1))
    return tmp_path / "runs"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["report", *arguments]) == 2
    return capsys.readouterr().err


def test_one_page_over_all_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "page.html"
    assert cli.main(["report", str(runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text(encoding="utf-8")
    assert "<h1>2 methods on mini</h1>" in page
    assert "Against ERM + SMA" in page
    assert not list(runs.rglob("report.html"))


def test_the_document_names_the_page_and_what_is_left_out(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = next(runs.rglob("record.json"))
    damaged.write_text("{", encoding="utf-8")
    out = tmp_path / "page.html"
    assert cli.main(["report", str(runs), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"page": str(out), "runs": 7, "left_out": [str(damaged.parent)]}
    assert "1 record is left out; the page names them" in printed.err
    assert str(damaged.parent) in out.read_text(encoding="utf-8")


def test_the_document_counts_the_runs_that_the_page_is_of(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert (
        cli.main(["report", str(runs), "--out", str(out), "--json", "--where", "held_out=photo", "--where", "seed=0"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["runs"] == 2
    assert "from 2 records." in out.read_text(encoding="utf-8")


def test_title_baseline_and_metric_can_be_chosen(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    options = ["--title", "A & B", "--baseline", "zero-shot", "--metric", "macro_accuracy", "--where", "held_out=photo"]
    assert cli.main(["report", str(runs), "--out", str(out), *options]) == 0
    page = out.read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert "Against zero-shot" in page
    assert "Macro accuracy" in page
    assert "By held-out domain" not in page


def test_without_a_control_the_first_method_is_the_baseline(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", METHODS[4:6], domains=("photo",), seeds=(0, 1))
    out = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert "Against HAM (reconstruction)<" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "against"), [(["--where", "algorithm=ham"], "HAM (reconstruction)"), (["--models", "zero_shot"], "")]
)
def test_a_control_that_is_no_row_is_no_baseline(tmp_path: Path, options: list[str], against: str) -> None:
    write_runs(tmp_path / "runs", METHODS[:1] + METHODS[4:7:2], domains=("photo",), seeds=(0, 1))
    out = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(out), *options]) == 0
    assert re.findall("<h2>Against (.*)</h2>", out.read_text(encoding="utf-8")) == [against] * bool(against)


def test_a_baseline_that_is_asked_for_has_to_be_a_row(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--where", "algorithm=ham", "--baseline", "ERM + SMA"]
    assert "There is no row `ERM + SMA` to compare with" in refused(
        capsys, str(runs), "--out", str(tmp_path / "page.html"), *options
    )


def test_a_single_method_is_compared_with_zero_shot(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", METHODS[:1], domains=("photo",), seeds=(0, 1))
    out = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert "Against zero-shot<" in out.read_text(encoding="utf-8")


def test_runs_with_pages_are_linked(runs: Path, tmp_path: Path) -> None:
    run = next(runs.rglob("record.json")).parent
    (run / "report.html").touch()
    out = tmp_path / "pages" / "page.html"
    assert cli.main(["report", str(runs), "--out", str(out)]) == 0
    address = f"../{run.relative_to(tmp_path)}/report.html"
    assert f'href="{address}"' in out.read_text(encoding="utf-8")
    assert (out.parent / address).is_file()


def test_the_same_runs_give_the_same_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    texts = []
    for _ in range(2):
        assert cli.main(["report", str(runs), "--out", str(out)]) == 0
        texts.append(out.read_bytes())
        out.unlink()
    assert texts[0] == texts[1]


def test_a_sweep_says_what_failed_and_what_is_not_there(unfinished_sweep: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(unfinished_sweep.read_text(encoding="utf-8"))
    unfinished_sweep.write_text(yaml.safe_dump(values | {"title": "A small sweep"}), encoding="utf-8")
    out = tmp_path / "page.html"
    assert cli.main(["report", str(unfinished_sweep), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    for text in (
        "<h1>A small sweep</h1>",
        "1 run failed. 3 runs are not there yet.",
        '<th scope="row" data-order="slow">slow',
        "slow, sketch, seed 1",
        "failed: Out of memory.",
        "Traceback: <code>b.txt</code>",
        "not begun (seed 2)",
    ):
        assert text in page


def test_a_sweep_shows_its_figure_or_says_why_there_is_none(unfinished_sweep: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(unfinished_sweep.read_text(encoding="utf-8"))
    out, image = tmp_path / "page.html", tmp_path / "figure.svg"
    values["variants"]["ERM"]["rows"] = {"erm": "last model", "erm_sma": "average"}

    def page(baseline: str) -> str:
        own = {"baseline": baseline, "figure": {"out": str(image), "dials": {"a dial": {"clean": "0"}}}}
        unfinished_sweep.write_text(yaml.safe_dump(values | own), encoding="utf-8")
        assert cli.main(["report", str(unfinished_sweep), "--out", str(out)]) == 0
        return out.read_text(encoding="utf-8")

    (encoded,) = re.findall(r'<img class="dials" src="data:image/svg\+xml;base64,([^"]+)"', page("last model"))
    assert "Accuracy minus that of" in base64.b64decode(encoded).decode()
    assert not image.exists()
    without = page("slow")
    assert 'class="dials"' not in without
    assert f"The figure of <code>{unfinished_sweep}</code> is not drawn: " in without


def test_options_of_the_page_need_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "`--baseline` is of the page over many runs; add `--out FILE`" in refused(capsys, str(runs), "--baseline=x")


def test_a_sweep_file_has_no_page_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`a/sweep.yaml` is no run; add `--out FILE`" in refused(capsys, "a/sweep.yaml")


def test_a_folder_is_no_page(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, str(runs), "--out", str(runs))
    assert f"`--out {runs}` is a folder; name the page itself, such as `{runs / 'page.html'}`." in said


def test_a_file_cannot_hold_a_page(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    said = refused(capsys, str(runs), "--out", str(tmp_path / "file" / "page.html"))
    assert f"cannot be written: `{tmp_path / 'file'}` is a file" in said


def test_an_unknown_baseline_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, str(runs), "--out", str(tmp_path / "page.html"), "--baseline", "nothing")
    assert "There is no row `nothing` to compare with" in said
    assert not (tmp_path / "page.html").exists()


def test_nothing_to_show_is_an_error(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in runs.rglob("record.json"):
        record.write_text("{", encoding="utf-8")
    assert "no readable record" in refused(capsys, str(runs), "--out", str(tmp_path / "page.html"))


def test_a_damaged_run_keeps_no_other_from_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parents[1] / "golden" / "erm"
    damaged, whole = (Path(shutil.copytree(golden, tmp_path / "runs" / name)) for name in ("a", "b"))
    (damaged / "record.json").write_text("{", encoding="utf-8")
    assert cli.main(["report", str(tmp_path / "runs"), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"pages": [str(whole / "report.html")], "left_out": [str(damaged)]}
    assert f"No page: `{damaged / 'record.json'}` is not a readable record" in printed.err
    assert str(damaged) in refused(capsys, str(damaged))


def test_pages_of_single_runs_are_written_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parents[1] / "golden" / "erm"
    run = Path(shutil.copytree(golden, tmp_path / "erm"))
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
