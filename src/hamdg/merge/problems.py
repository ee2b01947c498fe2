"""Errors about many tensors of many models: a few are named, and all of them kept for whoever wants the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamdg.errors import WeightsError
from hamdg.text import shortened

# So many models, and tensors of each, are named in a message.
_MODELS, _TENSORS = 4, 6


def problems_error(start: str, found: Mapping[str, Sequence[str]], end: str) -> WeightsError:
    """Return an error whose message names a few problems of each model, and whose `details` list all of them.

    Args:
        start: What is wrong, up to the list.
        found: Problems by model, both as the message calls them.
        end: What to do, after the list.
    """
    parts = [f"{model} {shortened(problems, _TENSORS)}" for model, problems in found.items()]
    more = len(parts) - _MODELS
    named = parts[:_MODELS] + ([f"{more} more model{'s' if more > 1 else ''} likewise"] if more > 0 else [])
    cut = more > 0 or any(len(problems) > _TENSORS for problems in found.values())
    whole = "\n".join(line for model, problems in found.items() for line in (f"{model}", *_indented(problems)))
    return WeightsError(f"{start} {'; '.join(named)}. {end}", details=f"{start}\n{whole}\n" if cut else "")


def _indented(problems: Sequence[str]) -> list[str]:
    return [f"    {problem}" for problem in problems]
