"""The reference of the merge methods: `python -m hamdg.commands.merging.reference` writes docs/merge-methods.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hamdg.commands.merging.methods import WEIGHTS, default_of, explanation, meaning, needs, works_on
from hamdg.files import write_text
from hamdg.merge import list_methods
from hamdg.merge.aliases import ALIASES

DOCUMENT = Path("docs") / "merge-methods.md"
_TEXT = """\
# The merge methods

<!-- Written by `python -m hamdg.commands.merging.reference` from the methods' own documentation; do not edit. -->

What the columns mean, and how methods are called, is in [merging.md](merging.md).

{methods}

## mergekit's names

{aliases}

## Every method in full

What `hamdg merge --explain` prints: the formula, what the paper states, what is our choice, and all options.

{explanations}
"""


def reference() -> str:
    """Return the document."""
    return _TEXT.format(methods=methods_table(), aliases=aliases_table(), explanations=explanations())


def methods_table() -> str:
    """Return the table of all methods for a document."""
    head = ("method", "works on", "needs", "weights", "options and their defaults", "what it does")
    rows = [head, ("---",) * len(head)]
    for info in list_methods().values():
        options = ", ".join(f"`{option.name}` {default_of(option)}" for option in info.options.values())
        rows.append((f"`{info.name}`", works_on(info), needs(info), WEIGHTS[info.weights], options, info.summary))
    return _markdown(rows)


def aliases_table() -> str:
    """Return the table of mergekit's names for a document."""
    head = ("mergekit's name", "here", "with", "what is the same and what is not")
    rows = [head, ("---",) * len(head)]
    rows += [(f"`{name}`", f"`{alias.method}`", meaning(alias, "`"), alias.text) for name, alias in ALIASES.items()]
    return _markdown(rows)


def explanations() -> str:
    """Return what `--explain` says of every method, folded, for a document."""
    parts = []
    for name, info in list_methods().items():
        text = "\n".join(explanation(info)[2:])
        parts.append(f"<details><summary><code>{name}</code></summary>\n\n```text\n{text}\n```\n\n</details>")
    return "\n".join(parts)


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def main(arguments: Sequence[str]) -> int:
    """Write the document: the one that is named, or that of this folder."""
    write_text(Path(arguments[0]) if arguments else DOCUMENT, reference())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
