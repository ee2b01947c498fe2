from __future__ import annotations

import re
from pathlib import Path

import pytest

from hamdg.errors import DataError
from hamdg.report.metrics import read_metrics

HEADER = "step,source,layer,name,value\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    return path


def test_series_are_sorted_and_the_later_row_counts(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "2,photo,,loss,5\n1,photo,,loss,1\n2,photo,,loss,3\n1,cartoon,,loss,4\n")
    found = read_metrics(path).by_source("loss")
    assert list(found) == ["cartoon", "photo"]
    assert (found["photo"].steps, found["photo"].values) == ((1, 2), (1.0, 3.0))
    assert found["photo"].mean == 2.0


def test_layers_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "1,a|b,,c,1\n1,a|b,layer2,c,1\n1,a|b,layer1,c,1\n")
    assert list(read_metrics(path).by_layer("c")["a|b"]) == ["layer2", "layer1"]


def test_a_wrong_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape("begins with `a,b`, expected `step,source,layer,name,value`.")):
        read_metrics(written(tmp_path, "a,b\n"))


def test_a_wrong_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=re.escape("line 3: `2,photo,,loss,high` is not `step,source,layer,name,value`.")
    ):
        read_metrics(written(tmp_path, HEADER + "1,photo,,loss,1\n2,photo,,loss,high\n"))


def test_a_field_that_no_reader_takes_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.csv`, line 2 is damaged \(field larger than field limit"):
        read_metrics(written(tmp_path, HEADER + "x" * 200_000 + ",photo,,loss,1\n"))
