"""What data say about models, asked for by methods that cannot do without; the caller answers, from source data only.

Pass one object as `evidence` to `merge`; it implements the protocols that the method names in `MethodInfo.needs`.
Weights that it is handed are complete models: everything that a file would hold, buffers included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.model_set import ModelSet
from hamdg.merge.tensors import Tensors, unless_narrow

if TYPE_CHECKING:
    from hamdg.merge.search import Found

Kind = Literal["validation", "holdout", "losses", "gradients", "activations", "target"]
Shape = Callable[[Tensor], tuple[int, ...]]


@runtime_checkable
class Validation(Protocol):
    """How good a model is on validation data."""

    def score(self, weights: Tensors) -> float:
        """Return a model's validation score; higher is better."""


@runtime_checkable
class HoldOut(Protocol):
    """How good a model is on the hold-out set of one source."""

    def outcomes(self, weights: Tensors, source: str) -> Sequence[float]:
        """Return how right a model is on each example of a source's hold-out set: 1 or 0, or one score for all."""


@runtime_checkable
class SearchListener(Protocol):
    """Evidence that wants to know what a search has tried."""

    def searched(self, found: Found) -> None:
        """Take what a search has tried."""


@runtime_checkable
class Losses(Protocol):
    """How good every source (a checkpoint of a trajectory) was on validation data when it was stored."""

    def loss(self, source: str) -> float:
        """Return the validation loss of a source."""


@runtime_checkable
class Gradients(Protocol):
    """How much the data depend on every weight."""

    def fisher(self, source: str) -> Tensors:
        """Return the diagonal Fisher information of a source's weights on its own data, by tensor name.

        It is the mean over examples of the squared gradient of the log likelihood, per example, with labels drawn from
        the model. Tensors without an entry are averaged.
        """


@runtime_checkable
class Activations(Protocol):
    """What goes into the linear layers."""

    def gram(self, source: str) -> Tensors:
        """Return X^T X of the inputs of a source's linear layers on its own data, by the name of the weight.

        Tensors without an entry are averaged.
        """


@runtime_checkable
class Target(Protocol):
    """Unlabeled data of the target domain: not domain generalization."""

    def entropy(self, weights: Tensors) -> tuple[float, Tensors]:
        """Return the mean entropy of a model's predictions on the next batch, and its gradient by tensor name."""


KINDS: dict[Kind, type] = {
    "validation": Validation,
    "holdout": HoldOut,
    "losses": Losses,
    "gradients": Gradients,
    "activations": Activations,
    "target": Target,
}


def check_evidence(method: str, needs: tuple[Kind, ...], evidence: object) -> None:
    """Check that the evidence answers what a method asks.

    Raises:
        ConfigError: It does not; the message names the protocol and its method.
    """
    for kind in needs:
        protocol = KINDS[kind]
        if not isinstance(evidence, protocol):
            (call,) = [name for name in vars(protocol) if not name.startswith("_")]
            raise ConfigError(
                f"Merge method `{method}` needs {kind}: give `evidence`, an object with the method `{call}` "
                f"(`hamdg.merge.evidence.{protocol.__name__}`)."
            )


def gather_by_tensor(
    model_set: ModelSet, what: str, ask: Callable[[str], Tensors], shape: Shape
) -> dict[str, dict[str, Tensor]]:
    """Ask for what evidence says of every source, and keep those of tensors that take part.

    Args:
        model_set: The models.
        what: What it is called.
        ask: Gives those of a source by tensor name.
        shape: Gives the shape that it must have for a tensor.

    Returns:
        `{source: {tensor name: values}}`, for all sources the same names.

    Raises:
        WeightsError: A name is not a tensor of the models, names differ between sources, a shape is wrong, or a value
            is NaN or infinite.
    """
    model = next(iter(model_set.models.values()))
    found: dict[str, dict[str, Tensor]] = {}
    for source in model_set.sources:
        with torch.enable_grad():
            given = ask(source)
        unknown = sorted(set(given) - set(model))
        if unknown:
            raise WeightsError(
                f"The {what} of `{source}` names `{unknown[0]}`, which is not a tensor of the models; name tensors as "
                "the models do."
            )
        own = model_set.untied(given)
        found[source] = {name: _real(own[name]) for name in model_set.names if name in own}
        for name, tensor in found[source].items():
            _check(f"The {what} of `{source}` for `{name}`", tensor, shape(model[name]))
    _check_names(what, found)
    return found


def _real(tensor: Tensor) -> Tensor:
    # Comparisons are not there for floats of eight bits.
    plain = tensor.detach()
    return plain.to(unless_narrow(plain.dtype)) if plain.is_floating_point() else plain.double()


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
