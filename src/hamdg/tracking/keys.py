"""Keys of measurements: values, not strings that would have to be parsed."""

from __future__ import annotations

from typing import NamedTuple


class MetricKey(NamedTuple):
    """The key of a measurement.

    Args:
        name: What is measured, such as `loss` or `cosine/after`.
        source: Which learner (or pair of learners) it is about; empty for none.
        layer: Which layer it is about; empty for the whole network.
    """

    name: str
    source: str = ""
    layer: str = ""

    @property
    def text(self) -> str:
        """The key in one string, for loggers that know nothing else."""
        return "/".join(part for part in self if part)
