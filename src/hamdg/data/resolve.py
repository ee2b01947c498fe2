"""What a recipe names: which benchmark, which prompts, and where the images lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamdg.config.data import CUSTOM, FURTHER_STYLES, LIGHTS, MiniConfig
from hamdg.config.recipe import Recipe
from hamdg.config.yaml_files import read_yaml
from hamdg.data.benchmark import JOIN, PROMPTS, Benchmark, Hub, Lists, prompt_name
from hamdg.data.custom import custom_benchmark
from hamdg.data.folders.layout import holds_table
from hamdg.data.locations import Location, locate
from hamdg.data.registry import benchmark
from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.text import did_you_mean, excerpt, listed

_LISTED = 12


def benchmark_of(recipe: Recipe) -> Benchmark:
    """Return the recipe's benchmark: a registered one, or what its own folder or hub data set holds.

    Raises:
        ConfigError: If no benchmark has that name, or `custom` comes without images.
        DataError: If the images of `custom` make no benchmark.
    """
    if recipe.benchmark == CUSTOM:
        chosen = tuple(map(str, recipe.data.domains or ()))
        return custom_benchmark(_root_of(recipe), hub_of(recipe), lists_of(recipe), chosen, recipe.data.ids)
    known = benchmark(recipe.benchmark)
    return with_further_domains(known, recipe.data.mini) if recipe.benchmark == "mini" else known


def with_further_domains(bench: Benchmark, config: MiniConfig) -> Benchmark:
    """Return the embedded benchmark with a recipe's further domains behind its own, whose positions and splits stay.

    Raises:
        ConfigError: If there is no such style or copy.
    """
    copies = [f"{domain}_{light}" for domain in bench.domains for light in LIGHTS]
    further = (
        *_chosen(config.styles, FURTHER_STYLES, "data.mini.styles"),
        *_chosen(config.copies, copies, "data.mini.copies"),
    )
    return replace(bench, domains=(*bench.domains, *further)) if further else bench


def _chosen(names: Sequence[str | int], known: Sequence[str], key: str) -> list[str]:
    """Return the known names that a recipe has, in their own order."""
    for name in names:
        if name not in known:
            hint = did_you_mean(str(name), known, f"there are {listed(known)}.")
            raise ConfigError(f"`{key}`: there is no `{excerpt(name)}`; {hint}")
    return [name for name in known if name in names]


def prompts_of(recipe: Recipe) -> list[str]:
    """Return the templates of a recipe: its own, or its benchmark's."""
    return benchmark_prompts(recipe) if recipe.model.prompts is None else recipe.model.prompts


def benchmark_prompts(recipe: Recipe) -> list[str]:
    """Return the templates of a recipe's benchmark."""
    return list(PROMPTS if recipe.benchmark == CUSTOM else benchmark(recipe.benchmark).prompts)


def words_of(recipe: Recipe) -> list[str]:
    """Return how prompts call the classes, in their order: by the recipe's words, else by their names.

    Raises:
        ConfigError: If a word is given to a class that does not exist, or the file of words cannot be read.
    """
    bench = benchmark_of(recipe)
    own = own_words(bench, recipe.data.words)
    return [own.get(name, prompt_name(name)) for name in bench.classes]


def own_words(bench: Benchmark, given: Mapping[str, str] | str | None) -> dict[str, str]:
    """Return the words that a recipe gives to classes, in their order; words that change nothing are left out.

    Args:
        bench: The benchmark.
        given: Words by the names of classes (spelled as freely as folders), or the path of a YAML or JSON file of them.

    Raises:
        ConfigError: If the file cannot be read, there is no such class, one is given two words, or a word is empty.
    """
    place = f" in `{given}`" if isinstance(given, str) else ""
    found: dict[int, str] = {}
    for name, word in (_read_words(Path(given)) if isinstance(given, str) else given or {}).items():
        label = label_named(bench, name, "data.words", place)
        if not word.strip():
            raise ConfigError(f"`data.words` gives the class `{name}` an empty word{place}; give one, or leave it out.")
        if label in found:
            known = bench.classes[label]
            raise ConfigError(
                f"`data.words` gives the class `{known}` two words{place}, `{found[label]}` and `{word}`; keep one."
            )
        found[label] = word.strip()
    names = {bench.classes[label]: found[label] for label in sorted(found)}
    return {name: word for name, word in names.items() if word != prompt_name(name)}


def _read_words(path: Path) -> dict[str, str]:
    values = read_yaml(
        user_path(str(path), "data.words"), "file of words", "`data.words` takes words by class, or the path of a file."
    ).values
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"The file of words `{path}` must hold a mapping of classes to words, such as `n02084071: dog`, but it "
            f"holds `{excerpt(values)}`."
        )
    for name, word in values.items():
        if not isinstance(word, str):
            raise ConfigError(
                f"The word for the class `{name}` in `{path}` must be a text, but it is `{excerpt(word)}`; write it in "
                "quotes."
            )
    return dict(values)


def label_named(bench: Benchmark, name: str, key: str, place: str = "") -> int:
    """Return the label of the class that a recipe names.

    Args:
        bench: The benchmark.
        name: The class, spelled as freely as folders.
        key: The recipe's key that names it, for the message.
        place: Where that stands, for the message.

    Raises:
        ConfigError: If there is no such class.
    """
    label = bench.find_label(name)
    if label is None:
        hint = did_you_mean(name, bench.classes, f"there are {listed(bench.classes, _LISTED)}.")
        known = bench.title or bench.name
        raise ConfigError(f"`{key}` names the class `{excerpt(name)}`{place}, which `{known}` does not have; {hint}")
    return label


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
    return replace(recipe, held_out=JOIN.join(bench.targets(recipe.held_out)), excluded=excluded, data=data)


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
