"""The loggers of one step, from its first value to its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from hamdg.config.tracking import TrackingConfig
from hamdg.tracking.interface import close, log_results
from hamdg.tracking.loggers import open_loggers
from hamdg.tracking.results import Results
from hamdg.tracking.step import TrackedStep


class StepTracker:
    """The loggers of one step, beside `metrics.csv`; none are opened before the step has something to log.

    Args:
        config: Which loggers, and how.
        step: The step.
    """

    def __init__(self, config: TrackingConfig, step: TrackedStep) -> None:
        self._config = config
        self._step = step
        self._open: list[Logger] | None = None

    def loggers(self, last_step: int = 0) -> list[Logger]:
        """Return the loggers, opened when they are first asked for; none in all processes of a run but its first.

        Args:
            last_step: What was measured after this training step is about to be measured again.
        """
        if self._open is None and getattr(rank_zero_only, "rank", 0) == 0:
            self._open = open_loggers(self._config, self._step, last_step)
        return list(self._open or ())

    def finish(self, results: Callable[[], Results]) -> None:
        """Log what the step found, which is put together only if there are loggers; the step is done."""
        if loggers := self.loggers():
            log_results(loggers, results())

    def close(self, failed: bool = False) -> None:
        """Close the loggers that were opened.

        Args:
            failed: Whether the step was stopped or failed.
        """
        for logger in self._open or ():
            close(logger, failed)
        self._open = []


@contextmanager
def tracked(config: TrackingConfig, step: TrackedStep) -> Iterator[StepTracker]:
    """Give a step its loggers while the block runs; if it raises, they are closed as those of a failed step."""
    tracker = StepTracker(config, step)
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close()
