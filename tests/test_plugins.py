from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError
from hamdg.plugins import load_plugin, plugins

if TYPE_CHECKING:
    from tests.conftest import Plugin

GROUP = "hamdg.launchers"


def test_what_no_package_brings_is_not_there() -> None:
    assert plugins("hamdg.nothing") == {}


def test_entry_points_are_listed_by_name_without_importing_them(plugin: Plugin) -> None:
    plugin("late", GROUP, {"zebra": "late:one"}, "raise SystemError('imported')")
    plugin("early", GROUP, {"ant": "early:one"}, "raise SystemError('imported')")
    assert list(plugins(GROUP)) == ["ant", "zebra"]


def test_an_entry_point_is_loaded(plugin: Plugin) -> None:
    plugin("answers", GROUP, {"answer": "answers:one"}, "one = 42")
    assert load_plugin(GROUP, "answer", "launcher") == 42


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "AttributeError: module 'broken_one' has no attribute 'one'"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named(plugin: Plugin, code: str, reason: str) -> None:
    plugin("broken-one", GROUP, {"answer": "broken_one:one"}, code)
    message = f"The launcher `answer` of the package `broken-one` cannot be loaded ({reason}); "
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}repair or remove that package.$"):
        load_plugin(GROUP, "answer", "launcher")


def test_two_packages_with_one_name_are_both_named(plugin: Plugin) -> None:
    plugin("first", GROUP, {"answer": "first:one"}, "one = 1")
    plugin("second", GROUP, {"answer": "second:one"}, "one = 2")
    message = "The packages `first` and `second` both bring a launcher called `answer`; remove one of them."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load_plugin(GROUP, "answer", "launcher")


def test_a_package_that_lies_twice_on_the_path_is_one(
    plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("answers", GROUP, {"answer": "answers:one"}, "one = 42")
    (tmp_path / "answers-1.0.dist-info").rename(tmp_path / "answers_again-1.0.dist-info")
    plugin("answers", GROUP, {"answer": "answers:one"}, "one = 42")
    assert load_plugin(GROUP, "answer", "launcher") == 42
