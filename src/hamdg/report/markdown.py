"""Markdown in which names and figures stay what they are, whatever characters they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hamdg.text import escaped

_ACTIVE = re.compile(r"[\\`*\[\]|~]")


def plain(text: str) -> str:
    """Return a text as Markdown that shows just it: on one line, without markup, HTML or links."""
    line = escaped(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\g<0>", line)


def fenced(text: str) -> str:
    """Return a text as a block of code, whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{escaped(text)}\n{fence}"


def table(head: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table of plain texts.

    Args:
        head: The columns' names.
        body: The lines.
        left: How many columns, from the first, hold words and not numbers.
    """
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join(
        line_of(line) for line in ([plain(name) for name in head], rule, *([plain(c) for c in line] for line in body))
    )


def line_of(cells: Sequence[str]) -> str:
    """Return one line of a table, whose cells are Markdown."""
    return f"| {' | '.join(cells)} |"
