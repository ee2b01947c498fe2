"""Every key of a recipe with its type, default and meaning, read off the types; run as a module, in a document.

python -m hamdg.config.reference docs/recipes.md
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import NamedTuple

from hamdg.config import keys
from hamdg.config.algorithms import find, names
from hamdg.config.recipe import Recipe
from hamdg.files import write_text
from hamdg.text import argument_texts
from hamdg.values import describe, yaml_name

# What every algorithm reads; which of the other shared sections it reads, its settings say.
ALWAYS = ("", "data", "model", "evaluate", "runtime", "tracking")
_WIDTH, _COLUMN = 112, 34
_INTRODUCTION = """\
# The keys of a recipe

<!-- Written by `python -m hamdg.config.reference docs/recipes.md` from the types of recipes; do not edit. -->

A recipe is a YAML file of sections with keys. Every key has a default, so a recipe holds only what differs from it.
On the command line a key is written as `--section.key=value`, as in `hamdg run mini/ham --train.steps=400`. An algorithm
reads the sections `data`, `model`, `evaluate`, `runtime` and `tracking`, the shared sections that are named with it below,
and its own section, which has its name; other sections do not change the run. With another algorithm on the command line
(`--algorithm=erm`) the file's section of the first algorithm is dropped, and all shared sections are kept.
`hamdg run RECIPE --help` shows the keys of one recipe with its values, and `hamdg run RECIPE --print-config` prints the
whole recipe, defaults included.

A recipe may be based on another one: `base: ham.yaml` takes all keys of that file, and those of the recipe itself are laid
over them, section by section. The base is a path from the recipe's own folder or a name as `hamdg run` takes it (`base:
mini/ham`), and may have a base of its own. Where the recipe names another algorithm or merge method than its base, that one
starts from its own defaults, as on the command line. A run is defined by all keys together: the same keys in one file are the
same run.

## All recipes
"""  # noqa: E501


class Key(NamedTuple):
    """One key of a recipe.

    Args:
        name: The dotted key.
        kind: A description of its type.
        value: Its default, or what a recipe says, as YAML.
        text: What it means.
    """

    name: str
    kind: str
    value: str
    text: str


class Section(NamedTuple):
    """Keys that lie together.

    Args:
        name: The dotted name; empty for the top of a recipe.
        text: What it is about.
        keys: The keys in it, without those of sections inside it.
    """

    name: str
    text: str
    keys: tuple[Key, ...]


def sections_of(recipe: Recipe) -> list[Section]:
    """Return the sections that a recipe's algorithm reads, with the recipe's values."""
    read = (*ALWAYS, *recipe.settings.uses, recipe.algorithm)
    found = [*_sections(recipe, keys.shared()), *_sections(recipe, keys.own(recipe.algorithm))]
    return [section for section in found if section.name.partition(".")[0] in read]


def help_text(recipe: Recipe | None) -> str:
    """Return the keys of a recipe as `hamdg run --help` shows them.

    Args:
        recipe: The recipe, whose values are shown where they differ from the defaults; without one, the defaults of
            all algorithms.
    """
    if recipe is None:
        shared = _sections(Recipe(), keys.shared())
        found = [*shared, *(section for name in names() for section in _own(name))]
        plain: Mapping[str, str] = {}
    else:
        found = sections_of(recipe)
        plain = {
            key.name: key.value for section in sections_of(Recipe(algorithm=recipe.algorithm)) for key in section.keys
        }
    return "\n".join(line for section in found for line in _help_lines(section, plain))


def document() -> str:
    """Return the page of all keys, in Markdown."""
    lines = [*_INTRODUCTION.splitlines(), ""]
    for section in _sections(Recipe(), keys.shared()):
        lines += _page_lines(section)
    lines += ["## Algorithms", ""]
    for name in names():
        settings = find(name)
        uses = ", ".join(f"`{one}`" for one in settings.uses)
        reads = f" It also reads {uses}." if uses else ""
        lines += [f"### `algorithm: {name}`", "", f"{_summary(settings)}{reads}", ""]
        for section in _own(name):
            lines += _page_lines(section, headed=section.name != name)
    return "\n".join(lines).rstrip() + "\n"


def _own(algorithm: str) -> list[Section]:
    return _sections(Recipe(algorithm=algorithm), keys.own(algorithm))


def _sections(recipe: Recipe, kinds: Mapping[str, object]) -> list[Section]:
    whole = {"": Recipe, **kinds} if "data" in kinds else kinds
    return [
        Section(name, _summary(kind), tuple(_keys(recipe, name, kind, kinds)))
        for name, kind in whole.items()
        if isinstance(kind, type) and is_dataclass(kind)
    ]


def _keys(recipe: Recipe, section: str, holder: type, kinds: Mapping[str, object]) -> Iterator[Key]:
    # Keys that a class inherits are described where they are defined.
    texts = {name: text for one in reversed(holder.__mro__) for name, text in _described(one)}
    for key, kind in kinds.items():
        inside, _, name = key.rpartition(".")
        if inside == section and not is_dataclass(kind):
            words = ", ".join(f"`{name}`" for name in names()) if key == "algorithm" else describe(kind)
            yield Key(key, words, _written(keys.value_at(recipe, key)), texts.get(name, ""))


def _described(kind: type) -> Iterable[tuple[str, str]]:
    return argument_texts(inspect.cleandoc(kind.__doc__ or "")).items()


def _summary(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _written(value: object) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return '""' if value == "" else yaml_name(value)


def _help_lines(section: Section, plain: Mapping[str, str]) -> list[str]:
    if not section.keys:
        return []
    title = f"{section.name or 'recipe'}: {section.text}"
    lines = textwrap.wrap(title, _WIDTH)
    for key in section.keys:
        default = plain.get(key.name, key.value)
        here = f"; here {key.value}" if key.value != default else ""
        words = f"{key.kind.replace('`', '')} (default: {default}{here})"
        first = f"  --{key.name}"
        lines += _beside(first, words) + _beside("", key.text)
    return [*lines, ""]


def _beside(left: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, _WIDTH - _COLUMN) or [""]
    lines = [" " * _COLUMN + line for line in wrapped]
    if len(left) >= _COLUMN:
        return [left, *lines]
    return [f"{left:<{_COLUMN}}{wrapped[0]}", *lines[1:]]


def _page_lines(section: Section, headed: bool = True) -> list[str]:
    lines = [f"### `{section.name}`", "", section.text, ""] if headed and section.name else []
    if not section.keys:
        return lines
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key in section.keys:
        cells = (f"`{key.name}`", key.kind, f"`{key.value}`", key.text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def main(arguments: Sequence[str]) -> int:
    """Write the page into the files that are named."""
    for name in arguments:
        write_text(Path(name), document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
