"""Statistics of the sources' data by tensor, as evidence gives them: gathered once and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.model_set import ModelSet

Tensors = Mapping[str, Tensor]
Shape = Callable[[Tensor], tuple[int, ...]]


def gathered(family: ModelSet, what: str, ask: Callable[[str], Tensors], shape: Shape) -> dict[str, dict[str, Tensor]]:
    """Ask for the statistics of every source, and keep those of tensors that take part.

    Args:
        family: The models.
        what: What the statistics are called.
        ask: Gives those of a source by tensor name.
        shape: Gives the shape that a tensor's statistics must have.

    Returns:
        `{source: {tensor name: statistics}}`, for all sources the same names.

    Raises:
        WeightsError: A name is no tensor of the models, names differ between sources, a shape is wrong, or a value is
            NaN or infinite.
    """
    model = next(iter(family.models.values()))
    found: dict[str, dict[str, Tensor]] = {}
    for source in family.sources:
        with torch.enable_grad():
            given = ask(source)
        unknown = sorted(set(given) - set(model))
        if unknown:
            raise WeightsError(
                f"The {what} of `{source}` names `{unknown[0]}`, which is no tensor of the models; name tensors as the "
                "models do."
            )
        found[source] = {name: _real(given[name]) for name in family.names if name in given}
        for name, tensor in found[source].items():
            _check(f"The {what} of `{source}` for `{name}`", tensor, shape(model[name]))
    _check_names(what, found)
    return found


def _real(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.is_floating_point() else tensor.detach().double()


def _check(subject: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise WeightsError(f"{subject} has the shape {tuple(tensor.shape)}; expected is {expected}.")
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{subject} holds NaN or infinite values; look at the data or take a wider dtype.")


def _check_names(what: str, found: Mapping[str, Tensors]) -> None:
    everything = {name for own in found.values() for name in own}
    for source, own in found.items():
        missing = sorted(everything - set(own))
        if missing:
            raise WeightsError(
                f"The {what} of `{source}` lacks `{missing[0]}`, which that of another source has; give it for "
                "all sources or for none."
            )
