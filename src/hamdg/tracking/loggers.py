"""How values reach Lightning's loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lightning.fabric.loggers.logger import Logger

from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.keys import MetricKey


def log_values(loggers: Iterable[Logger], values: Mapping[MetricKey, float], step: int) -> None:
    """Give measurements to all loggers: to our own by key, to others under the key's text."""
    for logger in loggers:
        if isinstance(logger, CsvTracker):
            logger.log(values, step)
        else:
            logger.log_metrics({key.text: value for key, value in values.items()}, step)
