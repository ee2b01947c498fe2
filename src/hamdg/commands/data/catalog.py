"""What `hamdg data list` prints: the benchmarks, and where each is on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hamdg.config.data import RENDERED
from hamdg.data.benchmark import Benchmark, Hub
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark, names
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path

_FEW = 12
_NOWHERE = "not found"
_OWN = "custom\n    found     where ROOT, --data.lists or --data.hub says: any data set of your own"


def catalog() -> str:
    """Return a paragraph on every benchmark."""
    return "\n\n".join([*map(_entry, names()), _OWN])


def values() -> list[dict[str, object]]:
    """Return what is known of every benchmark, for programs."""
    return [_values(name) for name in names()]


def _values(name: str) -> dict[str, object]:
    try:
        one = benchmark(name)
    except ConfigError as error:
        return {"name": name, "broken": str(error)}
    found = _found(one)
    return {
        "name": one.name,
        "title": one.title,
        "domains": one.domains,
        "classes": one.classes,
        "versions": {version.name: sum(version.totals.values()) for version in one.versions},
        "hub": one.hub.id if one.hub else None,
        "found": None if found == _NOWHERE else found,
    }


def _entry(name: str) -> str:
    """Return the paragraph on a benchmark, or why the package that brings it is broken."""
    try:
        return "\n".join(_paragraph(benchmark(name)))
    except ConfigError as error:
        return f"{name}\n    broken    {error}"


def _paragraph(one: Benchmark) -> Iterator[str]:
    yield f"{one.name} ({one.title})" if one.title not in ("", one.name) else one.name
    yield f"    domains   {', '.join(one.domains)}"
    yield f"    classes   {_classes(one)}"
    for place, version in enumerate(one.versions):
        yield f"    {'images' if place == 0 else '':<10}{sum(version.totals.values()):,}, {version.name}"
    if one.hub is not None:
        yield f"    hub       {one.hub.id}"
    yield f"    found     {_found(one)}"


def _classes(benchmark: Benchmark) -> str:
    names = benchmark.classes
    if len(names) <= _FEW:
        return f"{len(names)}: {', '.join(names)}"
    return f"{len(names)}, from {names[0]} to {names[-1]}"


def _found(benchmark: Benchmark) -> str:
    if benchmark.name in RENDERED:
        return "everywhere: its images are rendered"
    try:
        # Without the hub, so that the network is not used.
        return str(locate(replace(benchmark, hub=None)).root)
    except DataError:
        pass
    if benchmark.hub is not None and _is_cached(benchmark.hub):
        return "a copy of the hub's, in the cache"
    return _NOWHERE


def _is_cached(hub: Hub) -> bool:
    """Return whether the hub's data set is in the cache; its library takes a second to load, so only with a cache."""
    if not _cache_of_hub().is_dir():
        return False
    from hamdg.data.hub.copies import is_cached

    return is_cached(hub)


def _cache_of_hub() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return user_path(os.environ.get("HF_DATASETS_CACHE") or str(Path(home) / "datasets"), "HF_DATASETS_CACHE")
