"""`hamdg recipes`: the recipes and sweeps that come with hamdg, as the comments at their head describe them.

Every shipped file begins with what it is for, then `Command:`, `Time:` and `Expected:`; notes may follow.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from hamdg import console
from hamdg.config.shipped import shipped_file, shipped_names
from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, listed

SUMMARY = "list the recipes and sweeps that come with hamdg: their command, time and expected number"
FIELDS = ("Command", "Time", "Expected")
_FIELD = re.compile(rf"# ({'|'.join(FIELDS)}): +(\S.*)")


class Head(NamedTuple):
    """What a shipped file says of itself."""

    purpose: str
    command: str
    time: str
    expected: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: mini/ham, or a folder such as pacs")
    parser.epilog = "Example: hamdg recipes mini"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what the arguments ask for and return the exit code."""
    chosen = {name: read_head(shipped_file(name)) for name in select(arguments.names)}
    console.result("\n\n".join(describe(name, head) for name, head in chosen.items()))
    console.result_json({"recipes": [{"name": name} | head._asdict() for name, head in chosen.items()]})
    return 0


def select(names: list[str]) -> list[str]:
    """Return the names of the shipped files that `names` choose; all where there are none.

    Args:
        names: Names of files, or of folders, which stand for all files in them.

    Raises:
        ConfigError: If a name is neither; the message has the nearest.
    """
    shipped = [*shipped_names("recipe"), *shipped_names("sweep file")]
    folders = list(dict.fromkeys(Path(name).parent.name for name in shipped))
    for name in names:
        if name not in shipped and name not in folders:
            hint = did_you_mean(name, [*shipped, *folders], f"folders of them are {listed(folders)}.")
            raise ConfigError(f"There is no recipe `{name}` that comes with hamdg; {hint}")
    return [name for name in shipped if not names or name in names or Path(name).parent.name in names]


def describe(name: str, head: Head) -> str:
    """Return a paragraph on a shipped file."""
    first, dot, _ = head.purpose.partition(". ")
    lines = [f"{name}  {first}{dot.strip()}"]
    lines += [f"    {field.lower():<10}{getattr(head, field.lower())}" for field in FIELDS]
    return "\n".join(lines)


def read_head(path: Path) -> Head:
    """Return what the comments at the head of a recipe or a sweep file say.

    Raises:
        ConfigError: If one of the fields is missing.
    """
    found: dict[str, str] = {"Purpose": ""}
    field = "Purpose"
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or (line == "#" and field == FIELDS[-1]):
            break  # notes, or the recipe itself
        if (start := _FIELD.fullmatch(line)) is not None:
            field, text = start.groups()
            found[field] = text
        else:
            found[field] = f"{found[field]} {line.removeprefix('#').strip()}".strip()
    if missing := [name for name in FIELDS if name not in found]:
        raise ConfigError(f"The comments at the head of `{path}` lack {listed(missing)}.")
    command, time, expected = (found[name] for name in FIELDS)
    # `(or: make demo)` is for a checkout, which has the Makefile.
    return Head(found["Purpose"], command.partition("  ")[0], time, expected)
