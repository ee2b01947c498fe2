from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest
import yaml

from hamdg.config.yaml_files import MAX_BYTES, dump_yaml, parse_yaml, read_yaml
from hamdg.errors import ConfigError


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "`f`")
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01 10:00:00", "2020-01-01 10:00:00"),
        ("010", "010"),
        ("0b11", "0b11"),
        ("1_0", "1_0"),
        ("=", "="),
        ("nan", "nan"),
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("5_000", 5000),
        ("0x10", 16),
        ("0o17", 15),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        (".5", 0.5),
        ("-1.", -1.0),
        ("1_000.5", 1000.5),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("'12'", "12"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(text, "`f`").values
    assert (found, type(found)) == (value, type(value))


def test_halves_of_a_character_are_one_as_in_json() -> None:
    assert parse_yaml(json.dumps({"\U0001f600": "\U0001f480"}), "`f`").values == {"\U0001f600": "\U0001f480"}


def test_not_a_number_is_a_number() -> None:
    found = parse_yaml(".nan", "`f`").values
    assert isinstance(found, float)
    assert math.isnan(found)


def test_keys_are_texts_as_written() -> None:
    text = "1: a\nno: b\n1.0: c\n2020-01-01: d\ntrue: e\n~: f\n'<<': g\n"
    expected = {"1": "a", "no": "b", "1.0": "c", "2020-01-01": "d", "true": "e", "~": "f", "<<": "g"}
    assert parse_yaml(text, "`f`").values == expected


def test_every_key_has_its_line() -> None:
    text = "# head\na:\n  b: 1\n  c: [x, {d: 1}]\ne: {f:\n  2}\n"
    assert dict(parse_yaml(text, "`f`").lines) == {
        "a": 2,
        "a.b": 3,
        "a.c": 4,
        "a.c.0": 4,
        "a.c.1": 4,
        "a.c.1.d": 4,
        "e": 5,
        "e.f": 5,
    }


def test_anchors_and_merged_mappings_are_read() -> None:
    text = "one: &one {a: 1, b: 2}\ntwo:\n  <<: *one\n  b: 3\nthree: *one\n"
    document = parse_yaml(text, "`f`")
    assert document.values == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}, "three": {"a": 1, "b": 2}}
    assert (document.lines["two.a"], document.lines["two.b"]) == (1, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "`a` is given twice in `f`, in lines 1 and 3; keep one of them."),
        ("a: {b: 1,\n 'b': 2}", "`a.b` is given twice in `f`, in lines 1 and 2; keep one of them."),
        ("- {b: 1,\n   b: 2}", "`0.b` is given twice in `f`, in lines 1 and 2; keep one of them."),
        ("1: x\n'1': y", "`1` is given twice in `f`, in lines 1 and 2; keep one of them."),
        ("a: &a [*a]", "Invalid YAML in `f`, line 1: an anchor that refers to itself."),
        ("a: &a\n  b: {<<: *a}", "Invalid YAML in `f`, line 2: an anchor that refers to itself."),
        ("a: *b", "Invalid YAML in `f`, line 1: found undefined alias 'b'."),
        ("[" * 21 + "]" * 21, "Invalid YAML in `f`, line 1: nested more than 20 levels deep."),
        ("[" * 100_000, "Invalid YAML in `f`, line 1: nested more than 20 levels deep."),
        ("? [a]\n: 1", "Invalid YAML in `f`, line 1: a key has to be a text."),
        ("a: !!binary aGk=", "Invalid YAML in `f`, line 1: could not determine a constructor for the tag"),
        ("a: !!timestamp 2020-01-01", "Invalid YAML in `f`, line 1: could not determine a constructor for the tag"),
        ("a: !!set {b}", "Invalid YAML in `f`, line 1: could not determine a constructor for the tag"),
        ("a: !!int 1:30", "Invalid YAML in `f`, line 1: `1:30` is not an integer."),
        ("a: !!float x", "Invalid YAML in `f`, line 1: `x` is not a number."),
        ("a: !!bool yes", "Invalid YAML in `f`, line 1: `yes` is neither `true` nor `false`."),
        ("\na: " + "9" * 5000, "Invalid YAML in `f`, line 2: a number of more than 40 characters."),
        ("a: 1\nb: \x00", "Invalid YAML in `f`, line 2: the character U+0000 is not allowed."),
        ("a: \x1b[31m", "Invalid YAML in `f`, line 1: the character U+001B is not allowed."),
        (
            '\na: "\\U00110000"',
            "Invalid YAML in `f`, line 2: the number of an escaped character or of a version is too",
        ),
        ('a: "\\UFFFFFFFF"', "Invalid YAML in `f`, line 1: the number of an escaped character or of a version is too"),
        (f"%YAML {'1' * 5000}.1\n--- a", "Invalid YAML in `f`, line 1: the number of an escaped character or of a"),
        ('\na: ["b", "\\ud800"]', "Invalid YAML in `f`, line 2: `\\ud800` has an escape that is half a character."),
        ('"\\udc00": 1', "Invalid YAML in `f`, line 1: `\\udc00` has an escape that is half a character."),
        ("a: 1\n---\nb: 2", "Invalid YAML in `f`, line 2: but found another document."),
        ("a: [1\n", "Invalid YAML in `f`, line 2: expected ',' or ']', but got '<stream end>'."),
        (
            "{<<: 1}",
            "Invalid YAML in `f`, line 1: expected a mapping or list of mappings for merging",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, said: str) -> None:
    found = message(text)
    assert found == said if said[-1] == "." else found.startswith(said), found


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)),
        "[" + "1," * 12_000 + "]",
    ],
)
def test_bombs_of_anchors_are_refused_at_once(text: str) -> None:
    started = time.process_time()
    assert message(text).endswith("more than 10,000 values, aliases counted as often as they stand.")
    assert time.process_time() - started < 3


def test_a_chain_of_anchors_counts_as_nested() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))
    assert message(text).endswith("nested more than 20 levels deep.")


TEXTS = (
    "1e3",
    "-.5E3",
    "0o17",
    "1_000",
    "010",
    "1:30",
    "yes",
    "Off",
    "~",
    "<<",
    "=",
    "2020-01-01",
    "nan",
    "",
    " a",
    "{a}",
)


@pytest.mark.parametrize(
    "text", [*TEXTS, "größe", "a: b", "- c", "#d", "\x1b", "caf\udce9", "\U0001f600", "a\nb", "[b]"]
)
def test_what_is_written_is_read_back_by_readers_of_both_versions(text: str) -> None:
    values: dict[str, object] = {"a": text, text or "b": [text, 1, 1.0, 1e-05, 1e300, math.inf, True, None, {}]}
    written = dump_yaml(values)
    assert parse_yaml(written, "`f`").values == values
    assert yaml.safe_load(written) == values


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(path, "sweep file")
    return str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: gr\xc3\xb6\xc3\x9fe\r\n")
    assert read_yaml(path, "sweep file").values == {"a": "größe"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: gr\xf6\xdfe\n", "is not a text file in UTF-8; give the path of a YAML file."),
        ("a: 1".encode("utf-16"), "is not a text file in UTF-8; give the path of a YAML file."),
        (b"# " + b"x" * MAX_BYTES, "is too large for one (256 KiB; at most 256)."),
    ],
)
def test_what_is_no_text_or_too_large_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert refusal(path) == f"Sweep file `{path}` {said}"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == (
        f"Sweep file `{tmp_path}/pipe` cannot be read: it is a pipe; save it as a file."
    )
    assert refusal(Path("/dev/zero")) == (
        "Sweep file `/dev/zero` cannot be read: it is a device or socket; save it as a file."
    )
    assert refusal(tmp_path) == f"Sweep file `{tmp_path}` cannot be read: it is a folder."
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "loop").endswith("cannot be read: Too many levels of symbolic links.")
    assert refusal(tmp_path / ("x" * 300)).endswith("cannot be read: File name too long.")
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "a.yaml").endswith("cannot be read: Not a directory.")
    assert refusal(tmp_path / "\ud800") == f"No file can be called `{tmp_path}/\\ud800`; give the path of a YAML file."
    assert refusal(tmp_path / "a\0b") == (f"No file can be called `{tmp_path}/a\\x00b`; give the path of a YAML file.")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.yaml") == (
        f"There is no sweep file `{tmp_path}/a.yaml`; give the path of a YAML file."
    )
    (tmp_path / "ab.yaml").touch()
    assert refusal(tmp_path / "a.yaml") == (
        f"There is no sweep file `{tmp_path}/a.yaml`; did you mean `{tmp_path}/ab.yaml`?"
    )
