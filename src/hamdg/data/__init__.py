"""Where images come from: benchmarks, folders, lists and the hub; caches, splits, augmentation and batches.

`from hamdg.data import benchmark` gives the function that finds a benchmark by its name; the module of that name, which
defines `Benchmark`, is imported from, never itself.
"""

from hamdg.data.benchmark import Benchmark, Hub, Version
from hamdg.data.registry import benchmark, names

__all__ = ["Benchmark", "Hub", "Version", "benchmark", "names"]
