"""Lists that make no sense, and images that they name and that are not there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.find_images import find_images
from hamdg.data.resolve import benchmark_of, place_of
from hamdg.errors import DataError, HamdgError
from tests.data.lists.made import kfold, listing, of, pets, touch, write

Change = Callable[[Path], object]


def added(*lines: str) -> Change:
    return lambda lists: lists.write_text(lists.read_text() + "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Path.unlink, "`data.lists`: there is no file or folder `{lists}`."),
        (
            lambda lists: lists.write_bytes("path,class,domain\n\u00e9".encode("latin-1")),
            "`data.lists`: `{lists}` is not text in UTF-8; save it as that.",
        ),
        (
            lambda lists: lists.write_text("a;b;c\n"),
            "`{lists}` has no column `path`, `class`, `domain`: its first line names `a;b;c`. It has to name the "
            "columns path, class and domain, separated by commas, or those that `data.columns.image`, `.label` and "
            "`.domain` name.",
        ),
        (
            lambda lists: lists.write_text(""),
            "`{lists}` has no column `path`, `class`, `domain`: it is empty. It has to name the columns path, class "
            "and domain, separated by commas, or those that `data.columns.image`, `.label` and `.domain` name.",
        ),
        (
            lambda lists: lists.write_text("path,class,domain,class\n"),
            "`{lists}` has more than one column `class`; keep one.",
        ),
        (
            added("a/1.jpg,x y"),
            "`{lists}`, line 10: expected 4 cells, as in the first line, but got 2; put a cell that has a comma into "
            "double quotes.",
        ),
        (added("a/1.jpg,,a,1"), "`{lists}`, line 10: every image needs a path, a class and a domain."),
        (added("a/\0.jpg,Z,a,1"), "`{lists}`, line 10: `a/\\x00.jpg` is not a path, since it has a zero byte."),
        (added('"a/1.jpg,Z,a,1'), "`{lists}`, line 10: it is not CSV (unexpected end of data)."),
        (
            added("../1.jpg,Z,a,1"),
            "`{lists}`, line 10: `../1.jpg` is not below `{root}`; give the folder that all images are below with "
            "`--data.root=FOLDER`.",
        ),
        (
            added("/etc/1.jpg,Z,a,1"),
            "`{lists}`, line 10: `/etc/1.jpg` is not below `{root}`; give the folder that all images are below with "
            "`--data.root=FOLDER`.",
        ),
        (
            added("a/Z/my 1.jpg,Z,a,1", "a/Z/./my 1.jpg,x y,b,1"),
            "`{lists}`, line 11: `a/Z/my 1.jpg` is `x y` of `b` here, but `Z` of `a` in an earlier line; keep one of "
            "them.",
        ),
        (
            added("a/Z/none.jpg,Z,a,1", "a/Z,Z,a,1"),
            "2 of 6 images of `a` that `data.lists` names are not in `{root}`: `a/Z`, `a/Z/none.jpg`; give the folder "
            "that the paths begin in with `--data.root=FOLDER`, or take their lines out.",
        ),
        (
            added("a/Z/my 1.jpg,z,a,1"),
            "`{lists}`, line 10: `a/Z/my 1.jpg` is `z` of `a` here, but `Z` of `a` in an earlier line; keep one of "
            "them.",
        ),
        (
            lambda lists: lists.write_text(lists.read_text().replace("b", "A")),
            "`{lists}` has `A`, `a`, which differ only in case, spaces, underscores or hyphens; give the domain one "
            "name everywhere, or give them names that differ more.",
        ),
    ],
    ids=[
        *(
            "missing",
            "not UTF-8",
            "no header",
            "nothing",
            "two columns",
            "cells",
            "empty cell",
            "zero",
            "open quote",
            "dots",
            "absolute",
        ),
        *("two meanings", "missing files", "another case", "like domains"),
    ],
)
def test_a_csv_that_makes_no_sense_is_refused(tmp_path: Path, change: Change, sentence: str) -> None:
    lists = pets(tmp_path)
    change(lists)
    with pytest.raises(HamdgError) as caught:
        listing(of("custom", lists), "a")
    assert str(caught.value) == sentence.replace("{lists}", str(lists)).replace("{root}", str(tmp_path))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            ["photo/dog/1.jpg"],
            "`{lists}`, line 1: expected `<path> <label>`, such as `photo/dog/001.jpg 0`, but got `photo/dog/1.jpg`.",
        ),
        (
            ["photo/dog/1.jpg 1", "", "photo/1.jpg 2"],
            "`{lists}`, line 3: the folders of `photo/1.jpg` name no class of `pacs`; write paths that end in "
            "`<domain>/<class>/image`, or a CSV with the columns path, class and domain.",
        ),
        (
            ["p/dog/1.jpg 1"],
            "`{lists}`, line 1: the folders of `p/dog/1.jpg` name no class of `pacs`; write paths that end in "
            "`<domain>/<class>/image`, or a CSV with the columns path, class and domain.",
        ),
        (["photo/dog/1.jpg dgo"], "`{lists}`, line 1: `pacs` has no class `dgo`; did you mean `dog`?"),
        (
            ["photo/dog/1.jpg 0", "photo/horse/1.jpg -1"],
            "`{lists}`, line 2: expected a number of a class (0, 1, 2, ...) or its name after the path, but got `-1`.",
        ),
        (
            ["photo/dog/1.jpg 1", "photo/horse/1.jpg 1"],
            "`{lists}`, line 2: the number 1 is `horse` by its folder, but `dog` in line 1; correct the list.",
        ),
        (
            ["photo/dog/1.jpg 1", "photo/dog/2.jpg 2"],
            "`{lists}`, line 2: the class `dog` has the number 2, but 1 in line 1; correct the list.",
        ),
        (
            ["sketch/dog/1.jpg 1"],
            "`data.lists` (`{lists}`) names no image of the domain `photo` of `pacs`, only of `sketch`.",
        ),
    ],
)
def test_lines_that_make_no_sense_are_refused(tmp_path: Path, lines: list[str], sentence: str) -> None:
    lists = write(tmp_path / "l.txt", *lines)
    with pytest.raises(DataError) as caught:
        listing(of(PACS, lists), "photo")
    assert str(caught.value) == sentence.replace("{lists}", str(lists))


def test_a_negative_number_is_no_class_of_a_benchmark_of_ones_own(tmp_path: Path) -> None:
    lists = write(tmp_path / "l.txt", "photo/dog/1.jpg 0", "photo/horse/1.jpg -1")
    with pytest.raises(DataError, match=r"line 2: expected a number of a class \(0, 1, 2, \.\.\.\) or its name"):
        benchmark_of(of("custom", lists, tmp_path))


def test_a_domain_called_as_a_split_is_refused_with_the_reason(tmp_path: Path) -> None:
    lists = write(tmp_path / "l.txt", "train/dog/1.jpg 0", "street/dog/1.jpg 0")
    with pytest.raises(DataError) as caught:
        benchmark_of(of("custom", lists))
    assert str(caught.value) == (
        f"`{lists}`, line 1: the folders of `train/dog/1.jpg` name no domain, since `train` is taken for a split of "
        "the data; write paths that end in `<domain>/<class>/image`, or a CSV with the columns path, class and domain."
    )


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.txt").touch()
    with pytest.raises(
        DataError, match=re.escape(f"the folder `{tmp_path / 'empty'}` holds no `.txt` or `.csv` file.")
    ):
        benchmark_of(of("custom", tmp_path / "empty"))
    touch(tmp_path, "list.json")
    with pytest.raises(
        DataError, match=r"list\.json` is neither a `\.txt` file of `<path> <label>` lines nor a `\.csv`"
    ):
        benchmark_of(of("custom", tmp_path / "list.json"))


def test_a_folder_that_cannot_be_listed_and_what_is_no_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    os.mkfifo(folder / "a.txt")  # which would never end
    with pytest.raises(DataError, match=r"splits` holds no `\.txt` or `\.csv` file\.$"):
        benchmark_of(of("custom", folder))
    with pytest.raises(DataError, match=r"a\.txt` is neither a"):
        benchmark_of(of("custom", folder / "a.txt"))

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"^`data\.lists`: `.*splits` cannot be read \(Permission denied\)\.$"):
        benchmark_of(of("custom", folder))


def test_a_list_as_the_root_is_sent_where_it_belongs(tmp_path: Path) -> None:
    lists = pets(tmp_path)
    message = (
        f"`data.root`: `{lists}` is a file; give a folder of `<domain>/<class>/image`, or a list with `data.lists`."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        benchmark_of(Recipe(benchmark="custom", data=DataConfig(root=str(lists))))
    with pytest.raises(
        DataError, match=r"is a file \(a list of images is named with `--data\.lists`\); give the folder"
    ):
        place_of(Recipe(benchmark="pacs", data=DataConfig(root=str(lists))))


def test_a_fault_of_the_held_out_domain_is_reported_before_training(small_pacs: Path, tmp_path: Path) -> None:
    lists = kfold(small_pacs, tmp_path / "splits", 1)
    file = lists / "sketch_test_kfold.txt"
    file.write_text(file.read_text() + "sketch/dog/none.png 1\n")
    with pytest.raises(DataError, match=r"1 of 36 images of `sketch` that `data\.lists` names are not in"):
        find_images(of(PACS, lists, small_pacs))
    find_images(of(PACS, lists, small_pacs), held_out=False)


def test_verify_lists_every_missing_file(small_pacs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = write(tmp_path / "l.csv", "path,class,domain", "none.png,dog,photo", "photo/dog/pic_000.png,dog,photo")
    given = [f"--data.lists={lists}", f"--data.root={small_pacs}", f"--out={tmp_path / 'card.json'}"]
    assert cli.main(["data", "verify", "pacs", *given]) == 1
    said = capsys.readouterr().out
    assert f"{small_pacs}/none.png: No such file or directory" in said
    assert "`cartoon`: there are no images of the classes `dog`, `elephant`" in said
