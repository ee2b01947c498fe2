"""Tables as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from hamdg.report.tables.grid import Grid, Marks, grids
from hamdg.report.tables.model import Table
from hamdg.report.tables.wording import legend
from hamdg.text import escaped

_MARKS = Marks("*{}", "~{}")


def text(tables: Sequence[Table]) -> str:
    """Return tables as aligned columns, with what is to be said of them below each; no trailing newline."""
    return "\n\n\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    parts = [_aligned(grid) for grid in grids(table, _MARKS)]
    below = [table.caption, legend(table, "*", "~"), *table.notes]
    parts.append("\n".join(one for one in below if one))
    if table.problems:
        parts.append("\n".join(f"- {one}" for one in table.problems))
    return escaped("\n\n".join(parts), keep="\n")


def _aligned(grid: Grid) -> str:
    widths = [max(map(len, column)) for column in zip(grid.header, *grid.lines, strict=True)]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    first, *others = (_line(line, widths) for line in (grid.header, *grid.lines))
    return "\n".join([grid.title, "", first, rule, *others])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = cells
    padded = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *padded]).rstrip()
