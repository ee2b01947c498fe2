from __future__ import annotations

from pathlib import Path

import pytest

from hamdg.config.shipped import FOLDER, find_file, is_shipped, public_name
from hamdg.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, whose path is returned."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(text: str, what: str = "recipe") -> str:
    with pytest.raises(ConfigError) as caught:
        find_file(text, what)
    return str(caught.value)


@pytest.mark.parametrize(
    "text", ["pacs/ham", "pacs/ham.yaml", "experiments/pacs/ham", "experiments/pacs/ham.yaml", "sweeps/mini-table"]
)
def test_shipped_files_have_names(text: str) -> None:
    found = find_file(text)
    assert found.is_file()
    assert found == FOLDER / text.removeprefix("experiments/").removesuffix(".yaml").__add__(".yaml")
    assert is_shipped(found)


@pytest.mark.parametrize("text", ["pacs/ham", "pacs/ham.yaml", "experiments/pacs/ham.yaml", "./a", "a.yaml", "pipe"])
def test_a_file_here_comes_first(elsewhere: Path, text: str) -> None:
    path = elsewhere / (text if "." in Path(text).name or text == "pipe" else f"{text}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    found = find_file(text)
    assert found.samefile(path)
    assert not is_shipped(found)


def test_a_folder_here_hides_no_shipped_file(elsewhere: Path) -> None:
    (elsewhere / "pacs" / "ham").mkdir(parents=True)
    assert is_shipped(find_file("pacs/ham"))


def test_of_many_names_some_are_said() -> None:
    assert message("zzz").endswith(" more (`hamdg recipes`).")


@pytest.mark.parametrize("text", ["./pacs/ham", "../pacs/ham.yaml", "/pacs/ham.yaml", ""])
def test_a_path_that_says_where_it_leads_is_no_name(text: str) -> None:
    assert not is_shipped(Path(text))
    assert "There is no recipe" in message(text) or "is a folder" in message(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pacs/hem", "There is no recipe `pacs/hem`; did you mean `pacs/ham`"),
        ("experiments/terra/han.yaml", "There is no recipe `experiments/terra/han.yaml`; did you mean `terra/ham`"),
        (
            "zzz",
            "There is no recipe `zzz`; give the path of a YAML file, or one of those that come with hamdg: "
            "`custom/folder`, `custom/segmentation`, `domainnet/",
        ),
    ],
)
def test_a_wrong_name_names_the_nearest(text: str, said: str) -> None:
    assert message(text).startswith(said)


def test_files_here_are_named_too(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").touch()
    assert message("mime.yaml") == "There is no recipe `mime.yaml`; did you mean `mine.yaml`?"
    assert message("sweeps/mini-tabel", "sweep file").startswith(
        "There is no sweep file `sweeps/mini-tabel`; did you mean `sweeps/"
    )


def test_a_folder_names_what_is_in_it(elsewhere: Path) -> None:
    assert message(".") == "Expected a recipe, but `.` is a folder; give the path of a YAML file."
    (elsewhere / "a.yaml").touch()
    assert message(".") == "Expected a recipe, but `.` is a folder; name a file in it, such as `a.yaml`."


def test_what_cannot_be_looked_at_is_said(elsewhere: Path) -> None:
    assert message("x" * 251) == f"`{'x' * 251}.yaml` cannot be read: File name too long."
    assert message("x" * 300) == f"`{'x' * 300}` cannot be read: File name too long."
    (elsewhere / "file").touch()
    assert message("file/a.yaml") == "`file/a.yaml` cannot be read: Not a directory."
    assert message("a\0\x1bb") == "`a\\x00\\x1bb` cannot be read: no file can be called that."


def test_a_public_name_is_the_same_on_every_machine(tmp_path: Path) -> None:
    assert public_name(FOLDER / "pacs" / "ham.yaml") == "experiments/pacs/ham.yaml"
    assert public_name(tmp_path / "a" / ".." / "b.yaml") == public_name(Path("b.yaml")) == "b.yaml"
    assert public_name(tmp_path.parent / "c.yaml") == str(tmp_path.parent / "c.yaml")
