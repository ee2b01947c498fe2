"""How prompts call the classes: by their names, or by words that a recipe gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hamdg.config.yaml_files import read_yaml
from hamdg.data.benchmark import Benchmark
from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.text import did_you_mean, excerpt, listed

_LISTED = 12


def prompt_name(name: str) -> str:
    """Return a class's name as prompts call it by themselves: underscores become spaces."""
    return name.replace("_", " ")


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
    for name, word in (_read(Path(given)) if isinstance(given, str) else given or {}).items():
        label = bench.find_label(name)
        if label is None:
            raise ConfigError(_unknown(name, bench, place))
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


def _read(path: Path) -> dict[str, str]:
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


def _unknown(name: str, bench: Benchmark, place: str) -> str:
    hint = did_you_mean(name, bench.classes, f"there are {listed(bench.classes, _LISTED)}.")
    return f"`data.words` names the class `{name}`{place}, which `{bench.title or bench.name}` does not have; {hint}"
