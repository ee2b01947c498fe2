"""A recipe in which only the sections that a step declares can be used."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from typing import Any

from hamdg.config.recipe import Recipe

# What defines data, model, execution and tracking, which every step may read.
COMMON = frozenset(
    {"benchmark", "held_out", "excluded", "algorithm", "seed", "label", "data", "model", "runtime", "tracking"}
)


class UndeclaredSectionError(RuntimeError):
    """A step read a section of the recipe that it does not declare, so that its identity would be wrong."""


class _Undeclared:
    """Stands where a section is that a step does not declare."""

    def __init__(self, section: str, step: str) -> None:
        self.__dict__.update(_section=section, _step=step)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UndeclaredSectionError(
            f"The step `{self._step}` read `{self._section}.{name}` of the recipe without declaring it; "
            f'add "{self._section}" to its `sections`.'
        )


def narrowed(recipe: Recipe, sections: AbstractSet[str], step: str) -> Recipe:
    """Return the recipe with all sections but the common and the declared ones made unusable.

    Args:
        recipe: The recipe.
        sections: Declared sections: `train`, the algorithm's own (`coral`), or a part of that (`mtda.adapt`).
        step: The step's name, for messages.
    """
    shared = {field.name for field in fields(Recipe)} - COMMON - {"settings"}
    hidden: dict[str, Any] = {name: _Undeclared(name, step) for name in shared - sections}
    own = recipe.algorithm
    if own not in sections:
        parts = {section.partition(".")[2] for section in sections if section.startswith(f"{own}.")}
        hidden["settings"] = _Undeclared(own, step)
        if parts:
            others = {field.name for field in fields(recipe.settings)} - parts
            unusable: dict[str, Any] = {name: _Undeclared(f"{own}.{name}", step) for name in others}
            hidden["settings"] = replace(recipe.settings, **unusable)
    return replace(recipe, **hidden)
