"""Git Re-Basin: bring the units of all models into one order before averaging."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from hamdg.merge.functional.networks import known_spec
from hamdg.merge.functional.permutations import Permuted, Spec, by_unit, permute, pinned, read_spec
from hamdg.merge.method_info import MergePlan
from hamdg.merge.methods.weighted import scaled_weights
from hamdg.merge.model_set import ModelSet, TensorSet
from hamdg.merge.registry import global_method
from hamdg.values import Range

Read = Callable[[str], Tensor]


@global_method("rebasin", on="models", weights="shares")
def rebasin(
    model_set: ModelSet,
    *,
    reference: Literal["first", "others"] = "first",
    residual: bool = True,
    head_width: Annotated[int | None, Range(1)] = None,
    max_iterations: Annotated[int, Range(1)] = 100,
    seed: int = 0,
    spec: str | None = None,
) -> MergePlan:
    """Reorder the units of every model to match a reference, then average: theta = sum_i w_i P_i(theta_i) / sum_i w_i.

    Git Re-Basin by weight matching, Ainsworth et al., https://arxiv.org/abs/2209.04836. The order P of the hidden units
    maximizes <theta_ref, P(theta_i)>, summed over all tensors. One group of units after the other, in random order, is
    matched by a linear assignment while all others are held, until nothing improves.

    The authors' code has the objective, the descent and its random order, channels of a residual stream that move
    together, and at most 100 rounds; its networks consist of linear layers, convolutions and LayerNorm. The paper's own
    text we know from memory.

    Our choice: an order is changed only where that raises the objective, so models that match already stay as they are.
    Attention heads (as wholes, if `head_width` is given), text and vision transformers, and BatchNorm, whose statistics
    move with their channels and are then merged as `buffers` says; where that is not good enough, measure them again on
    data. Groups in which a tensor lies that all models share (a frozen one) stay. Weights of sources count in the
    average, not in the matching. Models fine-tuned from one start match already: expect the plain average there.

    Args:
        reference: `first` matches all sources to the first in alphabetical order; `others` matches each in turn to the
            mean of all others until none changes, the paper's MergeMany (Algorithm 3, from memory), at most
            `max_iterations` times.
        residual: Whether the channels of residual streams are matched too, as in the authors' code.
        head_width: Width of the attention heads (64 in CLIP's ViT-B, 32 in our mini models), or a multiple of it; a
            smaller one than the network's would change what it computes. Without it heads stay where they are, as they
            do in towers whose width it does not divide.
        max_iterations: How many rounds over all groups there are at most; the default is that of the authors' code.
        seed: Seed of the order in which groups are matched.
        spec: Path of a JSON file that says what can be reordered, for networks that we do not know. It holds groups
            like {"hidden": {"units": 64, "axes": [["fc1.weight", 0], ["fc1.bias", 0], ["fc2.weight", 1]]}}.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in next(iter(model_set.models.values())).items()}
    groups = known_spec(shapes, residual, head_width) if spec is None else read_spec(Path(spec), shapes)
    stay = pinned(groups, model_set.models, model_set.names)
    matching = Matching(model_set, {name: group for name, group in groups.items() if name not in stay}, seed)
    if reference == "first":
        matching.to_the_first(max_iterations)
    else:
        matching.to_the_others(max_iterations)

    def rule(tensor_set: TensorSet) -> Tensor:
        total, weights = tensor_set.like.new_zeros(tensor_set.like.shape), scaled_weights(tensor_set)
        for source, tensor in tensor_set.tensors.items():
            total.add_(matching.ordered(source, tensor_set.name, tensor), alpha=weights[source])
        return total.div_(sum(weights.values()))

    return MergePlan(rule, models=matching.models())


class Matching:
    """The orders of every source's units, on the way to match.

    Args:
        model_set: The models.
        spec: What can be reordered.
        seed: Seed of the order in which groups are matched.
    """

    def __init__(self, model_set: ModelSet, spec: Spec, seed: int) -> None:
        self._model_set, self._spec, self._seed = model_set, spec, seed
        self._names = set(model_set.names)
        self._orders = {s: {g: torch.arange(spec[g].units) for g in spec} for s in model_set.sources}

    def to_the_first(self, max_iterations: int) -> None:
        """Match all sources to the first."""
        first, *others = self._model_set.sources
        for source in others:
            self._descend(source, (first,), max_iterations)

    def to_the_others(self, max_iterations: int) -> None:
        """Match each source in turn to the mean of the others, until no order changes."""
        sources = self._model_set.sources
        for turn in range(max_iterations if len(sources) > 1 else 0):
            shuffled = self._shuffled(sources, turn)
            changed = [self._descend(s, tuple(o for o in sources if o != s), max_iterations) for s in shuffled]
            if not any(changed):
                return

    def ordered(self, source: str, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of a source with its units in the order that was found."""
        return permute(name, tensor, self._spec, self._orders[source])

    def models(self) -> dict[str, Permuted]:
        """Return all models with their units in the orders that were found."""
        models = self._model_set.models
        return {source: Permuted(models[source], self._spec, self._orders[source]) for source in models}

    def _descend(self, source: str, others: tuple[str, ...], max_iterations: int) -> bool:
        """Match one source to the mean of others, group by group; say whether any order changed."""
        changed = False
        for turn in range(max_iterations):
            gained = [self._match(group, source, others) for group in self._shuffled(tuple(self._spec), turn)]
            changed = changed or any(gained)
            if not any(gained):
                break
        return changed

    def _match(self, group: str, source: str, others: tuple[str, ...]) -> bool:
        """Give one group the order that matches best, all others being held; say whether that is another one."""
        # Imported late because it takes a while; scipy ships no types.
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

        likeness = self._likeness(group, source, others)
        units = torch.arange(len(likeness))
        order = torch.from_numpy(linear_sum_assignment(likeness.numpy(), maximize=True)[1]).long()
        gain = float(likeness[units, order].sum() - likeness[units, self._orders[source][group]].sum())
        # Less than that is rounding, and would let equal orders take turns.
        if gain <= 1e-12 * len(likeness) * float(likeness.abs().max()):
            return False
        self._orders[source][group] = order
        return True

    def _likeness(self, group: str, source: str, others: tuple[str, ...]) -> Tensor:
        """Return the inner products of the reference's units (rows) with the source's (columns)."""
        units = self._spec[group].units
        total = torch.zeros(units, units, dtype=torch.float64)
        held = {name: order for name, order in self._orders[source].items() if name != group}
        for axis in self._spec[group].axes:
            if axis.tensor not in self._names:
                continue
            tensors = self._model_set.tensor_set(axis.tensor).tensors
            # The sum of the others finds the same order as their mean.
            reference = tensors[source].new_zeros(tensors[source].shape)
            for other in others:
                reference += self.ordered(other, axis.tensor, tensors[other])
            moved = permute(axis.tensor, tensors[source], self._spec, held)
            total += (by_unit(reference, axis, units) @ by_unit(moved, axis, units).T).cpu()
        # With `allow_nonfinite`, non-finite values count for nothing.
        return total.nan_to_num(0.0, 0.0, 0.0)

    def _shuffled(self, names: tuple[str, ...], turn: int) -> list[str]:
        return random.Random(f"{self._seed}/{turn}").sample(names, len(names))
