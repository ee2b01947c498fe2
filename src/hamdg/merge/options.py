"""Options of merge methods, read off their signatures: types, ranges, defaults and what they mean."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

from hamdg.errors import ConfigError, unexpected

KindOfValue = Literal["number", "whole number", "truth value", "text", "choice"]

# What `merge` itself takes; a method's option by such a name could never be given.
RESERVED = frozenset(
    {"method", "models", "base", "weights", "evidence", "buffers", "lines", "precision", "dtype", "device", "threads"}
    | {"allow_nonfinite", "paths", "out", "options", "settings", "prefixes", "key", "keys"}
)
_KINDS: dict[object, KindOfValue] = {float: "number", int: "whole number", bool: "truth value", str: "text"}
_ENTRY = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |^\S|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Range:
    """Which numbers an option may be: `density: Annotated[float, Range(0, 1)]`.

    Args:
        low: The smallest number.
        high: The largest one.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Say whether a number is in the range."""
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        """Say the range in words."""
        low = f"{'above' if self.above else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'below' if self.below else 'at most'} {self.high:g}" if self.high < math.inf else ""
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Option:
    """One option of a merge method.

    Args:
        name: The keyword.
        kind: What values must be: `number`, `whole number`, `truth value`, `text` or `choice`.
        choices: The allowed values of a `choice`.
        optional: Whether `None` is allowed.
        default: The value when the option is not given.
        required: Whether it has to be given.
        range: Which numbers are allowed.
        text: What it means.
    """

    name: str
    kind: KindOfValue
    choices: tuple[str, ...] = ()
    optional: bool = False
    default: object = None
    required: bool = False
    range: Range = Range()
    text: str = ""

    @property
    def expected(self) -> str:
        """Say in words what is allowed."""
        text = f"one of {self.choices}" if self.kind == "choice" else f"a {self.kind}"
        text += f" {self.range}" if str(self.range) else ""
        return f"{text} or None" if self.optional else text

    def check(self, value: object) -> None:
        """Raise a `ConfigError` unless the value is of the option's kind and in its range."""
        if not (self.optional and value is None) and not self._fits(value):
            raise unexpected(self.name, self.expected, repr(value))

    def parse(self, text: str) -> object:
        """Return the value that a text on the command line stands for.

        Raises:
            ConfigError: It stands for none that is allowed.
        """
        value: object = text
        if self.optional and text.lower() in ("none", "null"):
            value = None
        elif self.kind == "truth value" and text.lower() in ("true", "false"):
            value = text.lower() == "true"
        elif self.kind in ("number", "whole number"):
            for read in (int, float) if self.kind == "number" else (int,):
                try:
                    value = read(text)
                    break
                except ValueError:
                    continue
        self.check(value)
        return value

    def _fits(self, value: object) -> bool:
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "truth value":
            return isinstance(value, bool)
        if self.kind == "text":
            return isinstance(value, str)
        if isinstance(value, bool):
            return False
        if self.kind == "whole number":
            return isinstance(value, int) and value in self.range
        return isinstance(value, int | float) and math.isfinite(value) and value in self.range


def read_options(function: Callable[..., object]) -> dict[str, Option]:
    """Return the options of a function: its keyword-only parameters, in order.

    Raises:
        ConfigError: An option's type is not supported, or its name belongs to `merge` itself.
    """
    hints = get_type_hints(function, include_extras=True)
    texts = _texts(inspect.getdoc(function) or "")
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    taken = [p.name for p in keywords if p.name in RESERVED]
    if taken:
        raise ConfigError(f"No option may be named `{taken[0]}`: `merge` takes an argument of that name.")
    return {p.name: _option(p, hints.get(p.name), texts.get(p.name, "")) for p in keywords}


def _option(parameter: inspect.Parameter, hint: object, text: str) -> Option:
    name = parameter.name
    bounds = Range()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, Range)), bounds)
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = [member for member in members if member is not type(None)]
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    optional = len(plain) < len(members)
    if len(plain) == 1 and get_origin(plain[0]) is Literal:
        return Option(name, "choice", get_args(plain[0]), optional, default, required, text=text)
    if len(plain) == 1 and plain[0] in _KINDS:
        return Option(name, _KINDS[plain[0]], (), optional, default, required, bounds, text)
    raise ConfigError(
        f"Option `{name}` has type `{hint}`; use float, int, bool, str or Literal, each `| None` if needed."
    )


def _texts(documentation: str) -> dict[str, str]:
    """Return what a Google docstring says about every argument."""
    _, _, arguments = documentation.partition("\nArgs:\n")
    arguments = arguments.split("\n\n")[0]
    return {name: " ".join(text.split()) for name, text in _ENTRY.findall(arguments)}
