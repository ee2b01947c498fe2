"""SMA: the plain mean of the checkpoints of one trajectory, from some point on."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from hamdg.merge.functional.trajectory import in_order
from hamdg.merge.history import RunningMean, folded, steps_before
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


@global_method("sma", on="models", trajectory=True)
def sma(model_set: ModelSet, *, start: Annotated[float, Range(0, 1, below=True)] = 0.0) -> MergePlan:
    """Average the checkpoints of one trajectory from a start on: theta = (1/n) sum_t theta_t over t >= t_0.

    The sources are checkpoints, taken in the order of the numbers in their names (`step-2` before `step-10`). See
    SWA, https://arxiv.org/abs/1803.05407, and Ensemble of Averages, https://arxiv.org/abs/2110.10832, which average
    the states of a run from some step on, the last one among them. SWA measures BatchNorm's statistics again with the
    averaged weights; a merge has no data, so `buffers` pools those of the checkpoints that count.

    Our choice: the start is a share of the checkpoints that are given, not of the training steps, which a file name
    does not tell; `floor(start * n)` of n are left out. The base has no part in the average.

    Args:
        start: Share of the trajectory that is left out at its beginning. The default averages all: give the checkpoints
            that are wanted. (Lightning's SWA starts at 0.8 of the epochs.)
    """
    first = min(steps_before(start, len(model_set.sources)), len(model_set.sources) - 1)
    chosen = in_order(model_set.sources)[first:]
    return MergePlan(lambda tensor_set: mean_of(tensor_set, chosen), chosen)


def mean_of(tensor_set: TensorSet, sources: tuple[str, ...]) -> Tensor:
    """Return the mean of some of a tensor set's sources; an entry in which they agree keeps its bits."""
    return tensor_set.by_pieces(lambda piece: folded(RunningMean(), (piece.tensors[source] for source in sources)))
