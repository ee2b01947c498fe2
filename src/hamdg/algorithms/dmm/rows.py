"""What DMM's table compares its result with: averages with each kind of statistics, and TIES."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hamdg.merge import merge
from hamdg.models.network import Weights


def averages(clients: Mapping[str, Weights], start: Weights) -> dict[str, tuple[str, dict[str, Tensor]]]:
    """Return the usual merges of all clients without any images, with their labels, by the keys of their rows."""
    return {
        "average_first": (
            "average, first client's statistics",
            merge("uniform", clients, base=start, buffers="first"),
        ),
        "average_naive": ("average, mean of statistics", merge("uniform", clients, base=start, buffers="mean")),
        "average": ("average, pooled statistics", merge("uniform", clients, base=start)),
        "ties": ("TIES, pooled statistics", merge("ties", clients, base=start)),
    }
