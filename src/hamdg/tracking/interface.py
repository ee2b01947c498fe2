"""Interfaces of loggers beyond Lightning's, and how values and results reach any logger."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

from lightning.fabric.loggers.logger import Logger as FabricLogger
from lightning.pytorch.loggers import Logger

from hamdg.tracking.keys import MetricKey
from hamdg.tracking.results import Results


class KeyedLogger(Logger):
    """A Lightning logger that takes measurements by key, where others take them under the key's text."""

    @abstractmethod
    def log(self, values: Mapping[MetricKey, float], step: int) -> None:
        """Take measurements by key."""


class ResultLogger(Logger):
    """A Lightning logger that takes all that a step found, where others take its numbers alone."""

    @abstractmethod
    def log_results(self, results: Results) -> None:
        """Take what a step found: numbers, tables, images; called once, at its end."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the step, which `finalize` does not: the Trainer calls that before the step has its results."""


def log_values(loggers: Iterable[FabricLogger], values: Mapping[MetricKey, float], step: int) -> None:
    """Give measurements to all loggers: to our own by key, to others under the key's text."""
    for logger in loggers:
        if isinstance(logger, KeyedLogger):
            logger.log(values, step)
        else:
            logger.log_metrics({key.text: value for key, value in values.items()}, step)


def log_results(loggers: Iterable[Logger], results: Results) -> None:
    """Give all loggers what a step found; those that know nothing but numbers get these."""
    for logger in loggers:
        if isinstance(logger, ResultLogger):
            logger.log_results(results)
        elif results.numbers:
            logger.log_metrics(results.numbers, 0)


def close(logger: Logger, failed: bool) -> None:
    """Close a logger at the end of its step."""
    if isinstance(logger, ResultLogger):
        logger.close(failed)
    else:
        logger.finalize("failed" if failed else "success")
