from __future__ import annotations

from pathlib import Path

import pytest

from hamdg.data.benchmark import Benchmark
from hamdg.data.folders.layout import class_folders, domain_folders, holds_table, parts_of, printable, subfolders
from hamdg.data.registry import benchmark


def test_subfolders_are_sorted_and_leave_out_what_systems_leave_behind(tmp_path: Path) -> None:
    for name in ("b", "A", ".hidden", "__MACOSX", ".ipynb_checkpoints", "B c"):
        (tmp_path / name).mkdir()
    (tmp_path / "list.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "A")
    assert subfolders(tmp_path) == ["A", "B c", "b", "link"]


def test_domains_are_found_under_their_other_names() -> None:
    found = domain_folders(benchmark("officehome"), ["Art", "Real World", "RealWorld", "clipart", "splits"])
    assert found == {"Art": ["Art"], "Real_World": ["Real World", "RealWorld"], "Clipart": ["clipart"]}


def test_a_letter_is_a_domain_only_where_a_domain_is_called_by_it() -> None:
    assert domain_folders(benchmark("pacs"), ["a", "photo", "s"]) == {"photo": ["photo"]}
    letters = Benchmark("letters", ("A", "B"), ("dog", "cat"), aliases={"x": "A"})
    assert domain_folders(letters, ["a", "B", "x"]) == {"A": ["a"], "B": ["B"]}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["crossval", "test", "train"], ["crossval", "test", "train"]),
        (["Train", "VAL", "extra"], ["Train", "VAL"]),
        # DomainNet has a class called train.
        (["train", "tree", "truck"], []),
        (["train"], ["train"]),
        (["test", "tree"], []),
        (["extra", "other"], []),
        ([], []),
    ],
)
def test_folders_are_parts_only_where_no_other_folder_is_a_class(names: list[str], expected: list[str]) -> None:
    assert parts_of(names, lambda name: benchmark("domainnet").find_label(name) is not None) == expected


def test_class_folders_of_an_unknown_data_set_are_united_over_its_parts(tmp_path: Path) -> None:
    for name in ("plain/cat", "plain/dog", "parts/train/cat", "parts/train/dog", "parts/test/emu", "parts/.x"):
        (tmp_path / name).mkdir(parents=True)
    assert class_folders(tmp_path / "plain") == ["cat", "dog"]
    assert class_folders(tmp_path / "parts") == ["cat", "dog", "emu"]


def test_a_path_that_is_no_text_can_be_printed() -> None:
    assert printable("/data/\udce9t\udce9 é") == "/data/\\xe9t\\xe9 é"
    assert printable("a\n\x1b[31mb") == "a\\n\\x1b[31mb"


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        (["a.parquet", "b.parquet", "readme.md"], True),
        (["data/train-0.parquet"], True),
        (["train/0.parquet", "test/0.parquet", ".cache/x"], True),
        (["dataset_dict.json", "train/state.json"], True),
        (["a/x/1.jpg", "b/x/1.jpg"], False),
        (["a.parquet", "photo/x/1.jpg"], False),
        (["data/0.parquet", "photo/x/1.jpg"], False),
        (["readme.md"], False),
        ([], False),
    ],
)
def test_tables_are_told_from_folders_of_domains(tmp_path: Path, files: list[str], holds: bool) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert holds_table(tmp_path) is holds
    assert not holds_table(tmp_path / "nowhere.parquet")
    (tmp_path / "one.parquet").touch()
    assert holds_table(tmp_path / "one.parquet")
