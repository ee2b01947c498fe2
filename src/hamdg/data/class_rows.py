"""Which classes of a pretrained classifier stand for a recipe's classes (`model.class_rows`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamdg.config.recipe import Recipe
from hamdg.config.yaml_files import read_yaml
from hamdg.data.resolve import benchmark_of, label_named
from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.text import excerpt, listed

_KEY = "model.class_rows"
_LISTED = 12


def with_own_rows(recipe: Recipe) -> Recipe:
    """Return the recipe with the rows themselves instead of the path of a file, by the benchmark's names of classes.

    Raises:
        ConfigError: As `class_rows`.
    """
    if recipe.model.class_rows is None:
        return recipe
    rows = {name: list(own) for name, own in class_rows(recipe).items()}
    return replace(recipe, model=replace(recipe.model, class_rows=rows))


def class_rows(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the rows that stand for each class, in the order of the classes.

    They are the recipe's or, where it gives none, its benchmark's.

    Raises:
        ConfigError: If the file of rows cannot be read, there is no such class, a class is named twice or has no
            rows, or two have the same.
    """
    bench, given = benchmark_of(recipe), recipe.model.class_rows
    place = f" in `{given}`" if isinstance(given, str) else ""
    values: Mapping[str, Sequence[int]] = bench.class_rows if given is None else {}
    if given is not None:
        values = _read_rows(given) if isinstance(given, str) else given
    found: dict[int, tuple[int, ...]] = {}
    for name, own in values.items():
        label = label_named(bench, name, _KEY, place)
        if label in found:
            raise ConfigError(f"`{_KEY}` names the class `{bench.classes[label]}` twice{place}; keep one.")
        found[label] = tuple(sorted(set(own)))
    if missing := [name for label, name in enumerate(bench.classes) if label not in found]:
        raise ConfigError(
            f"`{_KEY}` names no classes of the pretrained network that stand for {listed(missing, _LISTED)}{place}; "
            "give each class some, such as `{dog: [151, 152]}`, or choose another `model.text_head`."
        )
    rows = {name: found[label] for label, name in enumerate(bench.classes)}
    for name, own in rows.items():
        if same := [other for other, theirs in rows.items() if theirs == own and other != name]:
            raise ConfigError(
                f"`{_KEY}` gives the classes {listed([name, *same])} the same rows{place}; give them others."
            )
    return rows


def _read_rows(path: str) -> dict[str, list[int]]:
    found = read_yaml(
        user_path(str(Path(path)), _KEY), "file of rows", f"`{_KEY}` takes rows by class, or the path of a file."
    ).values
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"The file of rows `{path}` must hold a mapping of classes to lists of numbers, such as `dog: [151, 152]`, "
            f"but it holds `{excerpt(found)}`."
        )
    for name, own in found.items():
        numbers = own if isinstance(own, list) else []
        if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
            raise ConfigError(
                f"The rows of the class `{name}` in `{path}` must be a list of numbers from 0, but they are "
                f"`{excerpt(own)}`."
            )
    return dict(found)
