"""The registered benchmarks."""

from __future__ import annotations

import difflib

from hamdg.data.benchmark import Benchmark
from hamdg.data.benchmarks.mini import MINI
from hamdg.data.benchmarks.pacs import PACS
from hamdg.errors import ConfigError

_BENCHMARKS = {one.name: one for one in (MINI, PACS)}


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called `name`.

    Raises:
        ConfigError: If there is none; the message names the nearest and all others.
    """
    if name in _BENCHMARKS:
        return _BENCHMARKS[name]
    near = difflib.get_close_matches(name, _BENCHMARKS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"it can be {', '.join(f'`{b}`' for b in _BENCHMARKS)}."
    raise ConfigError(f"`benchmark`: there is no benchmark `{name}`; {hint}")


def benchmarks() -> tuple[Benchmark, ...]:
    """Return all registered benchmarks."""
    return tuple(_BENCHMARKS.values())
