"""Tables as Markdown and as LaTeX, with what is to be said of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hamdg.report.markdown import line_of, plain
from hamdg.report.tables.grid import Grid, Marks, grids
from hamdg.report.tables.model import Table
from hamdg.report.tables.wording import legend
from hamdg.text import escaped

# Marks that no text holds, so that texts can be escaped around them.
_BEST, _TIED, _END = "\x01", "\x02", "\x03"
MARKS = Marks(f"{_BEST}{{}}{_END}", f"{_TIED}{{}}{_END}")

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{SQUARE ROOT}": r"$\surd$",
    "\N{DAGGER}": r"\dag{}",
}
_LATEX_ACTIVE = re.compile("|".join(re.escape(character) for character in _LATEX))


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown; the best is bold, what is tied with it italic."""
    return "\n\n".join(_markdown(table) for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """Return tables as LaTeX; the best is bold, what is tied with it underlined. They need the package booktabs."""
    return "\n\n".join(["% Needs \\usepackage{booktabs} in the preamble.", *(_latex(table) for table in tables)])


def _markdown(table: Table) -> str:
    parts = []
    for number, grid in enumerate(grids(table, MARKS)):
        parts.append(f"{'###' if number == 0 else '####'} {plain(grid.title)}")
        parts.append(markdown_grid(grid))
    parts += [markdown_sentence(one) for one in (*reading(table), *table.notes)]
    if table.problems:
        parts.append(markdown_problems(table))
    return "\n\n".join(parts)


def markdown_grid(grid: Grid) -> str:
    """Return the lines of a table whose best numbers have `MARKS`."""
    rule = ["---", *["---:"] * (len(grid.header) - 1)]
    first, *others = ([_markdown_cell(cell) for cell in line] for line in (grid.header, *grid.lines))
    return "\n".join(line_of(line) for line in (first, rule, *others))


def markdown_sentence(text: str) -> str:
    """Return a sentence about a table, with what stands in backticks as code."""
    return _spans(text, plain, "`{}`")


def markdown_problems(table: Table) -> str:
    """Return what is missing from a table as a list."""
    return "\n".join(f"- {markdown_sentence(one)}" for one in table.problems)


def reading(table: Table) -> list[str]:
    """Return how a table in Markdown is to be read: its caption, and what its marks mean."""
    return [one for one in (table.caption, legend(table, "Bold", "Italic")) if one]


def _markdown_cell(text: str) -> str:
    for mark, around in ((_BEST, "**"), (_TIED, "*")):
        if text.startswith(mark):
            number, _, rest = text[1:].partition(_END)
            return f"{around}{plain(number)}{around}{'' if not rest else f' {plain(rest)}'}"
    return plain(text)


def _latex(table: Table) -> str:
    lines = [r"\begin{table}", r"  \centering"]
    below = [f"{table.title}.", table.caption, legend(table, "Bold", "Underlined"), *table.notes]
    text = " ".join(_spans(one, _tex, r"\texttt{{{}}}") for one in below if one)
    lines.append(f"  \\caption{{{text}}}")
    for number, grid in enumerate(grids(table, MARKS)):
        if number:
            lines += ["", rf"  \medskip {_tex(grid.title)}", ""]
        lines += _tabular(grid)
    lines += [f"  % {' '.join(one.split())}" for one in map(escaped, table.problems)]
    return "\n".join([*lines, r"\end{table}"])


def _tabular(grid: Grid) -> list[str]:
    body = [" & ".join(map(_latex_cell, line)) + r" \\" for line in (grid.header, *grid.lines)]
    columns = f"l{'r' * (len(grid.header) - 1)}"
    inner = [r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    return [rf"  \begin{{tabular}}{{{columns}}}", *(f"    {line}" for line in inner), r"  \end{tabular}"]


def _latex_cell(text: str) -> str:
    for mark, command in ((_BEST, "textbf"), (_TIED, "underline")):
        if text.startswith(mark):
            number, _, rest = text[1:].partition(_END)
            return rf"\{command}{{{_tex(number)}}}{_tex(rest)}"
    # A bracket after the end of a line would be read as its option.
    return f"{{}}{_tex(text)}" if text.startswith("[") else _tex(text)


def _tex(text: str) -> str:
    return _LATEX_ACTIVE.sub(lambda found: _LATEX[found[0]], escaped(text))


def _spans(text: str, escape: Callable[[str], str], span: str) -> str:
    """Return a sentence with what stands in backticks as code, and all else escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a name with a backtick in it
        return escape(text)
    own = plain_code if span == "`{}`" else escape
    return "".join(
        _kept(part, escape) if number % 2 == 0 else span.format(own(part)) for number, part in enumerate(parts)
    )


def plain_code(text: str) -> str:
    """Return a text for a code span, in which nothing but backticks means anything."""
    return escaped(text)


def _kept(text: str, escape: Callable[[str], str]) -> str:
    """Return an escaped text with its outer spaces, which Markdown's escape would drop."""
    if not text.strip():
        return text
    return text[: len(text) - len(text.lstrip())] + escape(text.strip()) + text[len(text.rstrip()) :]
