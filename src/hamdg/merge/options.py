"""Options of merge methods, read off their signatures: types, ranges, defaults and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, get_type_hints

from hamdg.errors import ConfigError, unexpected
from hamdg.text import argument_texts
from hamdg.values import FactorOfSum, Grid, MismatchError, Range, check, choices, describe, members, plain

# What `merge` itself takes; a method's option by such a name could never be given.
RESERVED = frozenset(
    {"method", "models", "base", "weights", "evidence", "buffers", "lines", "precision", "dtype", "device", "threads"}
    | {"allow_nonfinite", "paths", "out", "options", "settings", "prefixes", "key", "keys"}
)


@dataclass(frozen=True)
class Option:
    """One option of a merge method.

    Args:
        name: The keyword.
        type: What values must be, with the range of a number: `Annotated[float | None, Range(0, 1)]`.
        default: The value when the option is not given.
        required: Whether it has to be given.
        text: What it means.
    """

    name: str
    type: object
    default: object = None
    required: bool = False
    text: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """Return what the option can be, if it is one of a few texts."""
        return choices(self.type)

    @property
    def grid(self) -> tuple[float, ...]:
        """Return the values that a search tries; empty for an option that it leaves at its default."""
        return next((extra.values for extra in plain(self.type)[1] if isinstance(extra, Grid)), ())

    def factor_of_sum(self, values: Mapping[str, object]) -> float | None:
        """Return by what the option multiplies the sum of the sources' changes; `None` if there is no such sum.

        Args:
            values: The values of all options of the method.
        """
        for extra in plain(self.type)[1]:
            if isinstance(extra, FactorOfSum) and (not extra.option or values[extra.option] == extra.value):
                own = values[self.name]
                return own if isinstance(own, int | float) else extra.none
        return None

    @property
    def expected(self) -> str:
        """Return in words what is allowed."""
        return describe(self.type)

    def check(self, value: object) -> None:
        """Raise a `ConfigError` unless the value is of the option's type."""
        try:
            check(value, self.type)
        except MismatchError:
            raise unexpected(self.name, describe(self.type, python=True), repr(value)) from None

    def parse(self, text: str) -> object:
        """Return the value that a text on the command line stands for.

        Raises:
            ConfigError: It stands for none that is allowed.
        """
        for value in _readings(text):
            with suppress(MismatchError):
                check(value, self.type)
                return value
        self.check(text)
        return text


def _readings(text: str) -> Iterator[object]:
    """Yield what a text may stand for, the most special first."""
    names = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in names:
        yield names[text.lower()]
    for read in (int, float):
        with suppress(ValueError):
            yield read(text)


def read_options(function: Callable[..., object]) -> dict[str, Option]:
    """Return the options of a function: its keyword-only parameters, in order.

    Raises:
        ConfigError: An option's type is not supported, or its name belongs to `merge` itself.
    """
    hints = get_type_hints(function, include_extras=True)
    texts = argument_texts(inspect.getdoc(function) or "")
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    taken = [p.name for p in keywords if p.name in RESERVED]
    if taken:
        raise ConfigError(f"No option may be named `{taken[0]}`: `merge` takes an argument of that name.")
    return {p.name: _option(p, hints.get(p.name), texts.get(p.name, "")) for p in keywords}


def _option(parameter: inspect.Parameter, hint: object, text: str) -> Option:
    inner = [one for one in members(hint) if one is not type(None)]
    if len(inner) != 1 or not (inner[0] in (float, int, bool, str) or choices(inner[0])):
        raise ConfigError(
            f"Option `{parameter.name}` has type `{plain(hint)[0]}`; use float, int, bool, str or Literal, each "
            "`| None` if needed."
        )
    required = parameter.default is parameter.empty
    # No option may be infinite.
    limited = any(isinstance(extra, Range) for extra in plain(hint)[1])
    kind = hint if limited else Annotated[hint, Range()]
    return Option(parameter.name, kind, None if required else parameter.default, required, text)
