"""The merge methods by name, and what each of them takes."""

from __future__ import annotations

import difflib
import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from hamdg.errors import ConfigError

Method = Callable[..., dict[str, Tensor]]
MethodT = TypeVar("MethodT", bound=Method)


@dataclass(frozen=True)
class Option:
    """One option of a merge method.

    Args:
        name: The keyword.
        kind: What values must be: `number`, `whole number`, `truth value`, `text` or `choice`.
        choices: The allowed values of a `choice`.
        optional: Whether `None` is allowed.
        default: The value when the option is not given.
    """

    name: str
    kind: Literal["number", "whole number", "truth value", "text", "choice"]
    choices: tuple[str, ...]
    optional: bool
    default: object

    @property
    def expected(self) -> str:
        """Say in words what is allowed."""
        text = f"one of {self.choices}" if self.kind == "choice" else f"a {self.kind}"
        return f"{text} or None" if self.optional else text

    def check(self, value: object) -> None:
        """Raise a `ConfigError` unless the value is of the option's kind."""
        if not (self.optional and value is None) and not self._fits(value):
            raise ConfigError(f"Expected argument `{self.name}` to be {self.expected}, but got `{value!r}`.")

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
            return isinstance(value, int)
        return isinstance(value, int | float) and math.isfinite(value)


@dataclass(frozen=True)
class MethodInfo:
    """A registered merge method.

    Args:
        name: What recipes and commands call it.
        summary: First line of its documentation.
        needs_base: The method works on task vectors (models minus base) and gives one task vector; otherwise it works
            on the models themselves.
        options: Its options in the order of its signature.
        function: The pure function underneath.
    """

    name: str
    summary: str
    needs_base: bool
    options: Mapping[str, Option]
    function: Method


_METHODS: dict[str, MethodInfo] = {}
_KINDS: dict[object, Literal["number", "whole number", "truth value", "text"]] = {
    float: "number",
    int: "whole number",
    bool: "truth value",
    str: "text",
}


def register(name: str, *, needs_base: bool) -> Callable[[MethodT], MethodT]:
    """Register a merge method under a name; its keyword-only parameters become its options.

    The function takes two positional arguments: the vectors, `{source: {tensor name: tensor}}` in fp32 (fp64 where an
    input is), and the base's tensors (`None` if the user gave none). With `needs_base` the vectors are task vectors and
    the result is one task vector; without, the vectors are the models and the result is the merged model.

    Args:
        name: What recipes and commands call the method.
        needs_base: Whether the method works on task vectors.

    Raises:
        ConfigError: The name is taken, or an option's type is not supported.
    """

    def add(function: MethodT) -> MethodT:
        if name in _METHODS:
            raise ConfigError(f"A merge method `{name}` is registered already; choose another name.")
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        _METHODS[name] = MethodInfo(name, summary, needs_base, types.MappingProxyType(_options(function)), function)
        return function

    return add


def methods() -> dict[str, MethodInfo]:
    """Return all registered methods by name, sorted."""
    return dict(sorted(_METHODS.items()))


def find(name: str) -> MethodInfo:
    """Return the method of this name.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    if name not in _METHODS:
        raise ConfigError(f"There is no merge method `{name}`; {_nearest(name, list(methods()))}")
    return _METHODS[name]


def check_options(info: MethodInfo, options: Mapping[str, object]) -> None:
    """Check the names and kinds of the options given to a method.

    Raises:
        ConfigError: An option is unknown (the message names the nearest) or its value is of the wrong kind.
    """
    for name, value in options.items():
        if name not in info.options:
            hint = _nearest(name, list(info.options)) if info.options else "it takes none."
            raise ConfigError(f"Merge method `{info.name}` has no option `{name}`; {hint}")
        info.options[name].check(value)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else "known are " + ", ".join(f"`{other}`" for other in known) + "."


def _options(function: Method) -> dict[str, Option]:
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: _option(p.name, hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def _option(name: str, hint: object, default: object) -> Option:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    optional = type(None) in members
    plain = [member for member in members if member is not type(None)]
    if len(plain) == 1 and get_origin(plain[0]) is Literal:
        return Option(name, "choice", get_args(plain[0]), optional, default)
    if len(plain) == 1 and plain[0] in _KINDS:
        return Option(name, _KINDS[plain[0]], (), optional, default)
    raise ConfigError(
        f"Option `{name}` has type `{hint}`; use float, int, bool, str or Literal, each `| None` if needed."
    )
