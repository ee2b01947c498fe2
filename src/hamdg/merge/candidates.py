"""What a search over merges can try: the methods that need no data, with values of their options."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, zip_longest

from hamdg.errors import ConfigError
from hamdg.merge.method_info import MethodInfo
from hamdg.merge.options import Option
from hamdg.merge.registry import get_method, list_methods
from hamdg.values import members, yaml_name

AVERAGE = "uniform"
# What is tried only if it is named, and why.
_LEFT_OUT = {"weighted": "without weights it is the plain average"}
# Values closer to each other than this share of an option's grid are taken for one.
_CLOSE = 0.05


@dataclass(frozen=True)
class Candidate:
    """A merge method with the options that differ from its defaults.

    Args:
        method: The method's name.
        options: The options.
    """

    method: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.method} {json.dumps(dict(self.options), sort_keys=True)}"

    def scaled(self, ratio: float) -> Candidate:
        """Return the candidate with the factors of sums over sources multiplied by a ratio.

        What adds up N changes moves the merge N / (N - 1) times as far as it does with one of them left out.

        Args:
            ratio: How many times as many sources there are in all.
        """
        # Another name of a method lacks the options that it fixes, and these say what is a sum.
        info, given = get_method(self.method).resolved(self.options)
        values = {name: option.default for name, option in info.options.items()} | given
        factors = {name: option.factor_of_sum(values) for name, option in info.options.items()}
        changed = {name: ratio * factor for name, factor in factors.items() if factor is not None}
        return Candidate(info.name, {**given, **changed})

    def __str__(self) -> str:
        options = ", ".join(f"{name} {_shown(value)}" for name, value in self.options.items())
        return f"{self.method} ({options})" if options else self.method

    @property
    def simplicity(self) -> tuple[int, int, str]:
        """What sorts candidates from the simplest: the plain average, then those with the fewest options."""
        count = -1 if self.method == AVERAGE else len(get_method(self.method).options)
        return count, len(self.options), self.key


def searchable(names: Sequence[str] = ()) -> list[MethodInfo]:
    """Return the methods that a search can try, from the simplest; the plain average is always one of them.

    Args:
        names: Which to try; all that need no data if there are none.

    Raises:
        ConfigError: There is no such method, or it needs what a search does not have.
    """
    infos = [get_method(name) for name in names] or [
        one for one in list_methods().values() if one.name not in _LEFT_OUT
    ]
    for info in infos if names else ():
        if lacking := _lacking(info):
            fitting = [one.name for one in list_methods().values() if not _lacking(one)]
            raise ConfigError(
                f"A search cannot try the merge method `{info.name}`, which {lacking}; it tries {', '.join(fitting)}."
            )
    found = {info.name: info for info in (get_method(AVERAGE), *infos) if not _lacking(info)}
    return sorted(found.values(), key=lambda info: Candidate(info.name).simplicity)


def split_names(text: str) -> list[str]:
    """Return the names of methods in a text that separates them by commas; none for `all`.

    Raises:
        ConfigError: A name is empty.
    """
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return []
    if not all(names):
        raise ConfigError(f"Expected methods to be names such as `ties,wise_ft`, or `all`, but got `{text}`.")
    return names


def grid(infos: Sequence[MethodInfo]) -> Iterator[Candidate]:
    """Yield the methods with their defaults, then in turn one point of each method's grid after another."""
    for round_ in zip_longest(*(_points(info) for info in infos)):
        yield from (one for one in round_ if one is not None)


def neighbors(candidate: Candidate, tried: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield candidates that differ in one option: numbers first, halfway to the nearest tried values; then words.

    Args:
        candidate: The candidate.
        tried: All that were tried; values of their options are those that lie nearest.
    """
    info = get_method(candidate.method)
    for option in info.options.values():
        own = [one.options[option.name] for one in tried if one.method == info.name and option.name in one.options]
        for value in _numbers(option, candidate.options.get(option.name, option.default), own):
            yield _changed(info, candidate, option, value)
    for option in info.options.values():
        current = candidate.options.get(option.name, option.default)
        words: tuple[object, ...] = (True, False) if members(option.type) == (bool,) else option.choices
        for word in words:
            if word != current:
                yield _changed(info, candidate, option, word)


def _lacking(info: MethodInfo) -> str:
    """Return why a method cannot be tried; nothing if it can."""
    if info.trajectory:
        return "goes along the checkpoints of one trajectory"
    if info.needs or info.target:
        return f"needs {', '.join(info.needs) or 'target'} of data"
    required = [option.name for option in info.options.values() if option.required and not option.grid]
    return f"needs the option `{required[0]}`" if required else ""


def _points(info: MethodInfo) -> list[Candidate]:
    """Return the points of a method's grid, its defaults first and the others in an order that mixes them."""
    searched = [option for option in info.options.values() if option.grid]
    points = [
        Candidate(info.name, _without_defaults(info, dict(zip((o.name for o in searched), values, strict=True))))
        for values in product(*(option.grid for option in searched))
    ]
    random.Random(info.name).shuffle(points)
    required = any(option.required for option in info.options.values())
    first = [] if required else [Candidate(info.name)]
    return [*first, *(one for one in points if one.options or required)]


def _without_defaults(info: MethodInfo, options: Mapping[str, object]) -> dict[str, object]:
    known = info.options
    return {name: value for name, value in options.items() if known[name].required or value != known[name].default}


def _changed(info: MethodInfo, candidate: Candidate, option: Option, value: object) -> Candidate:
    return Candidate(info.name, _without_defaults(info, {**candidate.options, option.name: value}))


def _numbers(option: Option, current: object, tried: Sequence[object]) -> Iterator[float]:
    """Yield numbers near the current one: halfway to its neighbors, these, and one step beyond the last."""
    if not option.grid:
        return
    if not isinstance(current, int | float):
        yield from option.grid
        return
    numbers = [float(value) for value in tried if isinstance(value, int | float)]
    known = sorted({*option.grid, float(current), *numbers})
    place, least = known.index(current), _CLOSE * (option.grid[-1] - option.grid[0])
    below, above = known[:place][-1:], known[place + 1 :][:1]
    nearest = (*below, *above)
    for other in nearest:
        if abs(other - current) > 2 * least:
            yield _rounded(option, (other + current) / 2)
    yield from nearest
    if len(nearest) == 1:
        beyond = _rounded(option, 2 * current - nearest[0])
        if _allowed(option, beyond):
            yield beyond


def _rounded(option: Option, value: float) -> float:
    return round(value) if int in members(option.type) else float(f"{value:.4g}")


def _allowed(option: Option, value: float) -> bool:
    try:
        option.check(value)
    except ConfigError:
        return False
    return True


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else yaml_name(value)
