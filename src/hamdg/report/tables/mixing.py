"""What runs may differ in and still be averaged: the seed, and nothing else that defines them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from hamdg.report.tables.measured import Measured, is_without_domains
from hamdg.report.tables.options import TARGET
from hamdg.runs.settings import is_aside, is_used, text_of

# The zero-shot model depends on these sections alone.
_START_SECTIONS = frozenset({"data", "model"})
# Of the sections that say what a method is tested on, what belongs to the method.
_OF_METHODS = frozenset({"data.augment", "data.batch_size"})
# Facts of a record that are no keys of a recipe.
PROMPTS, IMAGES, CLASSES = "prompts", "images", "classes"
# A key that changes the numbers of several held-out domains at once, and nothing else.
AVERAGE = "evaluate.average"
ALGORITHM = "algorithm"
# What stands for a key that a recipe leaves to a package, such as an option of a merge method.
_DEFAULT = "default"


def differences(numbers: Iterable[Measured], ignored: Collection[str] = ()) -> dict[str, list[str]]:
    """Return what the runs of some numbers differ in, beside their seed and held-out domain: values by key.

    Args:
        numbers: The numbers.
        ignored: Keys that they may differ in.
    """
    # Of the thousands that are alike one is enough.
    kinds = list({(one.kind, one.is_start): one for one in numbers}.values())
    if len(kinds) < 2:
        return {}
    names = {key: None for one in kinds for key in one.settings}
    keys = [key for key in names if len({text_of(one.settings.get(key, _DEFAULT)) for one in kinds}) > 1]
    kept = [key for key in keys if key not in ignored and any(matters(key, one) for one in kinds)]
    found = {key: _texts(text_of(one.settings.get(key, _DEFAULT)) for one in kinds) for key in kept}
    algorithms = _texts(one.run.summary.algorithm for one in kinds if not one.is_start)
    if len(algorithms) > 1 and ALGORITHM not in ignored:
        found[ALGORITHM] = algorithms
    facts = [_facts(one) for one in kinds]
    for name in (PROMPTS, IMAGES, CLASSES, AVERAGE):
        known = _texts(fact[name] for fact in facts if fact[name])
        # Other settings of the data are other images.
        explained = name == IMAGES and any(key.startswith("data.") for key in keys)
        if len(known) > 1 and name not in ignored and not explained:
            found[name] = known
    return found


def matters(key: str, one: Measured) -> bool:
    """Return whether a key of a recipe changes what a run gives."""
    section = key.partition(".")[0]
    # Runs are paired by what they leave out.
    if key == "excluded" or is_aside(key):
        return False
    if one.is_start:
        return section in _START_SECTIONS and key not in _OF_METHODS
    return is_used(key, one.run.summary.algorithm)


def is_hyper_parameter(key: str) -> bool:
    """Return whether runs that differ in a key are tries of one method, among which a rule may choose."""
    is_of_method = key.partition(".")[0] not in _START_SECTIONS and not is_aside(key)
    return key in _OF_METHODS or (is_of_method and "." in key)


def is_of_benchmark(key: str) -> bool:
    """Return whether runs of several benchmarks differ in a key because of these."""
    of_data = key.startswith("data.") and key not in _OF_METHODS
    return of_data or key in ("model.prompts", PROMPTS, IMAGES, CLASSES)


def signature(one: Measured, keys: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return a run's settings by some keys, as text."""
    return tuple((key, text_of(one.settings.get(key, _DEFAULT))) for key in keys)


def describe(found: Mapping[str, Sequence[str]]) -> str:
    """Return differences as a list for a sentence: "`train.lr` (0.0005, 0.001) and `train.steps` (200, 400)"."""
    parts = [f"`{key}` ({_short(values)})" for key, values in found.items()]
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _short(values: Sequence[str]) -> str:
    texts = [value if len(value) <= 40 else f"{value[:37]}..." for value in values[:4]]
    return ", ".join(texts) + (f" and {len(values) - 4} more" if len(values) > 4 else "")


def _texts(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=by_number)


def by_number(text: str) -> tuple[bool, float, str]:
    """Return what texts are sorted by: numbers by their size, before all others."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _facts(one: Measured) -> dict[str, str]:
    summary = one.run.summary
    # Of fewer images, drawn by the seed, those of every seed are others.
    drawn = any(one.settings.get(key) is not None for key in ("data.subset", "data.shots"))
    return {
        PROMPTS: "; ".join(summary.prompts),
        IMAGES: "" if drawn or is_without_domains(one.run) else summary.data_digest[:12],
        CLASSES: ", ".join(summary.classes),
        AVERAGE: summary.average if len(summary.targets) > 1 and one.values.get(TARGET) not in summary.targets else "",
    }
