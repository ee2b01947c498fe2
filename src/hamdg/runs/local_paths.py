"""Absolute paths of one machine, shortened to what they lead to, at the places of a record that hold paths."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import pairwise

# Keys of a recipe that may hold a path; all but the last three can be something else, too.
PATH_KEYS = (
    "model.name",
    "model.weights",
    "model.class_rows",
    "data.hub",
    "data.words",
    "data.root",
    "data.lists",
    "data.cache",
)
# The beginning of an absolute path, then the folders up to its last name.
_ABSOLUTE = r"(?:file://)?(?:~[\w.-]*/|[A-Za-z]:[/\\]|/(?=.))"
_FOLDERS = re.compile(rf"\A{_ABSOLUTE}(?:.*[/\\](?=.))?", re.DOTALL)
# The same of a value in a mapping: `{root: /a/b}`.
_FOLDERS_INSIDE = re.compile(rf"(:\s*['\"]?){_ABSOLUTE}(?:[^{{}}\[\],'\"]*[/\\](?=[^{{}}\[\],'\"]))?")


def is_absolute(text: str) -> bool:
    """Return whether a path leads somewhere on this machine alone."""
    return _FOLDERS.match(text) is not None


def shortened(path: str) -> str:
    """Return the last name of an absolute path; others stay as they are."""
    return _FOLDERS.sub("", path)


def shortened_keys(by_path: Mapping[str, object]) -> dict[str, object]:
    """Return what is said of absolute paths by as few of their last names as tell them apart."""
    names = {path: tuple(re.split(r"[/\\]+", path)) for path in by_path}
    return {_ending(path, names): value for path, value in by_path.items()}


def _ending(path: str, names: Mapping[str, tuple[str, ...]]) -> str:
    if not is_absolute(path):
        return path
    own, others = names[path], [names[other] for other in names if other != path]
    for count in range(1, len(own)):
        if all(other[-count:] != own[-count:] for other in others):
            return "/".join(own[-count:])
    return "/".join(own[1:])


def shortened_command(command: str) -> str:
    """Return a command whose absolute paths are shortened; the label that it gives stays as it is."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark without its other one
        words = command.split()
    found = list(_shortened_words(words))
    return command if found == words else shlex.join(found)


def _shortened_words(words: Iterable[str]) -> Iterable[str]:
    for before, word in pairwise(("", *words)):
        key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if "--label" in (key, before):
            yield word
        else:
            short = _FOLDERS_INSIDE.sub(r"\1", value) if value.startswith("{") else shortened(value)
            yield f"{key}{equals}{short}"
