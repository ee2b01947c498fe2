"""What a recipe names: which benchmark, which prompts, and where the pictures lie."""

from __future__ import annotations

from hamdg.config import CUSTOM, Recipe
from hamdg.data.benchmark import PROMPTS, Benchmark, Hub
from hamdg.data.custom import custom_benchmark
from hamdg.data.locate import Place, locate
from hamdg.data.registry import benchmark


def benchmark_of(recipe: Recipe) -> Benchmark:
    """Return the recipe's benchmark: a registered one, or what its own folder or hub data set holds.

    Raises:
        ConfigError: If no benchmark has that name, or `custom` comes without pictures.
        DataError: If the pictures of `custom` make no benchmark.
    """
    if recipe.benchmark == CUSTOM:
        return custom_benchmark(recipe.data.root, hub_of(recipe))
    return benchmark(recipe.benchmark)


def prompts_of(recipe: Recipe) -> list[str]:
    """Return the templates of a recipe: its own, or its benchmark's."""
    if recipe.model.prompts is not None:
        return recipe.model.prompts
    return list(PROMPTS if recipe.benchmark == CUSTOM else benchmark(recipe.benchmark).prompts)


def hub_of(recipe: Recipe) -> Hub | None:
    """Return the hub's data set that a recipe names, if it names one."""
    data, columns = recipe.data, recipe.data.columns
    if data.hub is None:
        return None
    return Hub(data.hub, data.revision, columns.image, columns.label, columns.domain)


def find_pictures(recipe: Recipe, held_out: bool = True) -> None:
    """Make sure that the recipe's pictures are somewhere, before anything heavy is loaded; opens none.

    Of the sources' folders, files are listed as a run will list them, so that a misspelt class is told now.

    Args:
        recipe: The recipe.
        held_out: Whether the held-out domain is wanted too. Only the name of its folder is looked at.

    Raises:
        DataError: If they are nowhere, a domain has no folder, or a source's folders are not those of the classes.
    """
    if recipe.benchmark == "mini":
        return
    place = place_of(recipe)
    if place.root is not None:
        # What lists folders needs numpy, which recipes do without.
        from hamdg.data.folders.scan import check_domains, list_folder

        sources = place.benchmark.sources(recipe.held_out)
        check_domains(place, place.benchmark.domains if held_out else sources)
        for name in sources:
            list_folder(place, name)


def place_of(recipe: Recipe) -> Place:
    """Return where the recipe's pictures are; looks for them, but opens none.

    Raises:
        DataError: If they are nowhere.
    """
    return locate(benchmark_of(recipe), recipe.data.root, hub_of(recipe))
