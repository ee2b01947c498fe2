"""Sweep files: what they can say, read and checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hamdg.config.yaml_files import Document, read_yaml
from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, excerpt, listed

Settings = Mapping[str, object]

# Keys of a recipe that a sweep gives itself, and what gives them.
GIVEN: Mapping[str, str] = {
    "held_out": "`held_out` of the sweep",
    "seed": "`seeds` of the sweep",
    "label": "the name of the variant",
    "controls.erm": "a variant of its own, with `algorithm: erm`",
    "runtime.root": "`root` of the sweep",
    "runtime.threads": "the number of `--processes`",
}


@dataclass(frozen=True)
class Variant:
    """One recipe of a sweep, with what it changes.

    Args:
        recipe: The recipe that it starts from, by its path from the sweep file or by the name that `hamdg run` knows.
        set: Keys that differ from the recipe.
        rows: Which rows of its runs' tables are shown, by key, and under which label; all under their own when left
            out. `source/*` is the mean of the source models.
    """

    recipe: str
    set: Settings = field(default_factory=dict)
    rows: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        held_out: Domains, each held out in turn.
        seeds: Seeds.
        variants: Recipes to compare, by name.
        conditions: Keys that all variants share, by the condition's name; those of an algorithm's own section are for
            its variants.
        until: The last stage: `merge` never opens a held-out domain (for choosing defaults).
        out: The page of results, relative to the folder that the command runs in; `null` for none. The sweep owns one
            part of it.
        title: That part's heading.
        intro: What that part says before its tables (Markdown).
        root: Folder of the run directories.
    """

    held_out: Sequence[str]
    seeds: Sequence[int]
    variants: Mapping[str, Variant]
    conditions: Mapping[str, Settings] = field(default_factory=lambda: {"clean": {}})
    until: Literal["merge", "evaluate"] = "evaluate"
    out: str | None = None
    title: str = ""
    intro: str = ""
    root: str = "lightning_logs"


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: If it is missing, is no YAML mapping, or a key is unknown, missing, given twice or mistyped.
    """
    document = read_yaml(path, "sweep file", "sweep files lie in `experiments/sweeps/`.")
    if not isinstance(document.values, dict):
        raise ConfigError(f"Sweep file `{path}` must be a mapping with `held_out`, `seeds` and `variants`.")
    values, check = dict(document.values), _Checker(path, document)
    check.keys(values, Sweep, "")
    for key in ("held_out", "seeds", "variants"):
        if not values.get(key):
            raise ConfigError(f"Sweep file `{path}` lacks `{key}`, which must not be empty.")
    check.kinds(values, "")
    for key in ("held_out", "seeds"):
        check.once(values[key], key)
    for name, settings in values.get("conditions", {}).items():
        check.settings(settings, f"conditions.{name}.")
    variants = {name: _variant(parts, f"variants.{name}.", check) for name, parts in values.pop("variants").items()}
    sweep = Sweep(variants=variants, **values)
    if sweep.out is not None and sweep.until == "merge":
        raise check.error("out", "`out` is a page of held-out results, which `until: merge` has none of; drop either.")
    return sweep


def _variant(parts: Mapping[str, object], place: str, check: _Checker) -> Variant:
    check.keys(parts, Variant, place)
    if "recipe" not in parts:
        raise check.error(place[:-1], f"`{place[:-1]}` lacks `recipe`, the recipe file that it starts from.")
    check.kinds(parts, place)
    variant = Variant(**parts)  # type: ignore[arg-type]
    check.settings(variant.set, f"{place}set.")
    twice = [label for label, count in Counter((variant.rows or {}).values()).items() if count > 1]
    if twice:
        raise check.error(f"{place}rows", f"`{place}rows` gives the label `{twice[0]}` to two rows.")
    return variant


@dataclass(frozen=True)
class _Checker:
    """Checks parts of a sweep file; errors name the file and the line.

    Args:
        path: The file.
        document: What was read from it.
    """

    path: Path
    document: Document

    def error(self, key: str, text: str) -> ConfigError:
        """Return an error about a dotted key."""
        line = self.document.lines.get(key)
        return ConfigError(f"`{self.path}`{f', line {line}' if line else ''}: {text}")

    def keys(self, values: Mapping[str, object], kind: type[Sweep | Variant], place: str) -> None:
        """Raise if there is a key that a part of a sweep does not have."""
        known = list(kind.__dataclass_fields__)
        for key in values:
            if key not in known:
                hint = did_you_mean(key, known, f"it can hold {listed(known)}.")
                whole = f"`{place[:-1]}`" if place else "a sweep"
                raise self.error(f"{place}{key}", f"there is no key `{excerpt(key)}` in {whole}; {hint}")

    def kinds(self, values: Mapping[str, object], place: str) -> None:
        """Raise if a value is not of its key's kind."""
        for key, value in values.items():
            words, fits = _KINDS[key]
            if not fits(value):
                got = "null" if value is None else excerpt(value)
                raise self.error(f"{place}{key}", f"expected `{place}{key}` to be {words}, but got `{got}`.")

    def once(self, values: Sequence[object], key: str) -> None:
        """Raise if a list holds a value twice: both runs would be the same."""
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise self.error(key, f"`{key}` holds `{excerpt(twice[0])}` twice; every run is made once, so keep one.")

    def settings(self, settings: Settings, place: str) -> None:
        """Raise if a key of a recipe is one that the sweep gives itself."""
        for key in settings:
            if key in GIVEN:
                text = f"`{key}` is given by {GIVEN[key]}; leave it out of `{place[:-1]}`."
                raise self.error(f"{place}{key}", text)


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _named(value: object, kind: type) -> bool:
    """Return whether a value is a mapping that is not empty, nor are its keys and texts."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(name and one != "" and isinstance(one, kind) for name, one in value.items())
    )


_KINDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "held_out": ("a list of domains", lambda value: _all(value, str)),
    "seeds": ("a list of integers", lambda value: _all(value, int)),
    "variants": ("a mapping of names to `{recipe: ..., set: {...}}`", lambda value: _named(value, dict)),
    "conditions": ("a mapping of names to settings, one at least", lambda value: _named(value, dict)),
    "until": ("`merge` or `evaluate`", lambda value: value in ("merge", "evaluate")),
    "out": ("a path or `null`", lambda value: value is None or (isinstance(value, str) and value != "")),
    "root": ("a path", lambda value: isinstance(value, str) and value != ""),
    "recipe": ("the path of a recipe", lambda value: isinstance(value, str) and value != ""),
    "title": ("a text", lambda value: isinstance(value, str)),
    "intro": ("a text", lambda value: isinstance(value, str)),
    "rows": ("a mapping of row keys to labels, one at least", lambda value: _named(value, str)),
    "set": ("a mapping of keys to values", lambda value: isinstance(value, dict)),
}
