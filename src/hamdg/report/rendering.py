"""Renders this room's templates: everything is escaped, control characters included."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from hamdg.report.table import percent, signed_points
from hamdg.text import counted, escaped

_STYLE = "page.css"


def render(name: str, **values: object) -> str:
    """Return a template with these values filled in.

    Args:
        name: A file of the folder `templates`.
        values: What the template calls by these names.
    """
    return _environment().get_template(name).render(values)


def style() -> str:
    """Return the style sheet, which stands inside the page itself."""
    return "\n".join(style_parts().values())


@cache
def source(name: str) -> str:
    """Return the text of a style sheet or a script, to stand inside a page."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0].strip()


@cache
def style_parts() -> dict[str, str]:
    """Return the style sheet cut at its headings: `colors`, `charts` (which images take, too) and `page`."""
    _, *parts = source(_STYLE).split("/* == ")
    return {name: rules.strip() for name, _, rules in (part.partition(" == */") for part in parts)}


def image_style(rules: str) -> str:
    """Return rules of an image with plain colors, light and dark: not every program that shows SVG knows variables.

    Args:
        rules: Rules with the page's variables.
    """
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in style_parts()["colors"].split("@media"))
    return f"{_colored(rules, light)}\n@media (prefers-color-scheme: dark) {{{_colored(rules, dark)}\n}}"


def _colored(rules: str, colors: Mapping[str, str]) -> str:
    return re.sub(r"var\(--(\w+)\)", lambda match: colors[match[1]], rules)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hamdg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_written_out,
    )
    environment.filters |= {"percent": percent, "points": signed_points, "coded": _coded, "counted": counted}
    return environment


def _coded(text: str) -> Markup:
    """Return a text whose parts in backticks are code."""
    parts = [escape(escaped(part, keep="\n")) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def _written_out(value: object) -> object:
    """Return a value that is shown, with its control characters written out; what a macro made is done already."""
    return escaped(value, keep="\n") if isinstance(value, str) and not hasattr(value, "__html__") else value
