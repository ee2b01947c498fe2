"""`hamdg table`, from its arguments to what it prints."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hamdg.cli import main
from hamdg.commands.given import given as runs_of
from hamdg.config.reading import read_recipe
from hamdg.runs.identity import run_directory
from hamdg.sweeps.ledger import ledger_of
from hamdg.sweeps.sweep_file import read_sweep

GOLDEN = Path(__file__).parents[1] / "golden"
Logs = Callable[..., Path]


def lay(folder: Path, name: str, **changes: object) -> None:
    """Write a run's directory with a changed record."""
    record = json.loads((GOLDEN / name / "record.json").read_text())
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record | changes))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return a folder with HAM and ERM on two domains, two seeds each."""
    for name in ("ham", "erm"):
        for held_out in ("photo", "sketch"):
            for seed in (0, 1):
                place = {"held_out": held_out, "seed": seed, "identity": f"{name}{held_out}{seed}"}
                lay(tmp_path / "logs" / "mini" / held_out / name / f"seed{seed}-{name}", name, **place)
    return tmp_path / "logs"


def test_a_folder_of_runs_is_one_table(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(logs), "--baseline", "ERM"]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["mini:", "accuracy", "on", "the", "whole", "held-out", "domain,", "%"]
    assert lines[2] == ["algorithm", "photo", "sketch", "average", "n"]
    assert ["HAM", "(reconstruction)", "71.3", "±", "0.0"] in [line[:5] for line in lines]
    assert "Difference to ERM" in said
    assert "harmonization (OPA) and the historical merge (RHM) are our reconstruction" in said


def test_costs_are_columns_of_their_own(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(logs), "--baseline", "ERM", "--costs"]) == 0
    head = capsys.readouterr().out.splitlines()[2]
    assert head.endswith("time / ERM + SMA  images / ERM + SMA  forward passes")


def test_cosines_of_the_source_models_are_a_column(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(logs), "--cosines", "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    (column,) = table["costs"]
    cosines = json.loads((GOLDEN / "ham" / "record.json").read_text())["merge"]["cosines"]
    own = [pair[""] for pair in cosines.values()]
    assert column["label"] == "cosine of sources"
    assert column["values"] == [None, pytest.approx(sum(own) / len(own))]
    assert "become one" not in " ".join(table["notes"])


def test_rows_that_are_no_merge_of_source_models_have_no_cosine(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cosines(path: Path, *arguments: str) -> dict[str, float | None]:
        assert main(["table", str(path), "--cosines", "--format", "json", *arguments]) == 0
        (table,) = json.loads(capsys.readouterr().out)["tables"]
        labels = [row["label"].rpartition(": ")[2] for row in table["rows"]]
        return dict(zip(labels, table["costs"][0]["values"], strict=True))

    found = cosines(logs / "mini" / "photo" / "ham", "--models", "zero_shot,source/*,erm_sma,ham")
    assert [name for name, value in found.items() if value is not None] == ["HAM (reconstruction)"]
    assert len(found) == 4
    # Joint training as a step of the run itself, as of experts that are mixed with it.
    record = json.loads((GOLDEN / "ham" / "record.json").read_text())
    joint = [row | ({"key": "joint", "group": "control"} if row["key"] == "shrunk" else {}) for row in record["rows"]]
    lay(tmp_path / "mixed", "ham", rows=joint)
    assert cosines(tmp_path / "mixed", "--models", "joint").popitem()[1] is None
    # A soup merges runs that learn from all sources.
    names = dict(zip(record["sources"], ("run-0", "run-1", "run-2"), strict=True))
    record["merge"]["norms"] = {names[name]: value for name, value in record["merge"]["norms"].items()}
    lay(tmp_path / "soup", "ham", merge=record["merge"])
    assert cosines(tmp_path / "soup") == {"HAM (reconstruction)": None}


def test_source_models_that_are_one_are_named(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in logs.rglob("record.json"):
        record = json.loads(path.read_text())
        for pair in (record.get("merge") or {}).get("cosines", {}).values():
            pair[""] = 0.9996
        path.write_text(json.dumps(record))
    assert main(["table", str(logs), "--cosines"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The source models have become one (cosine of at least 0.995) in HAM (reconstruction): there is" in said
    assert main(["table", str(logs), "--cosines", "--rows", "held_out", "--columns", "algorithm"]) == 2
    assert "Cosines are columns beside rows of methods, but `held_out` makes the rows" in capsys.readouterr().err


def test_json_is_the_same_with_either_option(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(logs), "--format", "json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["table", str(logs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert [row["label"] for row in first["tables"][0]["rows"]] == ["ERM + SMA", "HAM (reconstruction)"]


def test_rows_columns_models_and_where_are_obeyed(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rows", "seed,algorithm", "--models", "result,zero_shot", "--where", "held_out=photo"]
    assert main(["table", str(logs), *arguments, "--where", "algorithm=ham", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[3:7] for line in lines[1:]] == [
        ["0", "", "zero_shot", "photo"],
        ["0", "ham", "ham", "photo"],
        ["1", "", "zero_shot", "photo"],
        ["1", "ham", "ham", "photo"],
    ]


def test_what_is_left_out_is_named_below_the_table(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = logs / "mini" / "sketch" / "ham" / "seed1-ham"
    (damaged / "record.json").write_text("{")
    unfinished = logs / "mini" / "photo" / "erm" / "seed1-erm"
    (unfinished / "record.json").rename(unfinished / "config.yaml")
    assert main(["table", str(logs)]) == 0
    said = capsys.readouterr().out
    assert f"- Left out: `{damaged / 'record.json'}` is not a readable record" in said
    assert "- 1 run is not finished." in said
    assert f"- Fewer seeds: damaged record: `{damaged}` (seed 1): HAM (reconstruction) on sketch." in said
    assert f"- Fewer seeds: not finished: `{unfinished}` (seed 1): ERM + SMA on photo." in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "algoritm"], "No run has a key `algoritm`; did you mean `algorithm`?"),
        (["--rows", "algorithm,,seed"], "A key of `--rows algorithm,,seed` is empty; give keys joined by commas."),
        (["--rows", "seed,seed"], "`--rows seed,seed` has `seed` twice; give it once."),
        (["--where", "photo"], "`--where photo` is not `KEY=VALUE`, such as `--where benchmark=pacs`."),
        (["--format", "html"], "There is no format `html`; it can be `text`, `md`, `latex`, `csv`, `json`."),
        (["--select", "best"], "There is no rule `best`; it can be `validation`, `leave_one_out`, `oracle`."),
        (["--metric", "acc"], "No run has a metric `acc`;"),
        (["--baseline", "SWAD"], "There is no row `SWAD` to compare with;"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_code_2(
    logs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["table", str(logs), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_place_without_runs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(tmp_path)]) == 2
    assert "There is no readable record in" in capsys.readouterr().err
    assert main(["table", str(tmp_path / "nowhere")]) == 2
    assert "There is no sweep file or folder of runs `" in capsys.readouterr().err


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a sweep of two variants on one domain with three seeds, of which two runs are finished and one failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "erm.yaml").write_text("algorithm: erm\n")
    values = {
        "held_out": ["sketch"],
        "seeds": [0, 1, 2],
        "variants": {"slow": {"recipe": "erm.yaml", "set": {"train.lr": 0.0001}}, "ERM": {"recipe": "erm.yaml"}},
        "root": str(tmp_path / "logs"),
    }
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    for seed in (0, 1):
        given = {"label": "ERM", "held_out": "sketch", "seed": seed, "runtime.root": str(tmp_path / "logs")}
        recipe = read_recipe(tmp_path / "erm.yaml", changes=list(given.items()), place="here")
        lay(run_directory(recipe), "erm", seed=seed, label="ERM", identity=f"{seed}", held_out="sketch")
    slow = {
        "label": "slow",
        "held_out": "sketch",
        "seed": 1,
        "train.lr": 0.0001,
        "runtime.root": str(tmp_path / "logs"),
    }
    failed = run_directory(read_recipe(tmp_path / "erm.yaml", changes=list(slow.items()), place="here"))
    ledger = ledger_of(read_sweep(file), file).path
    ledger.parent.mkdir()
    entry = {"condition": "clean", "variant": "slow", "held_out": "sketch", "seed": 1, "run": ""}
    entry |= {"directory": str(failed), "seconds": 1.0, "ended": 0.0, "host": "here"}
    tries = [{"error": "An earlier reason.", "traceback": "a.txt"}, {"error": "Out of memory.", "traceback": "b.txt"}]
    ledger.write_text("".join(json.dumps(entry | one) + "\n" for one in tries) + '{"cut')
    return file


def test_a_sweep_shows_its_missing_runs_in_its_own_order(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(sweep), "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["row_keys"] == ["variant"]
    # A variant without any run has a row of reasons.
    assert [row["label"] for row in table["rows"]] == ["slow", "ERM"]
    slow, erm = (cells[0] for cells in table["cells"])
    assert slow["missing"] == "not begun (seeds 0, 2); failed: Out of memory. (seed 1)"
    assert (erm["n"], erm["incomplete"]) == (2, "not begun (seed 2)")


def test_runs_with_a_second_domain_held_out_are_read_where_they_are_wanted(sweep: Path) -> None:
    sweep.write_text(sweep.read_text() + "leave_out: pairs\n")
    given = {"label": "ERM", "held_out": "photo+sketch", "seed": 0, "runtime.root": str(sweep.parent / "logs")}
    place = run_directory(read_recipe(sweep.parent / "erm.yaml", changes=list(given.items()), place="here"))
    lay(place, "erm", held_out="photo+sketch", identity="pair")
    alone, both = runs_of([str(sweep)]), runs_of([str(sweep)], pairs=True)
    assert [one.summary.held_out for one in alone.runs] == ["sketch", "sketch"]
    assert sorted(one.summary.held_out for one in both.runs) == ["photo+sketch", "sketch", "sketch"]
    # Those that are not there are no cells of their own.
    assert both.absent == alone.absent


def test_a_sweep_without_a_finished_run_says_how_to_start(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "logs" / "mini")
    assert main(["table", str(sweep)]) == 2
    message = f"No run of `{sweep}` has a readable record; start them with `hamdg sweep {sweep}`."
    assert re.search(re.escape(message), capsys.readouterr().err)


def test_a_sweep_that_only_validates_has_no_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load(sweep.read_text())
    sweep.write_text(yaml.safe_dump(values | {"until": "validate"}))
    assert main(["table", str(sweep)]) == 2
    assert f"The runs of `{sweep}` end with `validate` and have no record;" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["table", ""], ["report", "", "--out", "page.html"]])
def test_an_empty_path_is_not_the_working_folder(
    command: list[str], logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(logs)
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("hamdg: error: A path is empty; give run directories")
    assert not (logs / "page.html").exists()


@pytest.mark.parametrize("name", ["record.json", "sweep.yaml", "page"])
def test_a_page_replaces_no_file_of_another_kind(name: str, logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = logs / name
    out.write_text("mine")
    assert main(["report", str(logs / "mini" / "photo" / "erm"), "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"hamdg: error: `--out {out}` is not an HTML page; end its name in `.html`.\n"
    assert out.read_text() == "mine"
