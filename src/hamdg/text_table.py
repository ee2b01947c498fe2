"""Tables of text: plain aligned columns, and what a terminal draws; numbers are aligned to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines, one a row, below its headers and a rule."""
    widths = [max(len(line[column]) for line in (headers, *rows)) for column in range(len(headers))]
    numeric = _numeric_columns(headers, rows)
    lines = []
    for line in (headers, ["-" * width for width in widths], *rows):
        cells = zip(line, widths, numeric, strict=True)
        lines.append("  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in cells).rstrip())
    return lines


def drawn(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table that fits the width of the terminal on which rich prints it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header, right in zip(headers, _numeric_columns(headers, rows), strict=True):
        table.add_column(Text(header), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _numeric_columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    return [_is_numeric([row[column] for row in rows]) for column in range(len(headers))]


def _is_numeric(cells: Sequence[str]) -> bool:
    """Return whether a column holds numbers; a dash stands for one that is missing."""
    known = [cell for cell in cells if cell != "\N{EN DASH}"]
    return bool(known) and all(_is_number(cell) for cell in known)


def _is_number(cell: str) -> bool:
    return cell.strip(" %+-±.,0123456789/").lower() in ("", "e") and any(digit.isdigit() for digit in cell)
