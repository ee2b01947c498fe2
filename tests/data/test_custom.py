from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.data import DataConfig
from hamdg.config.parsing import overridden
from hamdg.config.reading import checked, read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data import custom
from hamdg.data.benchmark import Hub
from hamdg.data.custom import check_names, custom_benchmark
from hamdg.data.find_images import list_domain
from hamdg.data.locations import locate
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError, DataError
from hamdg.runs.identity import identity


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    custom._of_folder.cache_clear()


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.write_bytes(b"not read")
        else:
            path.mkdir(exist_ok=True)
    return root


def test_domains_and_classes_are_sorted_and_united(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", "snow/dog/1.jpg", "snow/Zebra/2.jpg", "fog/cat/3.jpg", "fog/dog/4.webp")
    own = custom_benchmark(str(root), None)
    assert (own.name, own.title) == ("custom", "pets")
    assert own.domains == ("fog", "snow")
    assert own.classes == ("Zebra", "cat", "dog")
    assert own.hub is None


def test_what_systems_leave_behind_is_no_domain_and_no_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/x/1.jpg", "b/y/2.jpg", ".git/hooks/1", "__MACOSX/a/x/1.jpg", "a/.cache/t/1", "notes.txt")
    own = custom_benchmark(str(root), None)
    assert (own.domains, own.classes) == (("a", "b"), ("x", "y"))


def test_parts_lie_between_domain_and_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/train/x/1.jpg", "a/test/y/2.jpg", "b/x/3.jpg", "b/y/4.jpg")
    assert custom_benchmark(str(root), None).classes == ("x", "y")


def test_domains_can_be_chosen_beside_stray_folders(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "Real World/x/1.jpg", "b/x/2.jpg", "b/y/2.jpg", "c/z/3.jpg", "splits/a.txt", "Real World/y/4.jpg"
    )
    own = custom_benchmark(str(root), None, None, ("b", "real_world"))
    assert (own.domains, own.classes, own.left_out) == (("Real World", "b"), ("x", "y"), ("c", "splits"))
    assert list_domain(locate(own, str(root)), "Real World").labels.tolist() == [0, 1]
    message = f"`data.domains` names `d`, `e`, but `{root}` has `Real World`, `b`, `c`, `splits`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        custom_benchmark(str(root), None, None, ("d", "b", "e"))
    with pytest.raises(DataError, match="has only the domain `b`; two or more are needed"):
        custom_benchmark(str(root), None, None, ("b",))


def test_chosen_domains_make_one_run_however_they_are_spelled_ordered_or_repeated(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"{domain}/{name}/1.jpg" for domain in ("Real World", "b", "c") for name in "xy"))

    def recipe(domains: str) -> Recipe:
        return read_recipe(None, ["--benchmark=custom", "--held_out=b", f"--data.root={root}", *domains.split("|")])

    own = recipe("--data.domains=[Real World, b]")
    for same in ("[b, Real World]", "[real_world, b]", "[b, Real World, b]"):
        assert recipe(f"--data.domains={same}") == own
    made_in_python = replace(own, data=replace(own.data, domains=["b", "REAL-WORLD"]))
    assert identity(checked(made_in_python)) == identity(own)
    with pytest.raises(
        ConfigError, match=r"^`data.domains` is empty; name two domains or more, or leave it out to use"
    ):
        recipe("--data.domains=[]")
    assert identity(recipe("--data.domains=[b, c]")) != identity(own) != identity(recipe("--seed=0"))


def test_accents_may_be_one_character_or_two(tmp_path: Path) -> None:
    one, two = "B\u00e4r", "Ba\u0308r"
    root = tree(tmp_path, f"{two}/{one}/1.jpg", f"{two}/x/1.jpg", f"b/{two}/1.jpg", f"b/{two}/2.jpg", "b/x/1.jpg")
    own = custom_benchmark(str(root), None)
    assert (own.domains, own.classes) == ((one, "b"), (one, "x"))
    assert own.find_domain(two) == one
    assert list_domain(locate(own, str(root)), one).labels.tolist() == [0, 1]
    assert list_domain(locate(own, str(root)), "b").labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            "b/hose/1.jpg",
            "has no folder for the class `hose`. Every domain needs every class that any domain has: rename a class "
            "folder that is misspelled in another domain, or move one that not all of them have elsewhere; "
            "`data.domains` leaves out folders that are not domains.",
        ),
        (
            "a/hose/",
            "holds no image of the class `hose`: the class folder is there, but empty. Put images into it, or move "
            "the class elsewhere in all domains.",
        ),
    ],
)
def test_a_class_that_not_all_domains_have_is_refused(tmp_path: Path, file: str, sentence: str) -> None:
    root = tree(tmp_path, "a/house/1.jpg", "b/house/1.jpg", file)
    place = locate(custom_benchmark(str(root), None), str(root))
    with pytest.raises(DataError) as caught:
        list_domain(place, "a")
    assert str(caught.value) == f"`{root / 'a'}` (domain `a` of `custom`) {sentence}"


def test_its_images_are_listed_by_its_own_labels(tmp_path: Path) -> None:
    files = [f"{domain}/{label}/{number}.jpg" for domain in "ab" for label in ("B", "a") for number in (1, 2)]
    root = tree(tmp_path, *files)
    own = custom_benchmark(str(root), None)
    listing = list_domain(locate(own, str(root)), "b")
    assert listing.labels.tolist() == [0, 0, 1, 1]
    assert list(listing.names) == ["B/1.jpg", "B/2.jpg", "a/1.jpg", "a/2.jpg"]


def test_names_need_not_be_ascii(tmp_path: Path) -> None:
    root = tree(tmp_path / "mes images", "été chaud/chien/1.jpg", "hiver/猫/2.jpg")
    own = custom_benchmark(str(root), None)
    assert (own.domains, own.classes) == (("hiver", "été chaud"), ("chien", "猫"))


def test_a_folder_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, "a/x/1.jpg", "b/y/2.jpg")
    first = custom_benchmark(str(root), None)
    monkeypatch.setattr(os, "scandir", None)
    assert custom_benchmark(str(root), None) is first


@pytest.mark.parametrize(
    ("root", "hub", "sentence"),
    [
        (
            None,
            None,
            "`benchmark: custom` needs `data.root` (a folder of `<domain>/<class>/image`), `data.lists` or `data.hub`.",
        ),
        ("x", Hub("a/b"), "`data.root` and `data.hub` both name the images; keep one of them."),
    ],
    ids=["neither", "both"],
)
def test_one_place_has_to_be_named(root: str | None, hub: Hub | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        custom_benchmark(root, hub)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "`data.root`: there is no folder `{root}`; give one of `<domain>/<class>/image`."),
        (["readme.txt"], "`{root}` has no domain; two or more are needed."),
        (["a/x/1.jpg", "a/y/1.jpg"], "`{root}` has only the domain `a`; two or more are needed."),
        (["a/x/1.jpg", "b/x/1.jpg"], "`{root}` has only the class `x`; two or more are needed."),
        (
            ["a/x/1.jpg", "b/y/1.jpg", "splits/a.txt"],
            "`data.root`: `splits` in `{root}` holds no class folders; expected `<domain>/<class>/image`. "
            "Move what is not a domain elsewhere, or choose the domains with `'--data.domains=[a, b]'`.",
        ),
        (
            ["x/1.jpg", "y/1.jpg"],
            "`data.root`: `x`, `y` in `{root}` holds no class folders; expected `<domain>/<class>/image`. "
            "Give the folder that holds the domains.",
        ),
        (
            ["a/Dog/1.jpg", "b/dog/1.jpg", "b/cat/1.jpg"],
            "`{root}` has `Dog`, `dog`, which differ only in case, spaces, underscores or hyphens; "
            "give the class one name everywhere, or give them names that differ more.",
        ),
        (
            ["Real World/x/1.jpg", "real_world/y/1.jpg"],
            "`{root}` has `Real World`, `real_world`, which differ only in case, spaces, underscores or hyphens; "
            "give the domain one name everywhere, or give them names that differ more.",
        ),
        (
            ["a/x/1.txt", "b/y/"],
            "`data.root`: there is no image in the folders of `{root}`; expected `<domain>/<class>/image`.",
        ),
    ],
    ids=[
        "missing",
        "no domain",
        "one domain",
        "one class",
        "a bare folder",
        "a domain alone",
        "like classes",
        "like domains",
        "empty",
    ],
)
def test_a_folder_that_makes_no_benchmark_is_refused(tmp_path: Path, files: list[str], sentence: str) -> None:
    root = tree(tmp_path / "pets", *files)
    with pytest.raises(DataError) as caught:
        custom_benchmark(str(root), None)
    assert str(caught.value) == sentence.format(root=root)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, "a/x/1.jpg", "b/y/2.jpg")
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    sentence = f"`data.root`: `{root / 'b'}` cannot be listed (Permission denied)."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        custom_benchmark(str(root), None)


def test_the_option_that_leaves_stray_folders_out_can_be_copied_to_a_shell(tmp_path: Path) -> None:
    root = tree(tmp_path, "Real World/x/1.jpg", "b: 2/x/2.jpg", "b: 2/y/2.jpg", "Real World/y/1.jpg", "notes/")
    with pytest.raises(DataError) as caught:
        custom_benchmark(str(root), None)
    (option,) = shlex.split(str(caught.value).split("choose the domains with `")[1].removesuffix("`."))
    recipe = overridden(Recipe(benchmark="custom", data=DataConfig(root=str(root))), [option])
    assert benchmark_of(recipe).domains == ("Real World", "b: 2")


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
