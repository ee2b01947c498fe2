"""The registered benchmarks."""

from __future__ import annotations

import difflib

from hamdg.data.benchmark import Benchmark, normalized
from hamdg.data.benchmarks.domainnet import DOMAINNET
from hamdg.data.benchmarks.mini import MINI
from hamdg.data.benchmarks.officehome import OFFICEHOME
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.benchmarks.terra import TERRA
from hamdg.data.benchmarks.vlcs import VLCS
from hamdg.errors import ConfigError

_BENCHMARKS = {one.name: one for one in (MINI, PACS, VLCS, OFFICEHOME, TERRA, DOMAINNET)}


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called `name`.

    Raises:
        ConfigError: If there is none; the message names the nearest, or all.
    """
    if name in _BENCHMARKS:
        return _BENCHMARKS[name]
    near = _nearest(name)
    hint = f"did you mean `{near}`?" if near else f"it can be {', '.join(f'`{b}`' for b in _BENCHMARKS)}."
    raise ConfigError(f"`benchmark`: there is no benchmark `{name}`; {hint}")


def benchmarks() -> tuple[Benchmark, ...]:
    """Return all registered benchmarks."""
    return tuple(_BENCHMARKS.values())


def _nearest(name: str) -> str | None:
    """Return the benchmark whose name, title or folder is most like `name`; `None` if none is."""
    known = {normalized(text): one.name for one in benchmarks() for text in (one.name, one.title, *one.folders)}
    near = difflib.get_close_matches(normalized(name), known, n=1)
    return known[near[0]] if near else None
