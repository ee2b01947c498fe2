"""JSON of plain data, for programs that read what a command prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path


def json_text(value: object) -> str:
    """Return plain data as JSON in ASCII, which every encoding of an output has.

    Args:
        value: Numbers, texts, paths, mappings, lists, dataclasses and named tuples within each other. What JSON has no
            number for (NaN, infinity) becomes `null`.

    Raises:
        TypeError: If something else is among them.
    """
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_plain(one) for one in value]
    raise TypeError(f"Expected plain data, but got a `{type(value).__name__}`.")
