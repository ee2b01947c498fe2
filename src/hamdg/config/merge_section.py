"""What a recipe's `merge` section means to the merge library: checked, and with the method's defaults filled in."""

from __future__ import annotations

import difflib
from dataclasses import asdict, replace
from typing import cast

from hamdg.config.recipe import MergeConfig, OptionValue, Recipe
from hamdg.errors import ConfigError
from hamdg.merge import MethodInfo, Option
from hamdg.merge.aliases import elsewhere
from hamdg.merge.candidates import searchable, split_names
from hamdg.merge.evidence import Kind
from hamdg.merge.files.provenance import resolved_options
from hamdg.merge.registry import get_method
from hamdg.values import yaml_name

# What a run can ask of data: all of it from the source domains, but for `target`.
ANSWERED: frozenset[Kind] = frozenset(["validation", "holdout", "gradients", "activations", "target"])
# The evidence that `merge.examples` is about.
SAMPLED: frozenset[Kind] = frozenset(["gradients", "activations"])


def method_of(config: MergeConfig) -> MethodInfo:
    """Return the merge method of a recipe.

    Raises:
        ConfigError: There is none of that name, or a run cannot give it what it needs.
    """
    try:
        info = get_method(config.method)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(f"`merge.method`: {text[:1].lower()}{text[1:]}") from None
    # A run's sources have no order.
    if info.trajectory:
        raise ConfigError(
            f"`merge.method`: `{info.name}` goes along the checkpoints of one trajectory, not over sources; choose "
            "another method, or average each source's own trajectory with `history.kind`."
        )
    unanswered = sorted(set(info.needs) - ANSWERED)
    if unanswered:
        raise ConfigError(
            f"`merge.method`: `{info.name}` needs {unanswered[0]}, which a run does not keep; choose another method, "
            "or call `hamdg.merge.merge` with `evidence` of your own."
        )
    _check_target(config, info)
    return info


def merge_options(config: MergeConfig) -> dict[str, OptionValue]:
    """Return the options of a recipe's merge method, those that are not given at their defaults.

    Of another library's name they are those of the method that it means (`completed` gives that one's name).

    Raises:
        ConfigError: The method or an option does not exist, or a value makes no sense.
    """
    info = method_of(config)
    for name in config.options:
        if name not in info.options:
            raise ConfigError(_unknown(name, info))
    for option in info.options.values():
        _check_value(config, option)
    if "holdout" in info.needs:
        _check_searched(config)
    return cast("dict[str, OptionValue]", resolved_options(*info.resolved(config.options)))


def completed(recipe: Recipe) -> Recipe:
    """Return the recipe with all options of its merge method written out: what a run's own `config.yaml` holds.

    Another library's name for a method has become ours.

    Raises:
        ConfigError: The method or an option does not exist, or a value makes no sense.
    """
    return replace(recipe, merge=_completed(recipe.merge))


def defining_merge(config: MergeConfig) -> dict[str, object]:
    """Return the part of the `merge` section that defines a run.

    Raises:
        ConfigError: The method or an option does not exist, or a value makes no sense.
    """
    values = asdict(_completed(config))
    if not SAMPLED & set(method_of(config).needs):
        del values["examples"]
    return values


def _completed(config: MergeConfig) -> MergeConfig:
    own, _ = method_of(config).resolved({})
    return replace(config, method=own.name, options=merge_options(config))


def _check_value(config: MergeConfig, option: Option) -> None:
    key = f"merge.options.{option.name}"
    if option.required and option.name not in config.options:
        raise ConfigError(f"The merge method `{config.method}` needs `{key}`: {option.text}")
    value = config.options.get(option.name, cast("OptionValue", option.default))
    try:
        option.check(value)
    except ConfigError:
        raise ConfigError(f"Expected `{key}` to be {option.expected}, but got `{yaml_name(value)}`.") from None


def _check_searched(config: MergeConfig) -> None:
    try:
        searchable(split_names(str(config.options.get("methods", "all"))))
    except ConfigError as error:
        text = str(error)
        raise ConfigError(f"`merge.options.methods`: {text[:1].lower()}{text[1:]}") from None


def _unknown(name: str, info: MethodInfo) -> str:
    near = difflib.get_close_matches(name, list(info.options), n=1)
    listed = ", ".join(f"`merge.options.{known}`" for known in info.options)
    hint = f"did you mean `merge.options.{near[0]}`?" if near else f"it has {listed}." if listed else "it takes none."
    hint = elsewhere(info.name, name, {known: f"merge.options.{known}" for known in info.options}) or hint
    return f"The merge method `{info.name}` has no option `merge.options.{name}`; {hint}"


def _check_target(config: MergeConfig, info: MethodInfo) -> None:
    if info.target and config.target_data != info.name:
        raise ConfigError(
            f"`merge.method`: `{info.name}` learns from images of the held-out domain, which is not domain "
            f"generalization; to do so all the same, set `merge.target_data` to `{info.name}`."
        )
    if config.target_data is not None and not info.target:
        raise ConfigError(
            f"`merge.target_data` is `{config.target_data}`, but the merge method `{info.name}` looks at no target "
            "data; leave it out."
        )
