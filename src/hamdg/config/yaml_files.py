"""Reads the YAML that users write: YAML 1.2's scalars, every key once and as written, limits on what a file may be."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, escaped, is_encodable, reason_of

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 10_000
_MAX_DIGITS = 40

_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2, in which `1:30`, `yes` and dates are texts; also numbers grouped by underscores. Leading
# zeros are octal in YAML 1.1 and decimal in 1.2, so that they make a text here.
_WHOLE = r"(0|[1-9][0-9]*|[1-9][0-9]{0,2}(_[0-9]{3})+)"
_INTEGER = re.compile(rf"[-+]?{_WHOLE}|0x[0-9a-fA-F]+|0o[0-7]+")
_SCALARS = (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", _INTEGER.pattern, "-+0123456789"),
    (
        "float",
        rf"[-+]?({_WHOLE}(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


@dataclass(frozen=True)
class Document:
    """What a YAML text says, and where.

    Args:
        values: Mappings (their keys are texts as written), lists, texts, numbers, `True`, `False` and `None`.
        lines: The line of every key, by its dotted path; items of a list count from 0.
    """

    values: object
    lines: Mapping[str, int]


def read_yaml(path: Path, what: str, hint: str = "give the path of a YAML file.") -> Document:
    """Read a YAML file.

    Args:
        path: The file.
        what: What it is, for messages: "recipe", "sweep file".
        hint: The end of the message about a missing file, where no other file is called nearly the same.

    Raises:
        ConfigError: If it is missing, no regular file, too large, no UTF-8, no YAML, refers to itself, is nested too
            deeply or gives a key twice.
    """
    content = _content(path, what, hint)
    if len(content) > MAX_BYTES:
        size = max(path.stat().st_size, len(content)) / 1024
        raise ConfigError(
            f"{what.capitalize()} `{path}` is too large for one ({size:,.0f} KiB; at most {MAX_BYTES // 1024})."
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{what.capitalize()} `{path}` is not a text file in UTF-8; give the path of a YAML file."
        ) from None
    return parse_yaml(text, f"`{path}`")


def parse_yaml(text: str, place: str) -> Document:
    """Read YAML.

    Args:
        text: The YAML.
        place: Where it stands, for messages: "`file.yaml`", "the command line".

    Raises:
        ConfigError: If it is not YAML, refers to itself, is nested too deeply or gives a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        _note_lines(node, "", lines, place)
        return Document(None if node is None else loader.construct_document(node), lines)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"Invalid YAML in {place}, line {line}: the character U+{error.character:04X} is not allowed."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line_of = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"Invalid YAML in {place}{line_of}: {escaped(error.problem or 'it cannot be parsed')}."
        ) from None


def dump_yaml(values: object) -> str:
    """Return YAML from which `parse_yaml`, and readers of YAML 1.1 too, get the same values back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which also quotes texts that only YAML 1.2 takes for numbers (`1e3`)."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with the core schema of YAML 1.2, keys that are texts, and limits.

    Args:
        text: The YAML.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        # By id, of nodes that the tree keeps: how many nodes lie below, aliases counted as often as they stand, and
        # how deep. Nodes that are not finished have none.
        self._extent: dict[int, tuple[int, int]] = {}

    def fetch_more_tokens(self) -> None:
        """Read on; what PyYAML cannot make a character or a version of is a mistake in the text.

        Raises:
            yaml.MarkedYAMLError: There is such a number.
        """
        try:
            super().fetch_more_tokens()
        except (ValueError, OverflowError):
            mark = self.get_mark()
            raise _problem("the number of an escaped character or of a version is too large", mark) from None

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node while it stays within the limits.

        Raises:
            yaml.MarkedYAMLError: If it does not, or if it refers to itself.
        """
        start = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise _problem(f"nested more than {MAX_DEPTH} levels deep", start)
        if self._count > MAX_NODES:
            raise _too_many(start)
        node = super().compose_node(parent, index)
        self._depth -= 1
        assert node is not None
        if is_alias:
            if id(node) not in self._extent:
                raise _problem("an anchor that refers to itself", start)
            return node
        if isinstance(node, yaml.ScalarNode):
            node.value = _whole_characters(node)
        size, depth = self._extent_below(node)
        if depth > MAX_DEPTH:
            raise _problem(f"nested more than {MAX_DEPTH} levels deep", start)
        if size > MAX_NODES:
            raise _too_many(start)
        self._extent[id(node)] = (size, depth)
        return node

    def _extent_below(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.MappingNode):
            node.value = [(_text_key(name), child) for name, child in node.value]
        extents = [self._extent[id(child)] for child in _children(node)]
        return 1 + sum(size for size, _ in extents), 1 + max((depth for _, depth in extents), default=0)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer."""
        text = self.construct_scalar(node)
        if not _INTEGER.fullmatch(text):
            raise _problem(f"`{text[:_MAX_DIGITS]}` is not an integer", node.start_mark)
        if len(text) > _MAX_DIGITS:
            raise _problem(f"a number of more than {_MAX_DIGITS} characters", node.start_mark)
        return int(text, 0) if text.startswith(("0x", "0o")) else int(text)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Return a number."""
        text = self.construct_scalar(node)
        try:
            return float(re.sub(r"\.(?=[iInN])", "", text))
        except ValueError:
            raise _problem(f"`{text[:_MAX_DIGITS]}` is not a number", node.start_mark) from None

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        """Return `True` or `False`."""
        text = self.construct_scalar(node)
        if text.lower() not in ("true", "false"):
            raise _problem(f"`{text[:_MAX_DIGITS]}` is neither `true` nor `false`", node.start_mark)
        return text.lower() == "true"


for _name, _form, _first in _SCALARS:
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), list(_first))
for _name in ("int", "float", "bool"):
    _Loader.add_constructor(f"{_TAG}{_name}", getattr(_Loader, f"construct_{_name}"))


def _text_key(name: yaml.Node) -> yaml.Node:
    """Return a key as a text: `1`, `no` and `1.0` name something as they are written."""
    if name.tag == f"{_TAG}merge":
        return name
    if not isinstance(name, yaml.ScalarNode):
        raise _problem("a key has to be a text", name.start_mark)
    return yaml.ScalarNode(f"{_TAG}str", name.value, name.start_mark, name.end_mark, name.style)


def _whole_characters(node: yaml.ScalarNode) -> str:
    """Return a text in which the two halves of a character, as JSON escapes them, are one.

    Raises:
        yaml.MarkedYAMLError: There is half a character that is no byte of a path either, so that nothing can write it.
    """
    text = str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if not is_encodable(text):
        raise _problem(f"`{escaped(text[:_MAX_DIGITS])}` has an escape that is half a character", node.start_mark)
    return text


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for _, child in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _too_many(mark: yaml.Mark | None) -> yaml.MarkedYAMLError:
    return _problem(f"more than {MAX_NODES:,} values, aliases counted as often as they stand", mark)


def _problem(text: str, mark: yaml.Mark | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)


def _note_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int], place: str) -> None:
    """Enter the line of every dotted key.

    Raises:
        ConfigError: If one is given twice; YAML itself would let the second one win.
    """
    merged: list[yaml.Node] = []
    for name, marked, child in _entries(node):
        if marked.tag == f"{_TAG}merge":
            merged += child.value if isinstance(child, yaml.SequenceNode) else [child]
            continue
        key, line = f"{prefix}{name}", marked.start_mark.line + 1
        if key in lines:
            raise ConfigError(
                f"`{escaped(key)}` is given twice in {place}, in lines {lines[key]} and {line}; keep one of them."
            )
        lines[key] = line
        _note_lines(child, f"{key}.", lines, place)
    for child in merged:
        others: dict[str, int] = {}
        _note_lines(child, prefix, others, place)
        for key, line in others.items():
            lines.setdefault(key, line)


def _entries(node: yaml.Node | None) -> list[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(name.value), name, child) for name, child in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(position), child, child) for position, child in enumerate(node.value)]
    return []


def _content(path: Path, what: str, hint: str) -> bytes:
    """Return a regular file's bytes, one more than it may have where it has more."""
    if "\0" in str(path) or not is_encodable(str(path)):
        raise ConfigError(f"No file can be called `{escaped(str(path))}`; {hint}")
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{what.capitalize()} `{path}` cannot be read: {_no_file(mode)}.")
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(_missing(path, what, hint)) from None
    except OSError as error:
        raise ConfigError(f"{what.capitalize()} `{path}` cannot be read: {reason_of(error)}.") from None


def _no_file(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "it is a folder"
    return f"it is {'a pipe' if stat.S_ISFIFO(mode) else 'a device or socket'}; save it as a file"


def _missing(path: Path, what: str, hint: str) -> str:
    try:
        others = [str(other) for other in sorted(path.parent.glob("*.yaml"))]
    except OSError:
        others = []
    return f"There is no {what} `{path}`; {did_you_mean(str(path), others, hint)}"
