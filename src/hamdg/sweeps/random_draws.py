"""Random settings as DomainBed draws them: every key by a generator of its own, which no other key can disturb."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast, get_args

from hamdg.data.splits import seed_hash
from hamdg.sweeps.checking import Checker, Settings
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import Filled, Range, Words, members

Kind = Literal["uniform", "log10", "log2", "integer", "choice"]
_KINDS = get_args(Kind)
_ENDS = Annotated[Sequence[float], Words("its two ends, `[low, high]`")]
_WHOLE = Annotated[Sequence[int], Words("its two ends, `[low, high]`, both integers")]
# Whole numbers beyond are not exact where they are floating-point.
_MOST_WHOLE = 2**53
_VALUES = Annotated[Sequence[object], Filled(), Words("a list of values, one at least")]


@dataclass(frozen=True)
class Distribution:
    """Where the values of one key are drawn from.

    Args:
        kind: `uniform` is U(a, b), `log10` 10 ** U(a, b), `log2` 2 ** U(a, b), `integer` one of a, ..., b, `choice` one
            of the values.
        values: The two ends, or the values.
        whole: Whether the key takes whole numbers only: what is drawn is rounded down, as DomainBed does.
    """

    kind: Kind
    values: tuple[object, ...]
    whole: bool = False

    def draw(self, seed: int) -> object:
        """Return the value that a seed gives."""
        from numpy.random import RandomState

        state = RandomState(seed)
        if self.kind == "choice":
            return self.values[int(state.choice(len(self.values)))]
        low, high = (float(str(end)) for end in self.values)
        if self.kind == "integer":
            return int(state.randint(int(low), int(high) + 1))
        return self._scaled(state.uniform(low, high))

    def ends(self) -> list[object]:
        """Return the smallest and the largest value that can be drawn, or all of a choice."""
        if self.kind in ("choice", "integer"):
            return list(self.values)
        return [self._scaled(float(str(end))) for end in self.values]

    def _scaled(self, drawn: float) -> object:
        value: float = {"log10": 10.0, "log2": 2.0}[self.kind] ** drawn if self.kind != "uniform" else drawn
        return int(value) if self.whole else value


@dataclass(frozen=True)
class RandomDraws:
    """Random settings of a sweep.

    Args:
        draws: How many; the first one, draw 0, is the recipe as it is.
        ranges: Where the values of each key are drawn from.
    """

    draws: Annotated[int, Range(1, 10_000)]
    ranges: Mapping[str, Distribution]


def drawn(ranges: Mapping[str, Distribution], draw: int, seed: int) -> dict[str, object]:
    """Return the settings of one draw.

    As in DomainBed, a value follows from the number of the draw (the hparam seed), the seed of the run (the trial seed)
    and the name of its key: the same for every held-out domain, and whatever else is drawn.

    Args:
        ranges: Where the values of each key are drawn from.
        draw: The number of the draw; 0 leaves the recipe as it is.
        seed: The seed of the run.
    """
    both = seed_hash(draw, seed)
    return {key: one.draw(seed_hash(both, key)) for key, one in ranges.items()} if draw else {}


def read_draws(given: Settings, checker: Checker) -> RandomDraws:
    """Return what `random` of a sweep file says.

    Raises:
        ConfigError: If a key does not exist or cannot have what is drawn for it.
    """
    checker.keys(given, RandomDraws, "random.")
    for key in RandomDraws.__dataclass_fields__:
        if key not in given:
            raise checker.error("random", f"`random` lacks `{key}`; it is `{{draws: N, ranges: {{...}}}}`.")
    checker.values(given, RandomDraws, "random.")
    draws, ranges = given["draws"], given["ranges"]
    assert isinstance(draws, int)
    assert isinstance(ranges, Mapping)
    return RandomDraws(draws, {key: _distribution(key, one, checker) for key, one in ranges.items()})


def _distribution(key: str, given: Settings, checker: Checker) -> Distribution:
    at, kind = f"random.ranges.{key}", checker.key(key, "random.ranges")
    if not isinstance(given, Mapping) or len(given) != 1:
        raise checker.error(at, f"`{at}` must be one of {listed(_KINDS)} with its values, such as `uniform: [0, 1]`.")
    ((name, values),) = given.items()
    if name not in _KINDS:
        hint = did_you_mean(name, _KINDS, f"there are {listed(_KINDS)}.")
        raise checker.error(f"{at}.{name}", f"there is no distribution `{excerpt(name)}` in `{at}`; {hint}")
    at, whole = f"{at}.{name}", int in members(kind) and float not in members(kind)
    if name == "choice":
        found = [
            checker.typed(one, kind, f"{at}.{place}") for place, one in enumerate(_read(values, _VALUES, at, checker))
        ]
    else:
        found = _read(values, _WHOLE if name == "integer" else _ENDS, at, checker)
        if len(found) != 2 or not float(str(found[0])) < float(str(found[1])):
            raise checker.error(at, f"`{at}` must be its two ends, `[low, high]`, the smaller one first.")
        low, high = (float(str(end)) for end in found)
        if not math.isfinite(high - low) or (name == "integer" and max(abs(low), abs(high)) > _MOST_WHOLE):
            text = f"`{at}` is from {found[0]} to {found[1]}, too wide to draw from; give finite ends, closer together."
            raise checker.error(at, text)
    distribution = Distribution(cast("Kind", name), tuple(found), whole)
    try:
        ends = distribution.ends()
    except OverflowError:
        text = f"`{at}` goes up to {found[1]}, a power that no number can hold; give exponents, such as `[-5, -3]`."
        raise checker.error(at, text) from None
    for end in ends:
        checker.typed(end, kind, at)
    return distribution


def _read(values: object, kind: object, at: str, checker: Checker) -> list[object]:
    return cast("list[object]", checker.typed(values, kind, at))
