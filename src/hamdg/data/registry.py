"""The benchmarks by name: one a module in `benchmarks/`, and those that other packages bring by entry points."""

from __future__ import annotations

import difflib
import pkgutil
from functools import cache
from importlib import import_module

from hamdg.data import benchmarks as package
from hamdg.data.benchmark import Benchmark, normalized
from hamdg.errors import ConfigError
from hamdg.plugins import load_plugin, plugins
from hamdg.text import listed

GROUP = "hamdg.benchmarks"


@cache
def builtin() -> dict[str, Benchmark]:
    """Return the benchmarks of hamdg itself, by name: each is called as its module in `benchmarks/`, in capitals."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        one = getattr(import_module(f"{package.__name__}.{module.name}"), module.name.upper())
        assert isinstance(one, Benchmark)
        assert one.name == module.name.replace("_", "-")
        found[one.name] = one
    return found


def names() -> tuple[str, ...]:
    """Return the names of all benchmarks, those of other packages last; none of these is imported."""
    return (*builtin(), *(name for name in plugins(GROUP) if name not in builtin()))


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called `name`.

    Raises:
        ConfigError: If there is none (the message names the nearest, or all), or the package that brings it is broken.
    """
    if name in builtin():
        return builtin()[name]
    if name in plugins(GROUP):
        return _of_package(name)
    near = _nearest(name)
    hint = f"did you mean `{near}`?" if near else f"it can be {listed(names())}."
    raise ConfigError(f"`benchmark`: there is no benchmark `{name}`; {hint}")


def _of_package(name: str) -> Benchmark:
    """Return a benchmark of another package."""
    found = load_plugin(GROUP, name, "benchmark")
    if not isinstance(found, Benchmark) or found.name != name:
        what = f"a benchmark called `{found.name}`" if isinstance(found, Benchmark) else f"a `{type(found).__name__}`"
        raise ConfigError(
            f"The entry point `{name}` of the group `{GROUP}` names {what}; it must name a `hamdg.data.Benchmark` "
            f"called `{name}`."
        )
    return found


def _nearest(name: str) -> str | None:
    """Return the benchmark whose name, title or folder is most like `name`; `None` if none is."""
    known = {normalized(text): one.name for one in builtin().values() for text in (one.name, one.title, *one.folders)}
    known |= {normalized(other): other for other in names()}
    near = difflib.get_close_matches(normalized(name), known, n=1)
    return known[near[0]] if near else None
