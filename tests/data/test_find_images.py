"""Images are found, and what is missing is reported, before anything heavy is loaded."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.find_images import find_images
from hamdg.data.resolve import place_of
from hamdg.errors import DataError

PACS = Recipe(benchmark="pacs")


def with_data(**changes: object) -> Recipe:
    return replace(PACS, data=replace(DataConfig(), **changes))  # type: ignore[arg-type]


def copied(small_pacs: Path, root: Path) -> Recipe:
    shutil.copytree(small_pacs, root)
    return replace(with_data(root=str(root)), held_out="photo")


def test_images_are_found_without_being_opened(small_pacs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = with_data(root=str(small_pacs))
    assert place_of(recipe).root == small_pacs
    monkeypatch.setenv("HAMDG_DATA", str(small_pacs.parent))
    assert place_of(PACS).root == small_pacs
    find_images(recipe)


def test_missing_images_are_missed(tmp_path: Path) -> None:
    find_images(Recipe())  # renders its own
    with pytest.raises(DataError, match="nowhere"):
        find_images(with_data(root=str(tmp_path / "nowhere")))


def test_a_missing_domain_is_missed_before_anything_is_trained(small_pacs: Path, tmp_path: Path) -> None:
    for domain in ("art_painting", "cartoon", "photo"):
        shutil.copytree(small_pacs / domain, tmp_path / domain)
    recipe = with_data(root=str(tmp_path))
    message = (
        f"The domain `sketch` of `pacs` is missing in `{tmp_path}`: it holds the folders `art_painting`, `cartoon`, "
        "`photo`. Put the folder `sketch` there, or name another folder with `--data.root=FOLDER`."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_images(recipe)
    find_images(recipe, held_out=False)  # `sketch` is the one that is held out
    with pytest.raises(DataError, match=r"^The domain `sketch` of `pacs` is missing"):
        find_images(replace(recipe, held_out="photo"), held_out=False)


def test_a_misspelled_class_of_a_source_is_reported_before_anything_is_loaded(small_pacs: Path, tmp_path: Path) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    (root / "photo" / "dog").rename(root / "photo" / "dgo")
    recipe = replace(with_data(root=str(root)), held_out="sketch")
    with pytest.raises(DataError, match="dgo"):
        find_images(recipe)
    # Names of the held-out domain are listed too, unless it is not wanted.
    with pytest.raises(DataError, match="dgo"):
        find_images(replace(recipe, held_out="photo"))
    find_images(replace(recipe, held_out="photo"), held_out=False)


def test_a_class_without_images_in_the_held_out_domain_is_reported_before_anything_is_loaded(
    small_pacs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "PACS"
    recipe = copied(small_pacs, root)
    own = replace(recipe, benchmark="custom")
    for file in (root / "photo" / "dog").iterdir():
        file.unlink()
    for one in (recipe, own):
        with pytest.raises(DataError, match=r"holds no image of the class `dog`: the class folder is there, but emp"):
            find_images(one)
    (root / "photo" / "dog").rmdir()
    for one in (recipe, own):
        with pytest.raises(DataError, match=r"photo` \(domain `photo` of `\w+`\) has no folder for the class `dog`"):
            find_images(one)


def test_an_empty_file_of_the_held_out_domain_is_reported_before_anything_is_loaded(
    small_pacs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "PACS"
    recipe = copied(small_pacs, root)
    file = root / "photo" / "dog" / "pic_003.png"
    file.write_bytes(b"")
    message = (
        f"1 of 35 images of `photo` cannot be read: `{file}` (the file is empty); delete or replace them "
        "(`hamdg data verify` lists all that are damaged), then repeat the command."
    )
    for one in (recipe, replace(recipe, benchmark="custom")):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            find_images(one)
    file.write_bytes(b"not opened, so not reported yet")
    find_images(recipe)
