"""Which names a user's own domains and classes may have: they become folders, keys and words of tables."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hamdg.errors import DataError
from hamdg.text import escaped

_LONGEST = 200
# Files of a run would lie where the folder of such a domain lies.
_TAKEN = ("index.json", ".safetensors")


def check_names(what: str, kind: str, names: Sequence[str]) -> None:
    """Refuse names that a run could not write down; before anything is read.

    Args:
        what: What has these names, for messages.
        kind: What they name: `domain` or `class`.
        names: The names of folders, or of a hub's columns.

    Raises:
        DataError: One of the names is such a name; the message names it.
    """
    for name in names:
        if reason := _reason(name, kind):
            raise DataError(f"{what} has the {kind} `{escaped(name)}`, whose name {reason}; rename it.")


def _reason(name: str, kind: str) -> str:
    if not name.strip():
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not UTF-8"
    if escaped(name) != name:
        return "has control characters"
    if kind == "class":
        return ""
    # A hub's domains can be any texts, but a run has a folder for each.
    if "/" in name or name.startswith("."):
        return "cannot be that of a folder: it has a slash or begins with a dot"
    if len(os.fsencode(name)) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    return "is kept for files of a run" if name.casefold().endswith(_TAKEN) else ""
