"""Multinomial logistic regression on features that are computed once, as near to its minimum as L-BFGS comes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

_ITERATIONS = 1000


class Linear(NamedTuple):
    """A linear classifier: the weight [C, D] and, if it has one, the bias [C]."""

    weight: Tensor
    bias: Tensor | None = None

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores [n, C] of features [n, D]."""
        scores = features @ self.weight.T
        return scores if self.bias is None else scores + self.bias


def zeros(features: Tensor, classes: int, *, bias: bool) -> Linear:
    """Return the classifier of zeros that a fit of these features starts from, in double precision."""
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    return Linear(weight, torch.zeros_like(weight[:, 0]) if bias else None)


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    shares: Tensor,
    penalty: float,
    start: Linear,
    *,
    tolerance: float = 1e-8,
    memory: int = 100,
) -> Linear:
    r"""Return the minimum of $\sum_i s_i \mathrm{CE}(W x_i + b, y_i) + \frac{\lambda}{2} \lVert W \rVert^2$ by L-BFGS.

    The search ends after 1,000 iterations at most, or where a step changes nothing above 1e-12; `tolerance` mostly ends
    it before. The bias is not penalized. With $s_i = 1/n$ and $\lambda = 1/(Cn)$ this is the minimum of scikit-learn's
    `LogisticRegression(C=C)`.

    Args:
        features: Features [n, D] in double precision.
        labels: Their classes [n].
        shares: The weight [n] of each.
        penalty: The weight of the penalty.
        start: Where the search begins, in double precision; with its bias, a bias is fitted.
        tolerance: The search ends where no component of the gradient is above it.
        memory: How many steps back the search looks.
    """
    found = Linear(_trained(start.weight), None if start.bias is None else _trained(start.bias))
    optimizer = torch.optim.LBFGS(
        [one for one in found if one is not None],
        max_iter=_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        history_size=memory,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = cross_entropy(found.scores(features), labels, reduction="none")
        loss = shares @ losses + penalty / 2 * found.weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Linear(found.weight.detach(), None if found.bias is None else found.bias.detach())


def _trained(start: Tensor) -> Tensor:
    return start.detach().clone().requires_grad_()
