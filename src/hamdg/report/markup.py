"""HTML and SVG that is built, never pasted: whatever is no element already is escaped where one takes it in."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from hamdg.text import escaped

_EMPTY = ("img", "meta")
Value = str | int | float


class Html(str):
    """Text that is HTML. Anything made of it by hand, as with an f-string, is plain text again, and escaped as such."""

    __slots__ = ()


NOTHING = Html("")


def tag(name: str, /, *content: Value, **attributes: Value | None) -> Html:
    """Return an element.

    Args:
        name: What it is, such as `td`.
        content: What it holds: elements as they are, all else as text.
        attributes: Its attributes; `_` stands for `-`, and is dropped at the end (`class_`). `None` leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name in _EMPTY else f"<{name}{given}>{joined(content)}</{name}>")


def joined(parts: Iterable[Value], separator: str = "") -> Html:
    """Return elements and texts one after the other."""
    return Html(separator.join(part if isinstance(part, Html) else _text(part) for part in parts))


def _text(value: Value) -> str:
    return escape(escaped(str(value), keep="\n"))
