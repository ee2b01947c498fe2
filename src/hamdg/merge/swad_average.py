"""SWAD while training: the mean of all states in the valley of the validation loss, from a few copies of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge.functional.trajectory import NoEnd, NoStart, Valley
from hamdg.merge.history import HistoryState, RunningMean


class SwadState(TypedDict):
    """What a SWAD average needs to go on after a restart."""

    open: HistoryState
    early: HistoryState | None
    recent: list[tuple[HistoryState, float]]
    inside: HistoryState | None
    above: HistoryState | None
    threshold: float | None
    run: int
    ended: bool


class SwadAverage:
    """SWAD: the mean of all states between the start and the end of a valley of the validation loss.

    States come in with `update`, as often as wanted; `validated` closes a segment with the loss of the newest state.
    Which segments count is decided as in merge method `swad`, and the mean weighs every state the same, as the
    paper's does.

    It stores at most n_s + 1 copies of the weights until the start is found (means of the last n_s - 1 segments, of
    those before them, and of the open one; n_s copies with `no_start="last"`) and at most 3 afterwards, however long
    the training: with the defaults 4 and 3 copies in fp32.

    Args:
        n_s: How many losses decide about the start.
        n_e: How many losses above the threshold end the valley.
        r: The threshold in terms of the mean loss at the start.
        no_start: The value if no start is found: the mean of `all` states, or of the `last` segment.
        no_end: Whether states above the threshold at the very end, too few to be an end, count (`keep`) or not
            (`drop`). States that no loss was given for yet count with `keep`.
    """

    def __init__(
        self, n_s: int = 3, n_e: int = 6, r: float = 1.3, no_start: NoStart = "all", no_end: NoEnd = "keep"
    ) -> None:
        self._valley: Valley[RunningMean] = Valley(n_s, n_e, r, no_start, no_end, RunningMean.join)
        self._open = RunningMean()

    @property
    def ended(self) -> bool:
        """Whether the valley has ended, so that nothing that comes will count: training may stop."""
        return self._valley.ended

    @property
    def count(self) -> int:
        """How many states the value is the mean of, at present."""
        return sum(part.count for part in self._parts())

    def update(self, tensors: Sequence[Tensor]) -> None:
        """Take in one more state of the weights, as `Average.update` does; none after the valley's end."""
        if not self.ended:
            self._open.update(tensors)

    def validated(self, loss: float) -> None:
        """Close a segment: the newest state has this validation loss.

        Raises:
            ConfigError: The loss is not a finite number, or there was no update since the last loss.
        """
        if self.ended:
            return
        if self._open.count == 0:
            raise ConfigError("There is nothing to validate; call `update` before `validated`.")
        self._valley.add(self._open, loss)
        self._open = RunningMean()

    def value(self) -> list[Tensor]:
        """Return a copy of the average.

        Raises:
            ConfigError: There was no update yet.
        """
        mean = RunningMean()
        for part in self._parts():
            mean.join(part)
        return mean.value()

    def state_dict(self) -> SwadState:
        """Return all that is needed to go on, bit for bit, after `load_state_dict`."""
        valley = self._valley
        return {
            "open": self._open.state_dict(),
            "early": _saved(valley.early),
            "recent": [(segment.state_dict(), loss) for segment, loss in valley.recent],
            "inside": _saved(valley.inside),
            "above": _saved(valley.above),
            "threshold": valley.threshold,
            "run": valley.run,
            "ended": valley.ended,
        }

    def load_state_dict(self, state: SwadState) -> None:
        """Go on from a saved state."""
        valley = self._valley
        self._open.load_state_dict(state["open"])
        valley.early, valley.inside = _restored(state["early"]), _restored(state["inside"])
        valley.above = _restored(state["above"])
        valley.recent = [(_mean(segment), loss) for segment, loss in state["recent"]]
        valley.threshold, valley.run, valley.ended = state["threshold"], state["run"], state["ended"]

    def _parts(self) -> list[RunningMean]:
        valley = self._valley
        if self._open.count == 0:
            return valley.chosen()
        if valley.threshold is None:
            return [*valley.chosen(), self._open] if valley.no_start == "all" else [self._open]
        return [*valley.chosen(), self._open] if valley.no_end == "keep" else valley.chosen()


def _mean(state: HistoryState) -> RunningMean:
    mean = RunningMean()
    mean.load_state_dict(state)
    return mean


def _saved(mean: RunningMean | None) -> HistoryState | None:
    return None if mean is None else mean.state_dict()


def _restored(state: HistoryState | None) -> RunningMean | None:
    return None if state is None else _mean(state)
