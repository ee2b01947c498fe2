"""A whole run, followed by W&B and TensorBoard: what is in each W&B run, and that nothing is written elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hamdg.runs.record import Record, read_record
from hamdg.tracking.rows import read_rows
from tests.tracking.offline import OfflineRun, offline_runs

# A run with a control is six W&B runs; tests/tracking/test_wandb_logger.py has single ones.
pytestmark = pytest.mark.slow

RUN = (
    "run mini/ham --data.mini.images_per_class=8 --train.steps=4 --train.warmup=1 --train.check_every=2 "
    "--data.batch_size=4 --runtime.log_every=2 --held_out=photo --tracking wandb,tensorboard --runtime.threads=1"
)


class Followed(NamedTuple):
    """A run that was followed, and where it ran."""

    folder: Path
    said: str
    record: Record
    found: dict[str, OfflineRun]

    @property
    def run(self) -> Path:
        """The directory of the run itself."""
        (path,) = self.folder.glob("work/lightning_logs/mini/photo/ham/*")
        return path

    def of(self, step: str, algorithm: str = "ham") -> OfflineRun:
        """Return the W&B run of a step."""
        (run,) = (one for one in self.found.values() if (one.job_type, one.config["algorithm"]) == (step, algorithm))
        return run


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Run HAM and its control with nobody logged in, with an empty home."""
    folder = tmp_path_factory.mktemp("followed")
    for name in ("home", "work", "tmp", "cache"):
        (folder / name).mkdir()
    own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "HAMDG_CACHE": str(folder / "cache")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "XDG_"))}
    command = [sys.executable, "-m", "hamdg", *RUN.split()]
    environment = {**kept, **own, "WANDB_X_STATS_COREWEAVE_METADATA_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("work/lightning_logs/mini/photo/ham/*/record.json")
    return Followed(folder, done.stderr, read_record(path), offline_runs(folder))


def test_nobody_logged_in_is_said_once(followed: Followed) -> None:
    assert followed.said.splitlines() == [
        "hamdg: warning: W&B works offline: nobody is logged in; `wandb login` does that once for all runs. "
        "The run goes on; `wandb sync lightning_logs/*/*/*/*/wandb` uploads what it logs."
    ]


def test_nothing_is_written_outside_of_the_run(followed: Followed) -> None:
    assert sorted((followed.folder / "home").rglob("*")) == []
    left = [path.name for path in (followed.folder / "tmp").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == [], "torch makes a folder of its own"
    assert [path.name for path in (followed.folder / "work").iterdir()] == ["lightning_logs"]
    for run in (followed.folder / "work" / "lightning_logs" / "mini" / "photo").glob("*/*"):
        inside = {path.name for path in run.iterdir()}
        assert {"wandb", "tensorboard", "tracking.json", "record.json", "done"} <= inside


def test_every_step_has_one_w_and_b_run_and_all_are_one_group(followed: Followed) -> None:
    kinds = sorted((str(one.config["algorithm"]), one.job_type) for one in followed.found.values())
    steps = ("evaluate", "merge", "train")
    assert kinds == [(name, step) for name in ("erm", "ham") for step in steps]
    assert {one.group for one in followed.found.values()} == {f"mini/photo/ham/{followed.run.name}"}
    assert {one.exit_code for one in followed.found.values()} == {0}
    assert {one.project for one in followed.found.values()} == {"hamdg"}
    links = json.loads((followed.run / "tracking.json").read_text())
    assert {step: link["id"] for step, link in links.items()} == {step: followed.of(step).id for step in steps}


def test_the_configuration_is_flat(followed: Followed) -> None:
    config = followed.of("train").config
    expected: dict[str, Any] = {
        "method": followed.record["label"],
        "algorithm": "ham",
        "benchmark": "mini",
        "held_out": "photo",
        "seed": 0,
        "backbone": "mini-rn",
        "selection": "training-domain validation",
        "condition": "",
        "step": "train",
        "kind": "train",
        "identity": followed.record["identity"],
        "train.steps": 4,
        "merge.method": "rhm",
        "merge.options.keep": 0.5,
        "ham.enrichment.enabled": True,
    }
    assert {name: config.get(name) for name in expected} == expected
    assert not any(isinstance(value, dict) for name, value in config.items() if not name.startswith("_wandb"))


def test_curves_are_those_of_the_csv(followed: Followed) -> None:
    run, rows = followed.of("train"), read_rows(followed.run / "train" / "metrics.csv")
    for name, source in (("loss", "sketch"), ("enrichment/added", "cartoon"), ("cosine/after", "cartoon|sketch")):
        own = {row.step: row.value for row in rows if (row.name, row.source, row.layer) == (name, source, "")}
        assert own
        assert run.curve(f"{name}/{source}") == pytest.approx(own)
    assert len(run.history) == 4


def test_a_merge_names_what_it_merged(followed: Followed) -> None:
    merge, train = followed.of("merge"), followed.of("train")
    assert merge.config["merged_from"] == [train.id]
    wrote = json.loads((followed.run / "train.json").read_text())["wrote"]
    digests = {name: digest for name, digest in wrote.items() if name.endswith(".safetensors")}
    assert merge.config["merged_from_sha256"] == [f"{name} {digest}" for name, digest in digests.items()]
    assert {name: train.summary[f"sha256/{name}"] for name in digests} == digests
    facts: Any = followed.record["steps"]["merge"]["facts"]["merge"]
    assert merge.summary["merge/norms/sketch"] == pytest.approx(facts["norms"]["sketch"])
    assert merge.summary["merge/cosines/cartoon|sketch"] == pytest.approx(facts["cosines"]["cartoon|sketch"][""])
    assert merge.summary["merge/method"] == "rhm"
    assert merge.summary["figures/cosine_of_the_task_vectors/_type"] == "table-file"


def test_the_evaluation_has_the_records_numbers(followed: Followed) -> None:
    summary, record = followed.of("evaluate").summary, followed.record
    assert summary["accuracy"] == summary["accuracy/photo"] == record["held_out_accuracy"]
    assert summary["accuracy_in80"] == record["held_out_accuracy_in80"]
    assert summary["validation"] == record["validation_accuracy"]
    start = record["zero_shot_accuracy"]
    assert start is not None
    assert summary["zero_shot"] == start
    assert summary["gain"] == pytest.approx(record["held_out_accuracy"] - start)
    assert summary["sha256/merged.safetensors"] == record["files"]["merged.safetensors"]
    assert summary["images_seen"] == record["images_seen"]
    kinds = {name: summary[f"{name}/_type"] for name in ("results", "per_class", "confusion_counts", "mistakes")}
    assert kinds == {
        "results": "table-file",
        "per_class": "table-file",
        "confusion_counts": "table-file",
        "mistakes": "images/separated",
    }
    assert summary["results/nrows"] == len(record["rows"])
    (table,) = followed.run.glob("wandb/*evaluate*/files/media/table/confusion_counts_*.json")
    counts = sum(row[2] for row in json.loads(table.read_text())["data"])
    assert counts == record["n_held_out"]
