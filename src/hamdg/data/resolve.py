"""What a recipe names: which benchmark, which prompts, and where the images lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.data.benchmark import PROMPTS, Benchmark, Hub, Lists
from hamdg.data.custom import custom_benchmark
from hamdg.data.folders.layout import holds_table
from hamdg.data.locations import Location, locate
from hamdg.data.registry import benchmark
from hamdg.data.words import own_words, prompt_name
from hamdg.files import user_path


def benchmark_of(recipe: Recipe) -> Benchmark:
    """Return the recipe's benchmark: a registered one, or what its own folder or hub data set holds.

    Raises:
        ConfigError: If no benchmark has that name, or `custom` comes without images.
        DataError: If the images of `custom` make no benchmark.
    """
    if recipe.benchmark == CUSTOM:
        chosen = tuple(map(str, recipe.data.domains or ()))
        return custom_benchmark(_root_of(recipe), hub_of(recipe), lists_of(recipe), chosen)
    return benchmark(recipe.benchmark)


def prompts_of(recipe: Recipe) -> list[str]:
    """Return the templates of a recipe: its own, or its benchmark's."""
    if recipe.model.prompts is not None:
        return recipe.model.prompts
    return list(PROMPTS if recipe.benchmark == CUSTOM else benchmark(recipe.benchmark).prompts)


def words_of(recipe: Recipe) -> list[str]:
    """Return how prompts call the classes, in their order: by the recipe's words, else by their names.

    Raises:
        ConfigError: If a word is given to a class that does not exist, or the file of words cannot be read.
    """
    bench = benchmark_of(recipe)
    own = own_words(bench, recipe.data.words)
    return [own.get(name, prompt_name(name)) for name in bench.classes]


def with_own_words(recipe: Recipe) -> Recipe:
    """Return the recipe with its words themselves instead of the path of a file, by the benchmark's names of classes.

    Raises:
        ConfigError: If a word is given to a class that does not exist, or the file of words cannot be read.
    """
    if recipe.data.words is None:
        return recipe
    words = own_words(benchmark_of(recipe), recipe.data.words)
    return replace(recipe, data=replace(recipe.data, words=words or None))


def with_own_domains(recipe: Recipe) -> Recipe:
    """Return the recipe with its domains as the data set has them: each once, in its order and spelling.

    Raises:
        ConfigError: If there is no domain of a name.
        DataError: If the images of `custom` make no benchmark.
    """
    bench = benchmark_of(recipe)
    never = {bench.domain(str(name), "excluded") for name in recipe.excluded}
    excluded: list[str | int] = [name for name in bench.domains if name in never]
    data = recipe.data
    if recipe.benchmark == CUSTOM and data.domains:
        data = replace(data, domains=list(bench.domains))
    return replace(recipe, held_out=bench.domain(recipe.held_out), excluded=excluded, data=data)


def hub_of(recipe: Recipe) -> Hub | None:
    """Return the hub's data set that a recipe names, or the files of the same form; `None` if it names neither."""
    data, columns = recipe.data, recipe.data.columns
    name = data.hub
    if name is None and (table := _table_at_root(recipe)) is not None:
        name = str(table)
    return None if name is None else Hub(name, data.revision, columns.image, columns.label, columns.domain)


def lists_of(recipe: Recipe) -> Lists | None:
    """Return the list files that a recipe names, if it names some; their paths begin in its root, or beside them."""
    data, columns = recipe.data, recipe.data.columns
    if not data.lists:
        return None
    path = user_path(data.lists, "data.lists").absolute()
    root = path.parent if data.root is None else user_path(data.root, "data.root").absolute()
    return Lists(path, root, columns.image, columns.label, columns.domain)


def _table_at_root(recipe: Recipe) -> Path | None:
    """Return the recipe's root if that is a table, or a folder of tables."""
    data = recipe.data
    if data.root is None or data.lists or data.hub is not None:
        return None
    root = user_path(data.root, "data.root").absolute()
    return root if holds_table(root) else None


def _root_of(recipe: Recipe) -> str | None:
    """Return the folder of domains that a recipe names, if it names one."""
    return None if recipe.data.lists or _table_at_root(recipe) is not None else recipe.data.root


def place_of(recipe: Recipe) -> Location:
    """Return where the recipe's images are; looks for them, but opens none.

    Raises:
        DataError: If they are nowhere.
    """
    return locate(benchmark_of(recipe), _root_of(recipe), hub_of(recipe), lists_of(recipe))
