from __future__ import annotations

import os
from pathlib import Path

import pytest

from hamdg.data.custom import custom_benchmark
from hamdg.data.names import check_names
from hamdg.errors import DataError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the domain ``, whose name is empty; rename it."),
        (" ", "the domain ` `, whose name is empty; rename it."),
        ("a\udce9", "the domain `a\\udce9`, whose name is not UTF-8; rename it."),
        ("a\nb", "the domain `a\\nb`, whose name has control characters; rename it."),
        ("\x1b[31m", "the domain `\\x1b[31m`, whose name has control characters; rename it."),
        ("a\u202eb", "the domain `a\\u202eb`, whose name has control characters; rename it."),
        ("..", "cannot be that of a folder: it has a slash or begins with a dot; rename it."),
        ("../../x", "cannot be that of a folder: it has a slash or begins with a dot; rename it."),
        (".hidden", "cannot be that of a folder: it has a slash or begins with a dot; rename it."),
        ("ö" * 101, "whose name is longer than 200 bytes; rename it."),
        ("Index.json", "whose name is kept for files of a run; rename it."),
        ("a.SafeTensors", "whose name is kept for files of a run; rename it."),
    ],
)
def test_names_that_no_run_could_write_down_are_refused(name: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_names("`pets`", "domain", ["fine", name])
    assert str(caught.value).startswith("`pets` has the domain `")
    assert str(caught.value).endswith(said)


def test_classes_are_no_folders_of_a_run() -> None:
    check_names("`pets`", "class", ["a/b", ".net", "x" * 300, "index.json", "größe", "{a}"])
    with pytest.raises(DataError, match=r"has the class `a\\x00`, whose name has control characters"):
        check_names("`pets`", "class", ["a\0"])


@pytest.mark.parametrize("place", ["{0}/cat", "day/{0}"])
def test_folders_are_refused_by_name_before_anything_is_read(tmp_path: Path, place: str) -> None:
    for path in ("day/cat", "day/dog", "night/cat", place.format("caf\udce9")):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / "1.jpg").touch()
    with pytest.raises(DataError, match=r"`caf\\udce9`, whose name is not UTF-8; rename it"):
        custom_benchmark(os.fspath(tmp_path), None)
