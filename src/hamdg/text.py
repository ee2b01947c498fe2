"""Names, lists of them and values as parts of sentences."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

# Control characters, separators of lines, marks of direction, and bytes of a name that are not UTF-8 (surrogates).
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_ARGUMENT = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |^\S|\Z)", re.MULTILINE | re.DOTALL)


def listed(names: Sequence[str], limit: int | None = None) -> str:
    """Return names in backticks, escaped; of more than `limit` the others are counted."""
    return shortened([f"`{escaped(name)}`" for name in names], limit)


def listed_in_words(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    *others, last = names or ("nothing",)
    return f"{', '.join(others)} and {last}" if others else last


def counted(number: int, name: str) -> str:
    """Return how many there are of something: `1 run`, `1,024 runs`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def shortened(parts: Sequence[str], limit: int | None = None) -> str:
    """Return parts separated by commas; of more than `limit` the others are counted."""
    shown = parts[:limit]
    more = f" and {len(parts) - len(shown)} more" if len(parts) > len(shown) else ""
    return ", ".join(shown) + more


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the end of a message about an unknown name: the known one most like it.

    Args:
        name: The name that was given.
        known: The names that there are.
        otherwise: What to return where none of them is like it.
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {listed(near)}?" if near else otherwise


def duration(seconds: float) -> str:
    """Return a time as people read it: `40 s`, `3:05 min`, `2:10 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02} h"


def capitalized(text: str) -> str:
    """Return a text with its first character in upper case, and all others as they are."""
    return text[:1].upper() + text[1:]


def as_title(name: str) -> str:
    """Return a name as it begins a sentence; those with capitals of their own, such as `mIoU`, as they are."""
    return capitalized(name) if name == name.lower() else name


def reason_of(error: OSError) -> str:
    """Return why a file or folder could not be used, such as `Permission denied`."""
    return error.strerror or str(error)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip(".")


def argument_texts(documentation: str) -> dict[str, str]:
    """Return what a Google docstring, its indentation removed, says about every argument."""
    _, _, arguments = documentation.partition("\nArgs:\n")
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(arguments.split("\n\n")[0])}


def escaped(text: str, keep: str = "") -> str:
    r"""Return a text in which all that a terminal would obey is written out: `\x1b`, `\n`, `\u202e`, `\udcff`.

    Args:
        text: The text.
        keep: Characters that are left as they are.
    """
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else _written_out(found[0]), text)


def excerpt(value: object, limit: int = 100) -> str:
    """Return a value as text for a message, escaped; of more than `limit` characters the first and the number."""
    text = str(value)
    return escaped(text if len(text) <= limit else f"{text[: limit - 20]}... ({len(text):,} characters)")


def is_encodable(text: str) -> bool:
    r"""Return whether a text can be written as UTF-8, but for bytes of a path that are none (`\udc80` to `\udcff`)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
