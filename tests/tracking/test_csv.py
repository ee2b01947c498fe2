from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from lightning.pytorch.loggers.logger import DummyLogger

from hamdg.errors import DataError
from hamdg.report.metrics import read_metrics
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.interface import log_values
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.rows import HEADER, Measurement, read_rows

PAIR = MetricKey("cosine/after", "cartoon|photo", "layer1.0")


def filled(path: Path, last: int = 4) -> CsvTracker:
    tracker = CsvTracker(path, last_step=0)
    for step in range(1, last + 1):
        tracker.log({MetricKey("loss", "photo"): step / 3, PAIR: -0.5, MetricKey("lr"): 1e-4}, step)
        tracker.save()
    return tracker


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (MetricKey("loss", "photo"), "loss/photo"),
        (MetricKey("lr"), "lr"),
        (MetricKey("cosine/after", "a|b", "layer1.0"), "cosine/after/a|b/layer1.0"),
        (MetricKey("cosine/after", "", "layer1.0"), "cosine/after/layer1.0"),
        (MetricKey("loss", "}{", "%7B/"), "loss/}{/%7B/"),
    ],
)
def test_keys_reach_the_file_whole_and_other_loggers_as_text(tmp_path: Path, key: MetricKey, text: str) -> None:
    assert key.text == text
    tracker, other = CsvTracker(tmp_path / "metrics.csv", last_step=0), Remember()
    log_values([tracker, other], {key: 0.25}, 3)
    tracker.save()

    assert read_rows(tmp_path / "metrics.csv") == [Measurement(3, key.source, key.layer, key.name, 0.25)]
    assert other.rows == [(3, {text: 0.25})]


class Remember(DummyLogger):
    """Somebody else's logger."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


def test_rows_are_appended_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    filled(path, last=2)

    assert path.read_text().splitlines() == [
        ",".join(HEADER),
        "1,photo,,loss,0.3333333333333333",
        "1,cartoon|photo,layer1.0,cosine/after,-0.5",
        "1,,,lr,0.0001",
        "2,photo,,loss,0.6666666666666666",
        "2,cartoon|photo,layer1.0,cosine/after,-0.5",
        "2,,,lr,0.0001",
    ]
    assert read_rows(path)[3] == Measurement(2, "photo", "", "loss", 2 / 3)


def test_nothing_is_written_before_save_and_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    tracker = CsvTracker(path, last_step=0)
    tracker.log_metrics({"lr": 1.0}, 1)
    assert read_rows(path) == []
    tracker.save()
    tracker.finalize("success")

    assert read_rows(path) == [Measurement(1, "", "", "lr", 1.0)]


def test_a_resumed_run_drops_what_it_measures_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    filled(path)
    tracker = CsvTracker(path, last_step=2)
    assert {row.step for row in read_rows(path)} == {1, 2}
    for step in (3, 4):
        tracker.log({MetricKey("loss", "photo"): step / 3, PAIR: -0.5, MetricKey("lr"): 1e-4}, step)
    tracker.save()

    filled(tmp_path / "whole.csv")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_line_cut_off_at_any_place_is_left_out(tmp_path: Path) -> None:
    whole = tmp_path / "whole.csv"
    tracker = filled(whole, last=2)
    tracker.log({MetricKey("loss", "photo"): 1.5e-07}, 3)
    tracker.save()
    content = whole.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    rows = read_rows(whole)

    path = tmp_path / "metrics.csv"
    for end in range(start, len(content) - 1):
        path.write_bytes(content[:end])
        assert read_rows(path) == rows[:-1]
        CsvTracker(path, last_step=3)
        assert path.read_bytes() == content[:start]


def test_values_that_are_no_numbers_are_kept(tmp_path: Path) -> None:
    tracker = CsvTracker(tmp_path / "metrics.csv", last_step=0)
    tracker.log_metrics({"loss": float("nan"), "lr": float("inf")}, 1)
    tracker.save()

    first, second = (row.value for row in read_rows(tmp_path / "metrics.csv"))
    assert math.isnan(first)
    assert second == math.inf


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize(
    "source", ["=1+1", "+a", "-a", "@a", "'a", "''", '=HYPERLINK("x")', "a=b", "größe", "a,b", '"']
)
def test_spreadsheets_take_no_name_for_a_formula(tmp_path: Path, source: str) -> None:
    path = tmp_path / "metrics.csv"
    tracker = CsvTracker(path, last_step=0)
    tracker.log({MetricKey("loss", source, source): -0.5}, 1)
    tracker.save()

    cells = next(csv.reader(path.read_text(encoding="utf-8").splitlines()[1:]))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells[:4])
    assert cells[4] == "-0.5"
    assert read_rows(path) == [Measurement(1, source, source, "loss", -0.5)]
    assert list(read_metrics(path).series) == [("loss", source, source)]
    CsvTracker(path, last_step=1)
    assert read_rows(path) == [Measurement(1, source, source, "loss", -0.5)]


@pytest.mark.parametrize("line", ["1,a,,loss,abc", "²,a,,loss,1", '1,a,,loss,"1\n2', '"' + "9" * 200_000])
def test_a_line_that_is_no_measurement_is_a_sentence(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"{','.join(HEADER)}\n{line}\n", encoding="utf-8")
    for read in (read_rows, lambda path: CsvTracker(path, last_step=1)):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value).startswith(f"`{path}` is damaged (")
        assert str(caught.value).endswith("). Repeat the run with `--force`.")
