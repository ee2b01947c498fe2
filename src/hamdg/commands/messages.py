"""The library's words on the command line: warnings in one line, arguments spelled as flags."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TextIO

from hamdg.errors import HamdgError
from hamdg.merge.job import CommonStartWarning

# What the library calls its arguments in messages, and the command line spells as flags.
_ARGUMENT = re.compile(
    r"(?:argument |setting )?`(base|weights|buffers|lines|precision|dtype|device|threads|statistics|allow_nonfinite)`"
)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print the library's warnings in one line, without a file and a line number."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, CommonStartWarning):
            before(message, category, filename, lineno, file, line)
            return
        print(f"hamdg: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CommonStartWarning)
        warnings.showwarning = show
        yield


@contextmanager
def spelled_as_flags(sources: Collection[str]) -> Iterator[None]:
    """Let messages about the library's arguments name the flags that set them."""
    try:
        yield
    except HamdgError as error:
        text = _ARGUMENT.sub(lambda match: _flag_of(match, sources), str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error


def _flag_of(match: re.Match[str], sources: Collection[str]) -> str:
    """Return the flag for an argument's name; a source by that name is meant itself."""
    return match[0] if match[1] in sources else f"`--{match[1].replace('_', '-')}`"
