from __future__ import annotations

import re
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.commands.recipes import Head, read_head
from hamdg.config.shipped import shipped_names
from hamdg.errors import ConfigError
from tests.conftest import CpuTime


def test_all_recipes_and_sweeps_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recipes"]) == 0
    paragraphs = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert [text.split()[0] for text in paragraphs] == [*shipped_names("recipe"), *shipped_names("sweep file")]
    for text in paragraphs:
        assert [line.split()[0] for line in text.splitlines()[1:]] == ["command", "time", "expected"]


def test_a_recipe_is_described_by_its_own_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes", "mini/erm"]) == 0
    first, command, time, expected = capsys.readouterr().out.splitlines()
    assert first.startswith("mini/erm  The control that HAM is compared with: ")
    assert command == "    command   hamdg run mini/erm"
    assert re.fullmatch(r"    time      about \d+ s on 2 CPU cores", time)
    assert expected.endswith(" over 3 seeds (docs/results.md)")


def test_a_folder_stands_for_all_of_its_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes", "pacs", "vlcs/ham"]) == 0
    starts = re.findall(r"^(\w\S*)", capsys.readouterr().out, re.MULTILINE)
    assert starts == [*(name for name in shipped_names("recipe") if name.startswith("pacs/")), "vlcs/ham"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mini/hem", "did you mean `mini/ham`?"),
        ("pasc", "did you mean `pacs`?"),
        ("zzz", "folders of them are `custom`"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes", name]) == 2
    assert capsys.readouterr().err.startswith(
        f"hamdg: error: There is no recipe `{name}` that comes with hamdg; {hint}"
    )


def test_listing_recipes_is_fast_and_imports_no_torch(cpu_time: CpuTime) -> None:
    code = (
        "import sys; from hamdg.cli import main; main(['recipes']); print(sorted({'torch', 'yaml'} & {*sys.modules}))"
    )
    seconds, said = cpu_time(code)
    assert said.splitlines()[-1] == "[]"
    assert seconds < 1.0


HEAD = """# What it is for,
# in two lines.
#
# Command:   hamdg run a/b          (or: make it)
# Time:      about 5 s on 2 CPU cores,
#            or more
# Expected:  1 %
#
# A note, Time: never
benchmark: mini  # Time: not this one
"""


def test_a_head_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(HEAD)
    expected = ("What it is for, in two lines.", "hamdg run a/b", "about 5 s on 2 CPU cores, or more", "1 %")
    assert read_head(path) == Head(*expected)


def test_a_head_that_lacks_a_field_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(HEAD.replace("# Time:  ", "# Tme:   ").replace("Expected:", "Expect:"))
    with pytest.raises(ConfigError, match=re.escape(f"The comments at the head of `{path}` lack `Time`, `Expected`.")):
        read_head(path)
