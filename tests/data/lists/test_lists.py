"""Benchmarks that list files describe, in the forms that users have them in."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.data import ColumnsConfig, DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.domainnet import DOMAINNET
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.benchmarks.vlcs import VLCS
from hamdg.data.find_images import find_images, list_domain
from hamdg.data.resolve import benchmark_of, lists_of, place_of
from hamdg.errors import DataError
from hamdg.runs.identity import identity
from tests.data.lists.made import folder_listing, kfold, listing, of, pets, touch, write


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


def test_no_list_is_given_by_an_empty_text() -> None:
    assert lists_of(replace(of("pacs", Path()), data=DataConfig(lists=""))) is None
