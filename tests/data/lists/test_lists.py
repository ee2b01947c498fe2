"""Benchmarks that list files describe, in the forms that users have them in."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.config.data import ColumnsConfig, DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.benchmarks.domainnet import DOMAINNET
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.benchmarks.vlcs import VLCS
from hamdg.data.find_images import find_images, list_domain
from hamdg.data.listing import Listing
from hamdg.data.resolve import benchmark_of, lists_of, place_of
from hamdg.errors import DataError, HamdgError
from hamdg.runs.identity import identity


def of(benchmark: Benchmark | str, lists: Path, root: Path | None = None, **changes: object) -> Recipe:
    name = benchmark if isinstance(benchmark, str) else benchmark.name
    data = DataConfig(lists=str(lists), root=None if root is None else str(root))
    return Recipe(benchmark=name, held_out="sketch", data=replace(data, **changes))  # type: ignore[arg-type]


def listing(recipe: Recipe, domain: str) -> Listing:
    return list_domain(place_of(recipe), domain)


def folder_listing(root: Path, domain: str, name: str = "pacs") -> Listing:
    return list_domain(place_of(Recipe(benchmark=name, data=DataConfig(root=str(root)))), domain)


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"not read")


def kfold(root: Path, folder: Path, first: int, prefix: str = "", end: str = "\n") -> Path:
    """Write lists as JiGen and Dassl have them: a part of each domain a file, and one with all of it; shuffled."""
    for domain in PACS.domains:
        paths = [path.relative_to(root).as_posix() for path in sorted((root / domain).rglob("*.*"))]
        random.Random(0).shuffle(paths)
        lines = [f"{prefix}{path} {PACS.classes.index(path.split('/')[1]) + first}" for path in paths]
        write(folder / f"{domain}_train_kfold.txt", *lines[::2], end=end)
        write(folder / f"{domain}_crossval_kfold.txt", *lines[1::2], end=end)
        write(folder / f"{domain}_test_kfold.txt", *lines, "", end=end)
    return folder


@pytest.mark.parametrize(("first", "prefix", "end"), [(1, "", "\n"), (0, "kfold/", "\r\n"), (1, "./", "\r")])
def test_lists_of_jigen_and_dassl_give_the_images_of_the_folder(
    small_pacs: Path, tmp_path: Path, first: int, prefix: str, end: str
) -> None:
    if prefix == "kfold/":
        (tmp_path / "kfold").symlink_to(small_pacs)
    root = tmp_path if prefix == "kfold/" else small_pacs
    recipe = of(PACS, kfold(small_pacs, tmp_path / "splits", first, prefix, end), root)
    for domain in PACS.domains:
        found, expected = listing(recipe, domain), folder_listing(small_pacs, domain)
        assert list(found.names) == list(expected.names)
        assert found.labels.tolist() == expected.labels.tolist()
        # So a run goes on with either.
        assert found.fingerprint == expected.fingerprint
        assert found.content(3) == expected.content(3)
    find_images(recipe)
    assert identity(recipe) == identity(Recipe(benchmark="pacs", data=DataConfig(root=str(small_pacs))))


@pytest.mark.real_data
def test_lists_of_the_real_pacs_give_the_images_of_the_folder(pacs_root: Path, tmp_path: Path) -> None:
    recipe = of(PACS, kfold(pacs_root, tmp_path / "splits", 1), pacs_root)
    for domain in PACS.domains:
        assert listing(recipe, domain).fingerprint == folder_listing(pacs_root, domain).fingerprint


def test_without_a_root_paths_begin_beside_the_lists(small_pacs: Path, tmp_path: Path) -> None:
    shutil.copytree(small_pacs, tmp_path / "PACS")
    kfold(small_pacs, tmp_path / "PACS" / "splits", 1)
    assert len(listing(of(PACS, tmp_path / "PACS" / "splits"), "photo")) == 35
    table = write(tmp_path / "PACS" / "all.csv", "path,class,domain", "photo/dog/pic_000.png,Dog,Photo")
    place = place_of(of(PACS, table))
    assert place.where == str(table)
    with pytest.raises(DataError, match="names no image of `elephant`, `giraffe`"):
        list_domain(place, "photo")


def test_a_list_of_parts_of_vlcs_and_domainnets_own_order_go_by_folders(tmp_path: Path) -> None:
    files = [f"CALTECH/{part}/{label}/1.jpg" for part in ("train", "test") for label in range(5)]
    touch(tmp_path, *files)
    lists = write(tmp_path / "l.txt", *(f"{file} {file.split('/')[2]}" for file in reversed(files)))
    found = listing(of(VLCS, lists), "Caltech101")
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(found.names)[:2] == ["test/0/1.jpg", "train/0/1.jpg"]
    # In the official lists of DomainNet, `The_Eiffel_Tower` has the number 308 and `train` is a class.
    named = sorted(DOMAINNET.classes, key=str.lower)
    files = [f"real/{name}/x.jpg" for name in named]
    touch(tmp_path, *files)
    lists = write(tmp_path / "real_train.txt", *(f"{file} {number}" for number, file in enumerate(files)))
    found = listing(of(DOMAINNET, lists), "real")
    assert list(found.names) == [f"{name}/x.jpg" for name in DOMAINNET.classes]
    assert found.labels.tolist() == list(range(345))


def pets(root: Path, *more: str) -> Path:
    files = [
        f"{domain}/{label}/my {number}.jpg" for domain in ("a", "b") for label in ("Z", "x y") for number in (1, 2)
    ]
    touch(root, *files, *more)
    rows = [f'"{file}", {file.split("/")[1]},{file[0]},4' for file in files]
    return write(root / "pets.csv", "path,class,domain,stars", *rows)


def test_a_csv_makes_a_benchmark_of_ones_own(tmp_path: Path) -> None:
    recipe = of("custom", pets(tmp_path))
    own = benchmark_of(recipe)
    assert (own.name, own.title, own.domains, own.classes) == ("custom", "pets", ("a", "b"), ("Z", "x y"))
    found = listing(recipe, "b")
    assert list(found.names) == ["Z/my 1.jpg", "Z/my 2.jpg", "x y/my 1.jpg", "x y/my 2.jpg"]
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.describe(0) == str(tmp_path / "b/Z/my 1.jpg")
    assert found.fingerprint == folder_listing(tmp_path, "b", "custom").fingerprint
    assert identity(recipe) != identity(replace(recipe, data=replace(recipe.data, lists="other.csv")))


def test_a_csv_needs_no_folders_and_may_be_quoted_marked_and_from_windows(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2, two.jpg", 'the "3".jpg', "deep/4.jpg")
    lines = ['"domain","Name","file"', 'day,"B\u00e4r, brown",1.jpg', 'day,"caf\u00e9 ""au lait""","2, two.jpg"']
    lines += ['night,"Ba\u0308r, brown","the ""3"".jpg"', "", 'night, "caf\u00e9 ""au lait""",  deep/4.jpg ']
    lists = tmp_path / "t.csv"
    lists.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    recipe = of("custom", lists, columns=ColumnsConfig(image="file", label="Name"))
    assert benchmark_of(recipe).classes == ("B\u00e4r, brown", 'caf\u00e9 "au lait"')
    assert list(listing(recipe, "night").names) == ['the "3".jpg', "deep/4.jpg"]
    assert listing(recipe, "day").labels.tolist() == [0, 1]


def test_a_list_of_lines_makes_a_benchmark_of_its_folders(tmp_path: Path) -> None:
    root = tmp_path / "my pets"
    touch(root, "set/a b/train/x/1.jpg", "set/c/x/1.jpg", "set/c/y z/1.jpg", "set/a b/y z/2.jpg")
    lines = ("set/a b/train/x/1.jpg 1", "set/c/x/1.jpg\t1", "  set/c/y z/1.jpg   0 ", "", "set/a b/y z/2.jpg 0")
    recipe = of("custom", write(root / "l.txt", *lines))
    assert (benchmark_of(recipe).domains, benchmark_of(recipe).classes) == (("a b", "c"), ("x", "y z"))
    assert list(listing(recipe, "a b").names) == ["train/x/1.jpg", "y z/2.jpg"]
    # Where labels are names, they count, and not the folders.
    named = of(
        "custom",
        write(root / "n.txt", *(line.strip()[:-1].strip() + " k" + line.strip()[-1] for line in lines if line)),
    )
    assert benchmark_of(named).classes == ("k0", "k1")


def test_domains_can_be_chosen_from_a_list(tmp_path: Path) -> None:
    lists = pets(tmp_path, "n/odd/1.jpg")
    lists.write_text(lists.read_text() + "n/odd/1.jpg,odd,notes,0\n")
    recipe = of("custom", lists, domains=["A", "b"])
    own = benchmark_of(recipe)
    assert (own.domains, own.classes, own.left_out) == (("a", "b"), ("Z", "x y"), ("notes",))
    assert len(listing(recipe, "a")) == 4
    with pytest.raises(DataError, match=r"names no image of `odd` in the domain `a`"):
        listing(of("custom", lists), "a")


def test_absolute_paths_may_lead_into_the_root(tmp_path: Path) -> None:
    lists = pets(tmp_path)
    lists.write_text(lists.read_text().replace("a/Z/my 1.jpg", f"{tmp_path}/a/../a//Z/my 1.jpg"))
    assert listing(of("custom", lists), "a").names[0] == "Z/my 1.jpg"


def test_a_list_that_is_changed_is_read_again(tmp_path: Path) -> None:
    recipe = of("custom", lists := pets(tmp_path, "a/Z/my 3.jpg"))
    assert len(listing(recipe, "a")) == 4
    lists.write_text(lists.read_text() + "a/Z/my 3.jpg,Z,a,4\n")
    assert len(listing(recipe, "a")) == 5


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


def test_no_list_is_given_by_an_empty_text() -> None:
    assert lists_of(replace(of("pacs", Path()), data=DataConfig(lists=""))) is None


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
