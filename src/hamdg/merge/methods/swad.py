"""SWAD: the mean of a trajectory between the start and the end of a valley of the validation loss."""

from __future__ import annotations

from operator import add
from typing import Annotated

from hamdg.errors import ConfigError
from hamdg.merge.evidence import Losses
from hamdg.merge.functional.trajectory import NoEnd, NoStart, Valley, in_order
from hamdg.merge.method_info import MergePlan
from hamdg.merge.methods.sma import mean_of
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.values import Range


@global_method("swad", on="models", trajectory=True, needs=("losses",))
def swad(
    model_set: ModelSet,
    *,
    n_s: Annotated[int, Range(1)] = 3,
    n_e: Annotated[int, Range(1)] = 6,
    r: Annotated[float, Range(1)] = 1.3,
    no_start: NoStart = "all",
    no_end: NoEnd = "keep",
) -> MergePlan:
    """Average the checkpoints between the start and the end of a valley of the validation loss.

    theta = mean(theta_{t_s}, ..., theta_{t_e}) with losses E_0, E_1, ...: t_s is the first checkpoint whose loss is the
    minimum of itself and the next n_s - 1; the threshold is l = r mean(E_{t_s}, ..., E_{t_s + n_s - 1}); the first n_e
    losses in a row above l, the last of which comes after those n_s, end the valley, and t_e is the checkpoint before
    them. See Cha et al., https://arxiv.org/abs/2102.08604.

    The paper averages the weights of every step; its released code checks the loss every 50 to 500 of them. The paper's
    threshold is r times the mean loss with r = 1.3, and 1.2 on VLCS; the released code writes the same as 1 + 0.3 and
    1 + 0.2: give r, not the excess. The released code also differs from the paper where n_e is larger than n_s: it
    reaches back before the start and counts a segment twice. Here every checkpoint counts once or not at all.

    Our choices: every checkpoint counts the same; the checkpoints are taken in the order of the numbers in their
    names (`step-2` before `step-10`); losses must be finite, and are meant to be positive. The base has no part in
    the average.

    Args:
        n_s: How many losses decide about the start (the paper's optimum patience); the default is the paper's.
        n_e: How many losses above the threshold end the valley (its overfit patience); the default is the paper's.
        r: The threshold in terms of the mean loss at the start (its tolerance rate); the default is the paper's.
        no_start: What to average if no start is found: `all` checkpoints, or the `last` one as the released code does.
            That the paper's algorithm would average all is from memory.
        no_end: Whether checkpoints above the threshold at the very end, too few to be an end, are kept (`keep`) or not
            (`drop`), as in the released code. That the paper's algorithm would keep them is from memory.
    """
    evidence = model_set.evidence
    assert isinstance(evidence, Losses)
    valley: Valley[tuple[str, ...]] = Valley(n_s, n_e, r, no_start, no_end, add)
    for source in in_order(model_set.sources):
        try:
            valley.add((source,), float(evidence.loss(source)))
        except ConfigError as error:
            raise ConfigError(f"Checkpoint `{source}`: {error}") from error
    chosen = sum(valley.chosen(), ())
    return MergePlan(lambda tensor_set: mean_of(tensor_set, chosen), chosen)
