"""JSON files that a run wrote, checked against their types when they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar, cast

from hamdg.errors import RunDirectoryError
from hamdg.text import reason_of
from hamdg.values import MismatchError, check

T = TypeVar("T")

# Far more than any run writes; what is larger is no such file, and reading it would take the memory.
LARGEST = 1 << 28
REPEAT = "repeat the run with `--force`"


def read(path: Path, kind: type[T], remedy: str = REPEAT) -> T:
    """Return what a JSON file of a run holds.

    Args:
        path: The file.
        kind: The `TypedDict` that describes it; keys that it does not have are passed on unchecked.
        remedy: What a message says is to be done.

    Raises:
        RunDirectoryError: The file is missing, cannot be read, is not JSON, or does not hold what it should.
    """
    try:
        value = load(path)
        check(value, kind)
        return cast("T", value)
    except FileNotFoundError:
        reason = "is missing"
    except OSError as error:
        reason = f"cannot be read ({reason_of(error).lower()})"
    except ValueError as error:
        raise damaged(path, str(error), remedy) from error
    raise RunDirectoryError(f"`{path}` {reason}; {remedy}.")


def load(path: Path) -> object:
    """Return what a JSON file holds, whatever it is.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, not even text, or larger or deeper than any that a run writes.
    """
    if path.stat().st_size > LARGEST:
        raise MismatchError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise MismatchError("it is nested too deeply") from error


def damaged(path: Path, what: str, remedy: str = REPEAT) -> RunDirectoryError:
    """Return the error for a file whose content is wrong."""
    return RunDirectoryError(f"`{path}` is damaged ({what}); {remedy}.")
