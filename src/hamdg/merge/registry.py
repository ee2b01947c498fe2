"""The merge methods by name: registered by decorators, found here and in installed packages."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar, get_args

from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.aliases import ALIASES, Alias, elsewhere
from hamdg.merge.buffers import Statement, by_weight
from hamdg.merge.evidence import KINDS, Kind
from hamdg.merge.method_info import Local, MethodInfo, Weights, Whole, keyword_names
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.options import Option, read_options
from hamdg.plugins import load_entry, plugins
from hamdg.text import did_you_mean, listed

# A package that brings methods lists the modules that register them under this group.
ENTRY_POINTS = "hamdg.merge_methods"


LocalT = TypeVar("LocalT", bound=Local)
WholeT = TypeVar("WholeT", bound=Whole)


_METHODS: dict[str, MethodInfo] = {}
_loaded: set[str] = set()


def tensorwise_method(
    name: str,
    *,
    on: Literal["models", "changes"],
    needs_base: bool = False,
    uses_base: bool = False,
    weights: Weights = "none",
    trajectory: bool = False,
    pieces: bool = False,
    linear: bool = False,
    buffers: Statement = by_weight,
) -> Callable[[LocalT], LocalT]:
    """Register a method that merges every tensor by itself; its keyword-only parameters become its options.

    The function takes a `TensorSet` and gives the merged tensor: the merged change with `on="changes"` (the base is
    added afterwards), the merged weights with `on="models"`. It changes nothing that it is given.

    Args:
        name: What recipes and commands call the method.
        on: What the tensor set holds.
        needs_base: Whether a method on models cannot do without a base.
        uses_base: Whether the base, if there is one, counts in the result of a method on models.
        weights: What the tensor set's weights mean to it, see `MethodInfo`.
        trajectory: Whether its sources are the checkpoints of one trajectory.
        pieces: Whether it treats all entries alike, so that large tensors may come in flat pieces, which is faster.
        linear: Whether the result is a weighted sum of the tensors, none left out: non-finite values then need
            not be looked for in the inputs, which is faster too.
        buffers: States what the merged BatchNorm statistics are made of, see `MethodInfo`: a function of the sources'
            weights, and of options of the method as keyword-only parameters, that gives `BufferShares`. Its first line
            of documentation is shown by `hamdg merge --explain`. Without one, the sources count by their weights and
            the base not at all.

    Raises:
        ConfigError: The name is taken, or an option's type is not supported.
    """

    def add(function: LocalT) -> LocalT:
        def plan(model_set: ModelSet, **options: object) -> Rule:
            def rule(tensor_set: TensorSet) -> Tensor:
                return function(tensor_set, **options)

            return (lambda tensor_set: tensor_set.by_pieces(rule)) if pieces else rule

        base = needs_base or on == "changes"
        summary, text, options = _described(function)
        info = MethodInfo(name, summary, text, options, plan, on, base, uses_base or base, weights, True)
        _add(replace(info, linear=linear, trajectory=trajectory, buffers=buffers))
        return function

    return add


def global_method(
    name: str,
    *,
    on: Literal["models", "changes"],
    needs_base: bool = False,
    uses_base: bool = False,
    weights: Weights = "none",
    trajectory: bool = False,
    needs: tuple[Kind, ...] = (),
    target: bool = False,
    buffers: Statement = by_weight,
) -> Callable[[WholeT], WholeT]:
    """Register a method that has to see all tensors, or data, before it can merge one.

    The function takes a `ModelSet` and returns the rule that merges one tensor of all models (or a `MergePlan`). See
    `tensorwise_method`.

    Args:
        name: What recipes and commands call the method.
        on: What the model set's tensor sets hold.
        needs_base: Whether a method on models cannot do without a base.
        uses_base: Whether the base, if there is one, counts in the result of a method on models.
        weights: What the model set's weights mean to it.
        trajectory: Whether its sources are the checkpoints of one trajectory.
        needs: What it asks of data; the model set's `evidence` then answers it.
        target: Whether it looks at data of the target domain.
        buffers: What the merged BatchNorm statistics are made of; a `MergePlan` may say it instead.

    Raises:
        ConfigError: The name is taken, or an option's type is not supported.
    """

    def add(function: WholeT) -> WholeT:
        unknown = [kind for kind in needs if kind not in KINDS]
        if unknown:
            raise ConfigError(f"Merge method `{name}` needs `{unknown[0]}`; what can be needed is {', '.join(KINDS)}.")
        base = needs_base or on == "changes"
        summary, text, options = _described(function)
        info = MethodInfo(name, summary, text, options, function, on, base, uses_base or base, weights, False)
        _add(replace(info, trajectory=trajectory, needs=needs, target=target, buffers=buffers))
        return function

    return add


def list_methods() -> dict[str, MethodInfo]:
    """Return all methods by name, sorted: the library's own and those of installed packages.

    Raises:
        ConfigError: An installed package's methods cannot be loaded; the message names it.
    """
    for entries in plugins(ENTRY_POINTS).values():
        for entry in entries:
            if entry.value not in _loaded:
                load_entry(entry, f"merge methods `{entry.value}`")
                _loaded.add(entry.value)
    return dict(sorted(_METHODS.items()))


def get_method(name: str) -> MethodInfo:
    """Return the method of this name; for another library's name, our method with the defaults that it has there.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    if name in ALIASES:
        return _other_name(name, ALIASES[name])
    if not isinstance(name, str):
        raise ConfigError(f"Expected argument `method` to be the name of a merge method, but got `{name!r}`.")
    known = _METHODS if name in _METHODS else list_methods()
    if name not in known:
        raise ConfigError(f"There is no merge method `{name}`; {_nearest(name, [*known, *ALIASES])}")
    return known[name]


def _other_name(name: str, alias: Alias) -> MethodInfo:
    info = _METHODS[alias.method]
    options = {
        option.name: replace(option, default=alias.defaults.get(option.name, option.default))
        for option in info.options.values()
        if option.name not in alias.fixed and option.name not in alias.without
    }
    return replace(info, name=name, options=types.MappingProxyType(options), alias=alias, original=info)


def check_options(info: MethodInfo, options: Mapping[str, object]) -> None:
    """Check the names, kinds and ranges of the options given to a method.

    Raises:
        ConfigError: An option is unknown (the message names the nearest) or its value is wrong.
    """
    for name, value in options.items():
        if name not in info.options:
            hint = _nearest(name, list(info.options)) if info.options else "it takes none."
            hint = elsewhere(info.name, name) or hint
            raise ConfigError(f"Merge method `{info.name}` has no option `{name}`; {hint}")
        info.options[name].check(value)
    for option in info.options.values():
        if option.required and option.name not in options:
            raise ConfigError(f"Merge method `{info.name}` needs the option `{option.name}`: {option.text}")


def _add(info: MethodInfo) -> None:
    if info.name in _METHODS or info.name in ALIASES:
        raise ConfigError(f"A merge method `{info.name}` is registered already; choose another name.")
    for argument, value, known in (
        ("on", info.on, ("models", "changes")),
        ("weights", info.weights, get_args(Weights)),
    ):
        if value not in known:
            raise ConfigError(
                f"Expected `{argument}` of the merge method `{info.name}` to be one of {known}, not `{value}`."
            )
    for option in keyword_names(info.buffers):
        if option not in (*info.options, "base"):
            raise ConfigError(
                f"The buffers of the merge method `{info.name}` take `{option}`, which is not an option of it."
            )
    _METHODS[info.name] = info


def _described(function: Callable[..., object]) -> tuple[str, str, Mapping[str, Option]]:
    """Return the first line of a function's documentation, all of it, and its options."""
    text = inspect.getdoc(function) or ""
    return text.partition("\n")[0], text, types.MappingProxyType(read_options(function))


def _nearest(name: str, known: list[str]) -> str:
    return did_you_mean(name, known, f"known are {listed(known)}.")
