"""A run on images that list files or a table name, and what the verbs about data say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow
import pytest
from pyarrow import parquet

from hamdg import cli
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.hub.table import open_table
from hamdg.stages import pipeline

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


def two_lists(root: Path, folder: Path) -> Path:
    """Write a list of all images, and one that repeats a half, with labels from 1 as the lists of PACS have them."""
    folder.mkdir()
    paths = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"), reverse=True)]
    lines = [f"{path} {PACS.classes.index(path.split('/')[1]) + 1}\n" for path in paths]
    (folder / "all.txt").write_text("".join(lines))
    (folder / "half.txt").write_text("".join(lines[::2]))
    return folder


def test_runs_from_lists_verify_and_sheets_see_the_same(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = two_lists(small_pacs, tmp_path / "splits")
    place = (f"--data.lists={lists}", f"--data.root={small_pacs}")
    recipe = tiny("--benchmark=pacs", "--held_out=sketch", *place, tower="vit")
    record = json.loads(pipeline.run(recipe).read_text())
    assert record["data"]["pictures"] == 140
    said = capsys.readouterr().out
    assert f"images of PACS in `{lists}`: " in said
    assert "lines of `data.lists` that repeat others: 70; each image counts once" in said
    assert cli.main(["data", "verify", "pacs", *place, f"--out={tmp_path / 'card.json'}"]) == 1  # no published copy
    assert "repeat others: 70" in capsys.readouterr().out
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["lists"], card["root"], card["pictures"]) == (str(lists), None, 140)
    assert card["domains"]["photo"]["fingerprint"] == record["splits"]["photo"]["fingerprint"]
    assert cli.main(["data", "sheet", "pacs", *place, f"--out={tmp_path / 'sheet.png'}"]) == 0


def test_a_run_on_a_parquet_file_with_numbers_for_domains(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    paths = sorted(small_pacs.rglob("*.png"))
    columns = {
        "image": [path.read_bytes() for path in paths],
        "label": [path.parent.name for path in paths],
        "domain": [10 + PACS.domains.index(path.parent.parent.name) for path in paths],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "pets.parquet")
    place = ("--benchmark=custom", f"--data.root={tmp_path / 'pets.parquet'}", "--data.domains=[10,12,13]")
    record = json.loads(pipeline.run(tiny(*place, "--held_out=12", tower="vit")).read_text())
    assert (record["domains"], record["sources"], record["n_held_out"]) == (["10", "12", "13"], ["10", "13"], 35)
    open_table.cache_clear()
