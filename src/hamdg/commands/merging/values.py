"""Values on the command line: read from texts, refused by the name of their flag, and shown again."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from hamdg.commands.numbers import check_count
from hamdg.digests import TITLES
from hamdg.errors import ConfigError

# A whole number of more digits is a slip.
_DIGITS = 10


def shown(value: object) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_text(flag: str, value: str) -> str:
    """Return a text as it is."""
    return value


def as_path(flag: str, value: str) -> Path:
    """Return a text as a path."""
    return Path(value)


def choice(*choices: str) -> Callable[[str, str], str]:
    """Return what accepts one of several words."""

    def read(flag: str, value: str) -> str:
        if value not in choices:
            raise ConfigError(f"There is no `{flag} {value}`; {nearest(value, choices)}")
        return value

    return read


def count(most: int | None = None) -> Callable[[str, str], int]:
    """Return what accepts a whole number from 1 to `most`."""

    def read(flag: str, value: str) -> int:
        if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS) or int(value) < 1:
            raise ConfigError(f"Expected `{flag}` to be an integer of at least 1, but got `{value}`.")
        if most is not None:
            check_count(flag, int(value), most)
        return int(value)

    return read


def two_numbers(flag: str, value: str) -> tuple[float, float]:
    """Return the two numbers of `A,B`."""
    parts = value.split(",")
    if len(parts) != 2 or not all(is_number(part) and math.isfinite(float(part)) for part in parts):
        raise ConfigError(f"Expected `{flag}` to be two numbers, such as `0.5,0.5`, but got `{value}`.")
    return float(parts[0]), float(parts[1])


def hash_name(flag: str, value: str) -> str:
    """Return the name of a hash."""
    if value not in TITLES:
        names = " or ".join(f"`{name}`" for name in TITLES)
        raise ConfigError(f"Expected files to be digested with {names}, but got `{value}`.")
    return value


def is_number(value: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def nearest(name: str, known: Sequence[str], others: Sequence[str] = ()) -> str:
    """Return the end of a message about an unknown name: the known one that was meant, or which there are.

    Args:
        name: What the user wrote.
        known: What is listed if none is near.
        others: What could have been meant, too, but only if it is quite near.
    """
    near = [*difflib.get_close_matches(name, known, n=1), *difflib.get_close_matches(name, others, n=1, cutoff=0.8)]
    if near:
        return f"did you mean `{near[0]}`?"
    return f"it can be {', '.join(f'`{one}`' for one in known)}." if known else "it takes none."
