"""What data say about models, asked for by methods that cannot do without; the caller answers, from source data only.

Pass one object as `evidence` to `merge`; it implements the protocols that the method names in `MethodInfo.needs`.
Weights that it is handed are complete models: everything that a file would hold, buffers included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from hamdg.errors import ConfigError

Kind = Literal["validation", "losses", "gradients", "activations", "target"]


@runtime_checkable
class Validation(Protocol):
    """How good a model is on validation data."""

    def score(self, weights: Mapping[str, Tensor]) -> float:
        """Return a model's validation score; higher is better."""


@runtime_checkable
class Losses(Protocol):
    """How good every source (a checkpoint of a trajectory) was on validation data when it was stored."""

    def loss(self, source: str) -> float:
        """Return the validation loss of a source."""


@runtime_checkable
class Gradients(Protocol):
    """How much the data depend on every weight."""

    def fisher(self, source: str) -> Mapping[str, Tensor]:
        """Return the diagonal Fisher information of a source's weights on its own data, by tensor name.

        It is the mean over examples of the squared gradient of the log likelihood, per example, with labels drawn from
        the model. Tensors without an entry are averaged.
        """


@runtime_checkable
class Activations(Protocol):
    """What goes into the linear layers."""

    def gram(self, source: str) -> Mapping[str, Tensor]:
        """Return X^T X of the inputs of a source's linear layers on its own data, by the name of the weight.

        Tensors without an entry are averaged.
        """


@runtime_checkable
class Target(Protocol):
    """Unlabeled data of the target domain: not domain generalization."""

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
        """Return the mean entropy of a model's predictions on the next batch, and its gradient by tensor name."""


KINDS: dict[Kind, type] = {
    "validation": Validation,
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
