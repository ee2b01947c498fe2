"""Whatever the folders of a data set are called, a run trains on them, measures them and shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_index
from hamdg.stages import pipeline
from hamdg.tracking.rows import read_rows

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

# Attributes of a dictionary of modules, its separators, files of a run, keys of measurements, markup, formulas.
NAMES = (
    "train",
    "v1.0",
    "{a}",
    "values",
    "last",
    "a b größe",
    "dataloader_idx_0",
    "[a|b]%7B",
    "=1+1",
    "1e3",
    "null",
)


def make(root: Path, names: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        for kind in ("cat", "dog"):
            (root / name / kind).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / kind / f"{number}.bmp")
    return root


def test_domains_may_have_any_name(tiny: Tiny, tmp_path: Path) -> None:
    root = make(tmp_path / "pictures", NAMES)
    options = (
        "--benchmark=custom",
        f"--data.root={root}",
        "--data.batch_size=2",
        "--train.steps=1",
        "--train.warmup=0",
    )
    recipe = tiny(*options, "--held_out=null", "--data.validation_fraction=0.4", "--history.start=0")
    run = RunDirectory(pipeline.run(recipe).parent)
    record = read_record(run.record)
    sources = record["sources"]
    assert sorted([*sources, "null"]) == sorted(name.name for name in root.iterdir())
    assert run.recipe().held_out == "null"
    rows = read_rows(run.step("train").metrics)
    for measured in ("loss", "gradient_norm", "enrichment/added", "validation/accuracy"):
        assert {row.source for row in rows if row.name == measured} == set(sources)
    pairs = {row.source for row in rows if row.name == "cosine/before"}
    assert pairs == {f"{a}|{b}" for i, a in enumerate(sources) for b in sources[i + 1 :]}
    assert [row["key"] for row in record["rows"]][1 : 1 + len(sources)] == [f"source/{name}" for name in sources]
    histories = read_index(run.step("train"))["sources"]
    assert set(histories) == set(sources)
    for found in histories.values():
        assert load_tensors(run.step("train").folder / found["last"]["file"])
    assert run.is_done
