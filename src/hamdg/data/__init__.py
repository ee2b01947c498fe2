"""Where images come from: benchmarks, folders, lists and the hub; caches, splits, augmentation and batches.

Public are the names below: `benchmark("pacs")` finds a benchmark by its name, `names()` lists all, and a package that
brings a benchmark makes a `Benchmark`. The function `benchmark` hides the module of the same name: write
`from hamdg.data.benchmark import ...` for what is in that.
"""

from hamdg.data.benchmark import Benchmark, Hub, Version
from hamdg.data.registry import benchmark, names

__all__ = ["Benchmark", "Hub", "Version", "benchmark", "names"]
