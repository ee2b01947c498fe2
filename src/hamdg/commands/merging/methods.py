"""`hamdg merge --list` and `--explain`: the methods as tables and as text."""

from __future__ import annotations

import inspect
import textwrap

from hamdg import console
from hamdg.commands.merging.values import shown
from hamdg.merge import MethodInfo, Option, list_methods
from hamdg.merge.aliases import ALIASES, Alias
from hamdg.merge.registry import get_method
from hamdg.values import members

# Of what is said of options, and of a method (as its own documentation is wrapped).
_WIDTH, _TEXT = 100, 116
_WORKS_ON = {
    "changes": "what the models changed from a base",
    "models": "whole models",
    "trajectory": "checkpoints of one trajectory, in the order of the numbers in their names",
}
WEIGHTS = {"none": "", "factors": "factors", "shares": "shares"}


def show_list() -> int:
    """Print all methods in one table, and what mergekit calls some of them in another."""
    rows = [
        # The formula after a colon is for `--explain`.
        (info.name, works_on(info), needs(info), WEIGHTS[info.weights], info.summary.partition(": ")[0].rstrip("."))
        for info in list_methods().values()
    ]
    console.table(("method", "works on", "needs", "weights", "summary"), rows)
    others = [(name, alias.method, meaning(alias)) for name, alias in ALIASES.items()]
    console.table(("mergekit's name", "method", "options"), others, title="\nThe same by other names")
    aliases = [
        {"name": name, "method": alias.method, "options": {**alias.fixed, **alias.defaults}}
        for name, alias in ALIASES.items()
    ]
    console.result_json({"methods": [facts(info) for info in list_methods().values()], "aliases": aliases})
    return 0


def explain(name: str) -> int:
    """Print what a method does and what its options mean.

    Raises:
        ConfigError: There is no such method.
    """
    info = get_method(name)
    console.result("\n".join(explanation(info)))
    console.result_json(facts(info) | {"text": info.text})
    return 0


def facts(info: MethodInfo) -> dict[str, object]:
    """Return what is known of a method, for programs."""
    options = [
        {
            "name": option.name,
            "expected": option.expected,
            "choices": option.choices,
            "required": option.required,
            "default": option.default,
            "text": option.text,
        }
        for option in info.options.values()
    ]
    return {
        "name": info.name,
        "alias_of": info.alias.method if info.alias else None,
        "summary": info.summary,
        "works_on": works_on(info),
        "needs_base": info.needs_base,
        "needs": info.needs,
        "target_data": info.target,
        "weights": info.weights,
        "options": options,
    }


def explanation(info: MethodInfo) -> list[str]:
    """Return what is said of a method, in lines."""
    body, _, _ = info.text.partition("\nArgs:\n")
    lines = [info.name, "=" * len(info.name), *_other_name(info), body.rstrip(), ""]
    lines += [f"works on   {_WORKS_ON[works_on(info)]}"]
    lines += [f"needs      {needs(info) or 'nothing else'}"]
    lines += [f"weights    {_weights_in_words(info)}"]
    lines += [*_buffers(info), ""]
    if not info.options:
        return [*lines, "It has no options."]
    lines.append("Options:")
    for option in info.options.values():
        default = "has to be given" if option.required else f"default {default_of(option)}"
        tried = f"; a search tries {', '.join(map(shown, option.grid))}" if option.grid else ""
        lines.append(f"  --{option.name.replace('_', '-')}  {_expected(option)}; {default}{tried}")
        lines += textwrap.wrap(option.text, _WIDTH, initial_indent="      ", subsequent_indent="      ")
    return lines


def _other_name(info: MethodInfo) -> list[str]:
    """Return what another library's name means, before the method is explained."""
    if info.alias is None:
        return []
    options = meaning(info.alias)
    start = f"mergekit's name for `{info.alias.method}`{f' with {options}' if options else ''}."
    return [*textwrap.wrap(f"{start} {info.alias.text}", _TEXT), ""]


def meaning(alias: Alias, quote: str = "") -> str:
    """Return which options an alias stands for."""
    options = {**alias.fixed, **alias.defaults}
    return ", ".join(f"{quote}{name}{quote} {shown(value)}" for name, value in options.items())


def works_on(info: MethodInfo) -> str:
    """Return what a method works on, in a word."""
    return "trajectory" if info.trajectory else info.on


def needs(info: MethodInfo) -> str:
    """Return what a method cannot do without beside the models."""
    kinds = ["target data (not DG)" if kind == "target" else kind for kind in info.needs]
    if info.target and "target" not in info.needs:
        kinds.append("target data (not DG)")
    return ", ".join([*(["base"] if info.needs_base else ()), *kinds])


def _weights_in_words(info: MethodInfo) -> str:
    return {
        "none": "it takes none",
        "factors": "multiply what the sources changed; 1 each if none are given",
        "shares": "are divided by their sum; equal if none are given",
    }[info.weights]


def _buffers(info: MethodInfo) -> list[str]:
    """Return what a method states about BatchNorm's statistics; many networks have none."""
    said = (inspect.getdoc(info.buffers) or "Mix what the method states.").partition("\n")[0]
    said = f"{said[0].lower()}{said[1:].rstrip('.')}" + ("; their counters are not used" if info.trajectory else "")
    return textwrap.wrap(said, _WIDTH, initial_indent="BatchNorm  ", subsequent_indent=" " * 11)


def _expected(option: Option) -> str:
    words = " | ".join(option.choices) or option.expected.replace("`", "").removesuffix(" or null")
    return f"{words}, or none" if type(None) in members(option.type) else words


def default_of(option: Option) -> str:
    """Return the default of an option as it is typed."""
    return "(required)" if option.required else "none" if option.default is None else shown(option.default)
