"""Finds an algorithm's code from its settings, which name it, so that only running one imports torch."""

from __future__ import annotations

import importlib

from hamdg.algorithms.base import Algorithm
from hamdg.config.recipe import Recipe
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError
from hamdg.text import listed


def algorithm_of(recipe: Recipe) -> Algorithm:
    """Return the algorithm that a recipe names.

    Raises:
        ConfigError: If its code cannot be imported, or is not an algorithm.
    """
    code = recipe.settings.code
    module, _, name = code.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # anything can go wrong in a module that is not ours
        raise ConfigError(
            f"The algorithm `{recipe.algorithm}` cannot be loaded from `{code}` ({type(error).__name__}: {error}); "
            "repair or remove the package that brings it."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ConfigError(
            f"`{code}`, the code of the algorithm `{recipe.algorithm}`, does not derive from "
            "`hamdg.algorithms.base.Algorithm`; repair or remove the package that brings it."
        )
    task = benchmark_of(recipe).task
    if task not in found.tasks:
        raise ConfigError(
            f"The algorithm `{recipe.algorithm}` is for {listed(found.tasks)}, and `{recipe.benchmark}` for `{task}`; "
            "choose another algorithm, such as `erm`."
        )
    return found(recipe)
