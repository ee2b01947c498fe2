from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from hamdg.errors import RunDirectoryError
from hamdg.runs import schema


class Entry(TypedDict):
    step: int
    accuracy: float | None


class Everything(TypedDict):
    name: str
    kind: Literal["a", "b"]
    flag: bool
    entries: list[Entry]
    by_name: dict[str, float]
    first: Entry | None
    anything: object
    later: NotRequired[int]


WHOLE: dict[str, Any] = {
    "name": "x",
    "kind": "b",
    "flag": True,
    "entries": [{"step": 1, "accuracy": 0.5}, {"step": 2, "accuracy": None}],
    "by_name": {"photo": 1, "art": 0.25},
    "first": None,
    "anything": [{}],
}


@pytest.mark.parametrize("more", [{}, {"later": 3}, {"first": {"step": 1, "accuracy": 0}}, {"unknown": "is passed on"}])
def test_what_fits_is_returned_as_it_is(tmp_path: Path, more: dict[str, object]) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(WHOLE | more))
    assert schema.read(path, Everything) == WHOLE | more


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "a number for a text": ({"name": 3}, "expected `name` to be a string, but got `3`"),
    "another choice": ({"kind": "c"}, 'expected `kind` to be one of `a`, `b`, but got `"c"`'),
    "a number for a switch": ({"flag": 1}, "expected `flag` to be `true` or `false`, but got `1`"),
    "a switch for a number": ({"by_name": {"art": True}}, "expected `by_name.art` to be a number, but got `true`"),
    "a list for a mapping": ({"by_name": [1]}, "expected `by_name` to be a mapping of names to numbers, but got `[1]`"),
    "a mapping for a list": ({"entries": {}}, "expected `entries` to be a list of mappings, but got `{}`"),
    "a fraction for a count": (
        {"entries": [{"step": 0.5, "accuracy": 0}]},
        "expected `entries.0.step` to be an integer, but got `0.5`",
    ),
    "a missing key deep inside": ({"entries": [{"step": 1}]}, "`entries.0.accuracy` is missing"),
    "a text where null may be": (
        {"entries": [{"step": 1, "accuracy": "?"}]},
        'expected `entries.0.accuracy` to be a number or `null`, but got `"?"`',
    ),
    "a list where null may be": ({"first": []}, "expected `first` to be a mapping or `null`, but got `[]`"),
    "a number without end": ({"by_name": {"a": 10**400}}, "expected `by_name.a` to be a number, but got `1000"),
    "a name without end": (
        {"by_name": {"a" * 99: "b"}},
        f"expected `by_name.{'a' * 72}... (107 characters)` to be a number",
    ),
    "control characters": ({"by_name": {"\x1b[2J": "b"}}, r"expected `by_name.\x1b[2J` to be a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named_by_its_key(tmp_path: Path, case: str) -> None:
    values, said = WRONG[case]
    path = tmp_path / "file.json"
    path.write_text(json.dumps(WHOLE | values))
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(f'`{path}` is damaged ({said}')}") as caught:
        schema.read(path, Everything)
    assert str(caught.value).endswith("; repeat the run with `--force`.")
    assert len(str(caught.value)) < 300 + len(str(path))


CONTENTS: dict[str, tuple[bytes, str]] = {
    "a list": (b"[]", "is damaged (expected it to be a mapping, but got `[]`); "),
    "cut": (b'{"name": "x", "ki', "is damaged (Unterminated string"),
    "empty": (b"", "is damaged (Expecting value"),
    "no text": (b"\xff\xfe\x00", "is damaged ('utf-8' codec"),
    "nested": (b"[" * 200_000, "is damaged (it is nested too deeply); "),
    "a long number": (b'{"name": ' + b"1" * 5000 + b"}", "is damaged (Exceeds the limit"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_no_content_ends_in_anything_but_a_sentence(tmp_path: Path, case: str) -> None:
    content, said = CONTENTS[case]
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(f'`{path}` {said}')}"):
        schema.read(path, Everything)


def test_missing_folders_and_huge_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, folder, huge = tmp_path / "gone.json", tmp_path / "folder", tmp_path / "huge.json"
    folder.mkdir()
    huge.write_text("[" + "0, " * 9_999 + "0]")
    monkeypatch.setattr(schema, "LARGEST", 9_999)
    for path, said in {
        gone: "is missing; write it.",
        folder: "cannot be read (is a directory); write it.",
        huge: "is damaged (it is larger than 0 MiB); write it.",
    }.items():
        with pytest.raises(RunDirectoryError, match=f"^{re.escape(f'`{path}` {said}')}$"):
            schema.read(path, Everything, "write it")
