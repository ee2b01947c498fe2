"""Checks parts of a sweep file; errors name the file and the line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from hamdg.config.keys import known, type_of, unknown
from hamdg.config.yaml_files import Document
from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import Filled, MismatchError, Range, Words, check, convert

Settings = Mapping[str, object]

# Keys of a recipe that a sweep gives itself, and what gives them.
GIVEN: Mapping[str, str] = {
    "held_out": "`held_out` of the sweep",
    "seed": "`seeds` of the sweep",
    "label": "the name of the variant",
    "controls.erm": "`controls` of the sweep",
    "runtime.report": "`reports` of the sweep",
    "runtime.root": "`root` of the sweep",
    "runtime.threads": "the number of `--processes`",
}
# What parts of a file are before each is read by itself, or written out.
_NESTED: Mapping[str, object] = {
    "held_out": Annotated[Sequence[str] | str, Words("a list of domains, or `all`")],
    "seeds": Annotated[Sequence[int] | Annotated[int, Range(1, 10_000)], Words("a list of integers, or how many")],
    "variants": Annotated[Mapping[str, Settings], Filled(), Words("a mapping of names to `{recipe: ..., set: {...}}`")],
    "figure": Annotated[Settings | None, Words("`{out: ..., dials: {...}}`")],
    "until": Literal["validate", "evaluate"],
    "random": Annotated[Settings, Filled(), Words("`{draws: N, ranges: {...}}`")],
    "ranges": Annotated[
        Mapping[str, Settings], Filled(), Words("a mapping of keys to `{uniform: [low, high]}` or the like")
    ],
    "include": Annotated[Sequence[Settings], Words("a list of `{variant: ..., set: {...}}`")],
    "exclude": Annotated[Sequence[Settings], Words("a list of `{variant: ..., held_out: ...}`")],
}


@dataclass(frozen=True)
class Checker:
    """Checks parts of a sweep file.

    Args:
        path: The file.
        document: What was read from it.
    """

    path: Path
    document: Document

    def error(self, key: str, text: str) -> ConfigError:
        """Return an error about a dotted key; its line is that of the nearest part of the file around it."""
        parts = key.split(".")
        around = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        line = next((self.document.lines[name] for name in around if name in self.document.lines), None)
        return ConfigError(f"`{self.path}`{f', line {line}' if line else ''}: {text}")

    def keys(self, values: Settings, kind: type[Any], place: str) -> None:
        """Raise if there is a key that a part of a sweep, described by a dataclass, does not have."""
        fields = list(kind.__dataclass_fields__)
        for key in values:
            if key not in fields:
                hint = did_you_mean(key, fields, f"it can hold {listed(fields)}.")
                whole = f"`{place[:-1]}`" if place else "a sweep"
                raise self.error(f"{place}{key}", f"there is no key `{excerpt(key)}` in {whole}; {hint}")

    def values(self, values: Settings, kind: type[Any], place: str) -> None:
        """Raise if a value is not of its key's type, or something in it has an empty name."""
        kinds = {**get_type_hints(kind, include_extras=True), **_NESTED}
        for key, value in values.items():
            try:
                check(value, kinds[key], f"{place}{key}")
            except MismatchError as error:
                raise self.error(error.key, f"{error}.") from None
            if isinstance(value, dict) and "" in value:
                raise self.error(f"{place}{key}", f"a name in `{place}{key}` is empty; give it one.")

    def once(self, values: Sequence[object], key: str) -> None:
        """Raise if a list holds a value twice: both runs would be the same."""
        twice = [value for value, count in Counter(map(repr, values)).items() if count > 1]
        if twice:
            value = next(value for value in values if repr(value) == twice[0])
            raise self.error(key, f"`{key}` holds `{excerpt(value)}` twice; every run is made once, so keep one.")

    def settings(self, settings: Settings, place: str) -> None:
        """Raise if a key is not one of a recipe, or is one that the sweep gives itself."""
        for key in settings:
            if key in GIVEN:
                text = f"`{key}` is given by {GIVEN[key]}; leave it out of `{place[:-1]}`."
                raise self.error(f"{place}{key}", text)
            if type_of(key) is None:
                sentence = unknown(key, f"in `{place[:-1]}`", known(), "key")
                raise self.error(f"{place}{key}", sentence[:1].lower() + sentence[1:])

    def key(self, key: str, place: str) -> object:
        """Return the type of a key of a recipe whose values make different runs.

        Args:
            key: The dotted key.
            place: Where it stands: `grid`, `random.ranges`.

        Raises:
            ConfigError: If no recipe has it, it is a whole section, or it defines no run.
        """
        at = f"{place}.{key}"
        self.settings({key: None}, f"{place}.")
        kind = type_of(key)
        if is_dataclass(kind):
            inside = [name for name in known() if name.startswith(f"{key}.")]
            raise self.error(at, f"`{key}` is a section; name one of its keys, such as {listed(inside[:2])}.")
        if key.partition(".")[0] == "runtime":
            raise self.error(at, f"`{key}` does not define a run, so that all of `{at}` would be one; leave it out.")
        return kind

    def typed(self, value: object, kind: object, at: str) -> object:
        """Return a value of a recipe in the type that its key has.

        Raises:
            ConfigError: If it cannot be of that type.
        """
        try:
            return convert(value, kind, at)
        except MismatchError as error:
            raise self.error(error.key, f"{error}.") from None
