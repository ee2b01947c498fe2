"""`hamdg merge --list` and `--explain`: the methods as tables and as text; run as a module, both in a document.

python -m hamdg.commands.merging.methods docs/merging.md
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hamdg.commands.merging.values import shown
from hamdg.errors import ConfigError
from hamdg.files import write_text
from hamdg.merge import MethodInfo, Option, list_methods
from hamdg.merge.aliases import ALIASES, Alias
from hamdg.merge.registry import get_method

# Of what is said of options, and of a method (as its own documentation is wrapped).
_WIDTH, _TEXT = 100, 116
_WORKS_ON = {
    "changes": "what the models changed from a base",
    "models": "whole models",
    "trajectory": "checkpoints of one trajectory, in the order of the numbers in their names",
}
_WEIGHTS = {"none": "", "factors": "factors", "shares": "shares"}


def show_list(*, markdown: bool) -> int:
    """Print all methods in one table, and what mergekit calls some of them in another."""
    if markdown:
        print(f"{markdown_table()}\n\n{aliases_table()}")
        return 0

    from hamdg import console

    rows = [
        # The formula after a colon is for `--explain`.
        (info.name, _works_on(info), _needs(info), _WEIGHTS[info.weights], info.summary.partition(": ")[0].rstrip("."))
        for info in list_methods().values()
    ]
    console.table(("method", "works on", "needs", "weights", "summary"), rows)
    others = [(name, alias.method, _meant(alias)) for name, alias in ALIASES.items()]
    console.table(("mergekit's name", "method", "options"), others, title="\nThe same by other names")
    return 0


def aliases_table() -> str:
    """Return the table of mergekit's names for a document."""
    head = ("mergekit's name", "here", "with", "what is the same and what is not")
    rows = [head, ("---",) * len(head)]
    rows += [(f"`{name}`", f"`{alias.method}`", _meant(alias, "`"), alias.text) for name, alias in ALIASES.items()]
    return _markdown(rows)


def markdown_table() -> str:
    """Return the table of all methods for a document."""
    head = ("method", "works on", "needs", "weights", "options and their defaults", "what it does")
    rows = [head, ("---",) * len(head)]
    for info in list_methods().values():
        options = ", ".join(f"`{option.name}` {_default(option)}" for option in info.options.values())
        rows.append((f"`{info.name}`", _works_on(info), _needs(info), _WEIGHTS[info.weights], options, info.summary))
    return _markdown(rows)


def explain(name: str) -> int:
    """Print what a method does and what its options mean.

    Raises:
        ConfigError: There is no such method.
    """
    info = get_method(name)
    print("\n".join(_explanation(info)))
    return 0


def full_text() -> str:
    """Return what `--explain` says of every method, folded, for a document."""
    parts = []
    for name, info in list_methods().items():
        text = "\n".join(_explanation(info)[2:])
        parts.append(f"<details><summary><code>{name}</code></summary>\n\n```text\n{text}\n```\n\n</details>")
    return "\n".join(parts)


def update(document: Path) -> None:
    """Put the table and the texts of all methods between the marks of a document.

    Raises:
        ConfigError: The document has no such marks.
    """
    text = document.read_text(encoding="utf-8")
    for mark, content in (
        ("methods", markdown_table()),
        ("aliases", aliases_table()),
        ("explanations", full_text()),
    ):
        start, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ConfigError(f"`{document}` has no place for the {mark}; mark it with `{start}` and `{end}`.")
        before, rest = text.split(start)
        text = f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"
    write_text(document, text)


def _explanation(info: MethodInfo) -> list[str]:
    body, _, _ = info.text.partition("\nArgs:\n")
    lines = [info.name, "=" * len(info.name), *_other_name(info), body.rstrip(), ""]
    lines += [f"works on   {_WORKS_ON[_works_on(info)]}"]
    lines += [f"needs      {_needs(info) or 'nothing else'}"]
    lines += [f"weights    {_weights_in_words(info)}"]
    lines += [*_buffers(info), ""]
    if not info.options:
        return [*lines, "It has no options."]
    lines.append("Options:")
    for option in info.options.values():
        default = "has to be given" if option.required else f"default {_default(option)}"
        lines.append(f"  --{option.name.replace('_', '-')}  {_expected(option)}; {default}")
        lines += textwrap.wrap(option.text, _WIDTH, initial_indent="      ", subsequent_indent="      ")
    return lines


def _other_name(info: MethodInfo) -> list[str]:
    """Say what another library's name means, before the method is explained."""
    if info.alias is None:
        return []
    options = _meant(info.alias)
    start = f"mergekit's name for `{info.alias.method}`{f' with {options}' if options else ''}."
    return [*textwrap.wrap(f"{start} {info.alias.text}", _TEXT), ""]


def _meant(alias: Alias, quote: str = "") -> str:
    """Say which options an alias stands for."""
    options = {**alias.fixed, **alias.defaults}
    return ", ".join(f"{quote}{name}{quote} {shown(value)}" for name, value in options.items())


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _works_on(info: MethodInfo) -> str:
    return "trajectory" if info.trajectory else info.on


def _needs(info: MethodInfo) -> str:
    kinds = ["target data (not DG)" if kind == "target" else kind for kind in info.needs]
    if info.target and "target" not in info.needs:
        kinds.append("target data (not DG)")
    return ", ".join([*(["base"] if info.needs_base else ()), *kinds])


def _weights_in_words(info: MethodInfo) -> str:
    return {
        "none": "it takes none",
        "factors": "multiply what the sources changed; 1 each if none are given",
        "shares": "are divided by their sum; equal if none are given",
    }[info.weights]


def _buffers(info: MethodInfo) -> list[str]:
    """Say what a method states about BatchNorm's statistics; many networks have none."""
    said = (inspect.getdoc(info.buffers) or "Mix what the method states.").partition("\n")[0]
    said = f"{said[0].lower()}{said[1:].rstrip('.')}" + ("; their counters are not used" if info.trajectory else "")
    return textwrap.wrap(said, _WIDTH, initial_indent="BatchNorm  ", subsequent_indent=" " * 11)


def _expected(option: Option) -> str:
    words = " | ".join(option.choices) if option.choices else f"{option.kind} {option.range}".strip()
    words = "true | false" if option.kind == "truth value" else words
    return f"{words}, or none" if option.optional else words


def _default(option: Option) -> str:
    return "(required)" if option.required else "none" if option.default is None else shown(option.default)


def main(arguments: Sequence[str]) -> int:
    """Update the documents that are named."""
    for name in arguments:
        update(Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
