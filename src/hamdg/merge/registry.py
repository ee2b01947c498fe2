"""The merge methods by name: what each of them takes, needs and looks at."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeVar, get_args

from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.aliases import ALIASES, Alias, elsewhere
from hamdg.merge.evidence import KINDS, Kind
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.options import Option, read_options
from hamdg.merge.shares import BufferShares, Statement, by_weight
from hamdg.text import did_you_mean, listed

# A package that brings methods lists the modules that register them under this group.
ENTRY_POINTS = "hamdg.merge"


@dataclass(frozen=True)
class Plan:
    """What a method decided after it saw all tensors, where a rule alone does not say it.

    Args:
        rule: Gives the merged tensor (or change) of every site.
        sources: The sources whose buffers count, if not all.
        buffers: What the merged buffers are made of, where data or the models themselves decided it; otherwise what
            the method stated when it was registered.
        models: What stands for the sources where buffers are merged, if the method reordered their units.
    """

    rule: Rule
    sources: tuple[str, ...] | None = None
    buffers: BufferShares | None = None
    models: Mapping[str, Mapping[str, Tensor]] | None = None


Local = Callable[..., Tensor]
Whole = Callable[..., Rule | Plan]
Weights = Literal["none", "factors", "shares"]
LocalT = TypeVar("LocalT", bound=Local)
WholeT = TypeVar("WholeT", bound=Whole)


@dataclass(frozen=True)
class MethodInfo:
    """A registered merge method.

    Args:
        name: What recipes and commands call it.
        summary: First line of its documentation.
        text: The whole of it.
        options: Its options in the order of its signature.
        plan: Takes a `ModelSet` and the options, and gives the rule that merges every tensor.
        on: Whether it works on the `models` or on their `changes` from a base.
        needs_base: It cannot do without a base; methods that work on changes never can.
        uses_base: Its result depends on the base, if there is one.
        weights: What weights of the sources mean: `factors` multiply, `shares` are divided by their sum, `none` are
            taken.
        local: It merges every tensor by itself.
        linear: Its result is a weighted sum of the tensors, so that whatever is no number in one is none in the result.
        trajectory: Its sources are the checkpoints of one trajectory, in the order of their names.
        needs: What it asks of data (see `hamdg.merge.evidence`).
        target: It looks at data of the target domain, so its result is no domain generalization.
        buffers: Gives what the merged buffers are made of, from the sources' weights and what its keyword-only
            parameters name: options, or `base`, whether there is one.
        alias: What this is another name of, if it is one.
    """

    name: str
    summary: str
    text: str
    options: Mapping[str, Option]
    plan: Whole
    on: Literal["models", "changes"]
    needs_base: bool
    uses_base: bool
    weights: Weights
    local: bool
    linear: bool = False
    trajectory: bool = False
    needs: tuple[Kind, ...] = ()
    target: bool = False
    buffers: Statement = by_weight
    alias: Alias | None = None

    def resolved(self, given: Mapping[str, object]) -> tuple[MethodInfo, dict[str, object]]:
        """Return the method that this is another name of, with the options that say the same; or this method.

        Args:
            given: The options that were given.
        """
        if self.alias is None:
            return self, dict(given)
        return _METHODS[self.alias.method], {**self.alias.fixed, **self.alias.defaults, **given}

    def buffer_shares(self, weights: Mapping[str, float], options: Mapping[str, object], base: bool) -> BufferShares:
        """Return what the merged buffers are made of.

        Args:
            weights: Weight of every source that takes part.
            options: The options that were given.
            base: Whether there is a base.
        """
        if self.weights == "shares":
            total = math.fsum(weights.values()) or 1.0
            weights = {source: weight / total for source, weight in weights.items()}
        known = {name: option.default for name, option in self.options.items()} | dict(options) | {"base": base}
        taken = {name: known[name] for name in _keywords(self.buffers)}
        return self.buffers(weights, **taken)


_METHODS: dict[str, MethodInfo] = {}
_loaded: set[str] = set()


def register(
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
        on: What the site holds.
        needs_base: Whether a method on models cannot do without a base.
        uses_base: Whether the base, if there is one, counts in the result of a method on models.
        weights: What the site's weights mean to it, see `MethodInfo`.
        trajectory: Whether its sources are the checkpoints of one trajectory.
        pieces: Whether it treats all entries alike, so that large tensors may come in flat pieces, which is faster.
        linear: Whether the result is a weighted sum of the tensors, none left out: values that are no numbers then need
            not be looked for in the inputs, which is faster too.
        buffers: States what the merged BatchNorm statistics are made of, see `MethodInfo`: a function of the sources'
            weights, and of options of the method as keyword-only parameters, that gives `BufferShares`. Its first line
            of documentation is shown by `hamdg merge --explain`. Without one, the sources count by their weights and
            the base not at all.

    Raises:
        ConfigError: The name is taken, or an option's type is not supported.
    """

    def add(function: LocalT) -> LocalT:
        def plan(family: ModelSet, **options: object) -> Rule:
            def rule(site: TensorSet) -> Tensor:
                return function(site, **options)

            return (lambda site: site.by_pieces(rule)) if pieces else rule

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

    The function takes a `ModelSet` and returns the rule that merges one site (or a `Plan`). See `register`.

    Args:
        name: What recipes and commands call the method.
        on: What the family's sites hold.
        needs_base: Whether a method on models cannot do without a base.
        uses_base: Whether the base, if there is one, counts in the result of a method on models.
        weights: What the family's weights mean to it.
        trajectory: Whether its sources are the checkpoints of one trajectory.
        needs: What it asks of data; the family's `evidence` then answers it.
        target: Whether it looks at data of the target domain.
        buffers: What the merged BatchNorm statistics are made of; a `Plan` may say it instead.

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
    for entry in entry_points(group=ENTRY_POINTS):
        _load(entry)
    return dict(sorted(_METHODS.items()))


def find(name: str) -> MethodInfo:
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
    return replace(info, name=name, options=types.MappingProxyType(options), alias=alias)


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


def _load(entry: EntryPoint) -> None:
    if entry.value in _loaded:
        return
    try:
        entry.load()
    except Exception as error:
        where = f" of the package `{entry.dist.name}`" if entry.dist else ""
        raise ConfigError(
            f"The merge methods `{entry.value}`{where} cannot be loaded ({type(error).__name__}: {error}); "
            "repair or remove that package."
        ) from error
    _loaded.add(entry.value)


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
    for option in _keywords(info.buffers):
        if option not in (*info.options, "base"):
            raise ConfigError(
                f"The buffers of the merge method `{info.name}` take `{option}`, which is no option of it."
            )
    _METHODS[info.name] = info


def _keywords(statement: Statement) -> list[str]:
    return [p.name for p in inspect.signature(statement).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _described(function: Callable[..., object]) -> tuple[str, str, Mapping[str, Option]]:
    """Return the first line of a function's documentation, all of it, and its options."""
    text = inspect.getdoc(function) or ""
    return text.partition("\n")[0], text, types.MappingProxyType(read_options(function))


def _nearest(name: str, known: list[str]) -> str:
    return did_you_mean(name, known, f"known are {listed(known)}.")
