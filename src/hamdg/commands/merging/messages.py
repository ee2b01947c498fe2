"""The library's words on the command line: warnings in one line, arguments spelled as flags."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hamdg.errors import HamdgError, WeightsError
from hamdg.files import write_text
from hamdg.merge.lora.files import TruncationWarning
from hamdg.merge.tensor_checks import CommonStartWarning

# What the library calls its arguments in messages, and the command line spells as flags.
_NAMES = (
    *("base", "weights", "buffers", "lines", "precision", "dtype", "device", "threads", "statistics"),
    *("allow_nonfinite", "prefix", "prefixes", "key", "keys", "out", "lora_rank"),
)
_SINGULAR = {"prefixes": "prefix", "keys": "key"}
_ARGUMENT = re.compile(rf"(?:argument |setting )?`({'|'.join(_NAMES)})`")
# Messages about models name tensors, which may be called `base` or `weights`, but only these arguments.
_OF_MODELS = re.compile(r"`(buffers|dtype|precision|allow_nonfinite|prefix|key)`")

# Options of methods may be called as tensors are; only what a message calls an argument is meant.
_OPTION = re.compile(r"argument `(\w+)`")


@contextmanager
def plain_words(sources: Collection[str], options: Collection[str] = ()) -> Iterator[None]:
    """Print the library's warnings in one line without a file, and let its messages name flags, not arguments.

    Args:
        sources: Names of the sources; one that is called like an argument is meant itself.
        options: Names of the method's own options.
    """
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, CommonStartWarning | TruncationWarning):
            before(message, category, filename, lineno, file, line)
            return
        print(f"hamdg: warning: {_spelled(str(message), sources, options)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CommonStartWarning)
        warnings.simplefilter("always", TruncationWarning)
        warnings.showwarning = show
        try:
            yield
        except HamdgError as error:
            pattern = _OF_MODELS if isinstance(error, WeightsError) else _ARGUMENT
            text = _spelled(str(error), sources, options, pattern)
            raise type(error)(text + _kept(error)) from error


def _kept(error: HamdgError) -> str:
    """Keep the whole list of what an error names a few of in a file, and return the sentence that names it.

    The file's name is that of its content, so that the same call, repeated, leaves one file.
    """
    details = getattr(error, "details", "")
    if not details:
        return ""
    digest = hashlib.sha256(details.encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"hamdg-merge-{digest}.txt"
    try:
        write_text(path, details)
    except OSError:
        return ""  # The message names the first ones.
    return f" The whole list is in `{path}`."


def _spelled(
    text: str, sources: Collection[str], options: Collection[str], arguments: re.Pattern[str] = _ARGUMENT
) -> str:
    def flag(match: re.Match[str]) -> str:
        name = _SINGULAR.get(match[1], match[1])
        return match[0] if match[1] in sources else f"`--{name.replace('_', '-')}`"

    def option(match: re.Match[str]) -> str:
        return f"`--{match[1].replace('_', '-')}`" if match[1] in options else match[0]

    return _OPTION.sub(option, arguments.sub(flag, text))
