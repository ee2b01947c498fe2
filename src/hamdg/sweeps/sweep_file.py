"""Sweep files: what they can say, read and checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

from hamdg.config.yaml_files import Document, read_yaml
from hamdg.errors import ConfigError
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import Filled, MismatchError, Words, check

Settings = Mapping[str, object]
Label = Annotated[str, Filled()]
Launch = Annotated[str | Settings | None, Words("the name of a launcher, or one name with its options")]
# What `variants` is in the file, before each is read.
_VARIANTS = Annotated[Mapping[str, Settings], Filled(), Words("a mapping of names to `{recipe: ..., set: {...}}`")]

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

    recipe: Annotated[str, Filled(), Words("the path or the name of a recipe")]
    set: Settings = field(default_factory=dict)
    rows: Annotated[Mapping[str, Label], Filled(), Words("a mapping of row keys to labels, one at least")] | None = None


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        held_out: Domains, each held out in turn.
        seeds: Seeds.
        variants: Recipes to compare, by name.
        conditions: Keys that all variants share, by the condition's name; those of an algorithm's own section are for
            its variants.
        until: What comes last: `validate` never opens a held-out domain (for choosing defaults).
        out: The page of results, relative to the folder that the command runs in; `null` for none. The sweep owns one
            part of it.
        title: That part's heading.
        intro: What that part says before its tables (Markdown).
        root: Folder of the run directories.
        launcher: Where runs take place: a launcher's name, or one name with its options.
    """

    held_out: Annotated[Sequence[str], Words("a list of domains")]
    seeds: Annotated[Sequence[int], Words("a list of integers")]
    variants: Mapping[str, Variant]
    conditions: Annotated[Mapping[str, Settings], Filled(), Words("a mapping of names to settings, one at least")] = (
        field(default_factory=lambda: {"clean": {}})
    )
    until: Literal["validate", "evaluate"] = "evaluate"
    out: Annotated[str, Filled(), Words("a path")] | None = None
    title: str = ""
    intro: str = ""
    root: Annotated[str, Filled(), Words("a path")] = "lightning_logs"
    # No part of what the sweep is: it goes on elsewhere with the same ledger.
    launcher: Launch = field(default=None, repr=False)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: If it is missing, is not a YAML mapping, or a key is unknown, missing, given twice or mistyped.
    """
    document = read_yaml(path, "sweep file", "sweep files lie in `experiments/sweeps/`.")
    if not isinstance(document.values, dict):
        raise ConfigError(f"Sweep file `{path}` must be a mapping with `held_out`, `seeds` and `variants`.")
    values, checker = dict(document.values), _Checker(path, document)
    checker.keys(values, Sweep, "")
    for key in ("held_out", "seeds", "variants"):
        if not values.get(key):
            raise ConfigError(f"Sweep file `{path}` lacks `{key}`, which must not be empty.")
    checker.values(values, Sweep, "")
    for key in ("held_out", "seeds"):
        checker.once(values[key], key)
    for name, settings in values.get("conditions", {}).items():
        checker.settings(settings, f"conditions.{name}.")
    variants = {name: _variant(parts, f"variants.{name}.", checker) for name, parts in values.pop("variants").items()}
    sweep = Sweep(variants=variants, **values)
    if sweep.out is not None and sweep.until == "validate":
        raise checker.error(
            "out", "`out` is a page of held-out results, which `until: validate` has none of; drop either."
        )
    return sweep


def _variant(parts: Mapping[str, object], place: str, checker: _Checker) -> Variant:
    checker.keys(parts, Variant, place)
    if "recipe" not in parts:
        raise checker.error(place[:-1], f"`{place[:-1]}` lacks `recipe`, the recipe file that it starts from.")
    checker.values(parts, Variant, place)
    variant = Variant(**parts)  # type: ignore[arg-type]
    checker.settings(variant.set, f"{place}set.")
    twice = [label for label, count in Counter((variant.rows or {}).values()).items() if count > 1]
    if twice:
        raise checker.error(f"{place}rows", f"`{place}rows` gives the label `{twice[0]}` to two rows.")
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
        """Return an error about a dotted key; its line is that of the nearest part of the file around it."""
        parts = key.split(".")
        around = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        line = next((self.document.lines[name] for name in around if name in self.document.lines), None)
        return ConfigError(f"`{self.path}`{f', line {line}' if line else ''}: {text}")

    def keys(self, values: Mapping[str, object], kind: type[Sweep | Variant], place: str) -> None:
        """Raise if there is a key that a part of a sweep does not have."""
        known = list(kind.__dataclass_fields__)
        for key in values:
            if key not in known:
                hint = did_you_mean(key, known, f"it can hold {listed(known)}.")
                whole = f"`{place[:-1]}`" if place else "a sweep"
                raise self.error(f"{place}{key}", f"there is no key `{excerpt(key)}` in {whole}; {hint}")

    def values(self, values: Mapping[str, object], kind: type[Sweep | Variant], place: str) -> None:
        """Raise if a value is not of its key's type, or something in it has an empty name."""
        kinds = {**get_type_hints(kind, include_extras=True), "variants": _VARIANTS}
        for key, value in values.items():
            try:
                check(value, kinds[key], f"{place}{key}")
            except MismatchError as error:
                raise self.error(error.key, f"{error}.") from None
            if isinstance(value, dict) and "" in value:
                raise self.error(f"{place}{key}", f"a name in `{place}{key}` is empty; give it one.")

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
