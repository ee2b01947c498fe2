"""The library's messages on the command line: warnings in one line, arguments spelled as flags."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hamdg.commands.merging.flags import FLAGS
from hamdg.errors import Argument, ConfigError, WeightsError
from hamdg.files import write_text
from hamdg.merge.lora.files import TruncationWarning
from hamdg.merge.tensor_checks import CommonStartWarning


@contextmanager
def plain_words(options: Collection[str] = ()) -> Iterator[None]:
    """Print the library's warnings in one line without a file, and let its messages name flags, not arguments.

    Args:
        options: Names of the method's own options.
    """
    before = warnings.showwarning

    def spell(argument: Argument) -> str:
        flag = f"--{argument.name.replace('_', '-')}"
        return f"`{flag}`" if flag in FLAGS or argument.name in options else str(argument)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if isinstance(message, CommonStartWarning | TruncationWarning):
            print(f"hamdg: warning: {message.spelled(spell)}", file=sys.stderr)
        else:
            before(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CommonStartWarning)
        warnings.simplefilter("always", TruncationWarning)
        warnings.showwarning = show
        try:
            yield
        except ConfigError as error:
            raise ConfigError(error.spelled(spell)) from error
        except WeightsError as error:
            raise WeightsError(error.spelled(spell) + _kept(error.details)) from error


def _kept(details: str) -> str:
    """Keep the whole list of what an error names a few of in a file, and return the sentence that names it.

    The file's name is that of its content, so that the same call, repeated, leaves one file.
    """
    if not details:
        return ""
    digest = hashlib.sha256(details.encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"hamdg-merge-{digest}.txt"
    try:
        write_text(path, details)
    except OSError:
        return ""  # The message names the first ones.
    return f" The whole list is in `{path}`."
