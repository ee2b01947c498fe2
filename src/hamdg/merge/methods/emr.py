"""EMR: the elect step of elect, mask and rescale, and what its other two steps need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hamdg.merge.model_set import ModelSet, TensorSet
from hamdg.merge.registry import tensorwise_method


@tensorwise_method("emr", on="changes", pieces=True)
def emr(tensor_set: TensorSet) -> Tensor:
    """Merge to the elected sign and the largest change that has it.

    theta = theta_0 + s max_i |tau_i|, with s = sign(sum_i tau_i) and the maximum over the sources with sign(tau_i) =
    s. See Huang et al., https://arxiv.org/abs/2405.17461.

    This is the unified model of the paper and no more: its masks and rescalers belong to one task each, so that
    whoever uses them knows the task of an example when it is tested, which domain generalization rules out
    (`hamdg.merge.methods.emr.modulators` gives them for other uses). Without its rescalers the unified change is longer
    than most sources' own; LiNeS (`lines`) can shorten it. The paper states the sum in the election (the authors'
    code takes means, which elect the same). Ours: where the changes sum to zero the entry stays at the base, while
    the authors' code then elects minus. There are no options and no weights.
    """
    sign = torch.zeros_like(tensor_set.like)
    for change in tensor_set.tensors.values():
        sign += change
    sign.sign_()
    largest = torch.zeros_like(sign)
    for change in tensor_set.tensors.values():
        # Changes of the other sign become negative and lose against zero.
        torch.maximum(largest, change * sign, out=largest)
    return largest.mul_(sign)


@dataclass(frozen=True)
class Modulator:
    """What turns the unified change back into one source's.

    Args:
        masks: Where the source's change has the elected sign, by tensor name.
        rescale: The source's summed |tau_i| divided by the sum of the unified |tau| within its masks.
    """

    masks: dict[str, Tensor]
    rescale: float


def modulators(model_set: ModelSet) -> dict[str, Modulator]:
    """Return the masks and the rescaler of every source: source i is about theta_0 + rescale_i mask_i (unified change).

    Sums are over the whole model (the authors' code adds up means of tensors instead). Where no entry of a source has
    the elected sign its rescaler is 1.

    Args:
        model_set: The changes.
    """
    changes = model_set.as_changes()

    def look(tensor_set: TensorSet) -> dict[str, tuple[Tensor, float, float]]:
        unified = emr(tensor_set)
        found = {}
        for source, change in tensor_set.tensors.items():
            mask = change * unified > 0
            found[source] = (mask, _l1(change), _l1(unified * mask))
        return found

    seen = changes.map(look)
    result = {}
    for source in changes.sources:
        own = sum(found[source][1] for found in seen.values())
        masked = sum(found[source][2] for found in seen.values())
        masks = {name: found[source][0] for name, found in seen.items()}
        result[source] = Modulator(masks, own / masked if masked > 0 else 1.0)
    return result


def _l1(tensor: Tensor) -> float:
    return float(tensor.abs().sum(dtype=torch.float64))
