"""How the gradients of the source domains agree: cosines between sources, beside those between halves of one source.

A mean gradient of n images is the true one plus noise, so that a cosine between two sources is small where they
disagree and where there are few images. Each source's images are split into two halves, and every cosine is one between
means of n/2 images: of two halves of one source, which differ by noise alone, or of two sources. Both can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from hamdg.models.layers import layer_of
from hamdg.models.network import Network

# The layer of all tensors in front of the classifier together.
WHOLE = "whole"
# Where two halves of one source are at most so similar, noise is more than half of a gradient's squared length.
NOISY = 0.5
# Below it, the corrected cosine divides by what is nearly zero.
MEASURABLE = 0.1

Gradient = Mapping[str, Tensor]
"""A mean gradient, by parameter."""


class Pair(NamedTuple):
    """How the gradients of two sources agree.

    Args:
        cosine: The cosine of their means over n/2 images each, averaged over the four pairs of halves.
        floors: The same between the two halves of each of the sources; 1 without noise.
        corrected: The cosine without noise, as estimated: `cosine` over the root of the product of `floors`; `None`
            where a floor is below `MEASURABLE`. An estimate may be beyond 1.
    """

    cosine: float | None
    floors: tuple[float | None, float | None]
    corrected: float | None

    @property
    def noisy(self) -> bool:
        """Whether noise is more than half of the squared length of one of the gradients."""
        return any(floor is None or floor < NOISY for floor in self.floors)


class Agreement(NamedTuple):
    """The agreement of all pairs of sources, by layer.

    Args:
        images: How many images of each source the gradients are of.
        floors: By source and layer, the cosine of the two halves.
        pairs: By pair of sources and layer; the last layer is `WHOLE`.
        head: The layer behind the features, which is left out of `WHOLE`; empty where none is trained.
    """

    images: dict[str, int]
    floors: dict[str, dict[str, float | None]]
    pairs: dict[tuple[str, str], dict[str, Pair]]
    head: str

    @property
    def layers(self) -> list[str]:
        """The layers by depth, without `WHOLE`."""
        return [layer for layer in next(iter(self.floors.values())) if layer != WHOLE]


def mean_gradient(
    network: Network, loss: Callable[[Tensor, Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all images of some batches, by parameter, on the CPU.

    Args:
        network: The network, in evaluation mode.
        loss: Mean loss of scores and labels.
        batches: Normalized images and their labels.
    """
    parameters = network.trainable()
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    for images, labels in batches:
        with torch.enable_grad():
            value = loss(network(images), labels)
        found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), found, strict=True):
            if gradient is not None:
                total += len(labels) * gradient
        count += len(labels)
    return {name: (total / count).cpu() for name, total in sums.items()}


def agreement(
    halves: Mapping[str, tuple[Gradient, Gradient]],
    images: Mapping[str, int],
    layers: Sequence[str] = (),
    head_prefix: str = "",
) -> Agreement:
    """Return how the gradients of sources agree.

    Args:
        halves: Of each source the mean gradients of two halves of its images.
        images: How many images these are together.
        layers: All layers by depth.
        head_prefix: What the names of tensors behind the features begin with; these are left out of the whole, since a
            head that was fitted to the sources has gradients that cancel each other.
    """
    grams = _inner_products(list(halves.values()), head_prefix)
    ordered = [layer for layer in layers if layer in grams]
    ordered += [layer for layer in grams if layer not in ordered and layer != WHOLE]
    tables = {layer: _cosines(grams[layer]) for layer in (*ordered, WHOLE) if layer in grams}
    names = list(halves)
    floors = {name: {layer: table[2 * k][2 * k + 1] for layer, table in tables.items()} for k, name in enumerate(names)}
    pairs = {
        (names[a], names[b]): {layer: _pair(table, a, b) for layer, table in tables.items()}
        for a, b in combinations(range(len(names)), 2)
    }
    return Agreement(dict(images), floors, pairs, layer_of(head_prefix.removesuffix(".")) if head_prefix else "")


def _inner_products(halves: Sequence[tuple[Gradient, Gradient]], head_prefix: str) -> dict[str, Tensor]:
    """Return the inner products [2S, 2S] of the halves of S sources, by layer and over the whole."""
    grams: dict[str, Tensor] = {}
    for name in halves[0][0]:
        rows = torch.stack([half[name].flatten() for pair in halves for half in pair]).double()
        product = rows @ rows.T
        is_head = bool(head_prefix) and name.startswith(head_prefix)
        for layer in (layer_of(name), *([] if is_head else [WHOLE])):
            grams[layer] = grams[layer] + product if layer in grams else product
    return grams


def _cosines(gram: Tensor) -> list[list[float | None]]:
    """Return all cosines; none where a gradient is zero."""
    lengths = gram.diagonal().sqrt()
    cosines: list[list[float]] = (gram / lengths[:, None] / lengths[None]).tolist()
    zero = (lengths == 0).tolist()
    return [
        [None if zero[row] or zero[column] else value for column, value in enumerate(values)]
        for row, values in enumerate(cosines)
    ]


def _pair(table: Sequence[Sequence[float | None]], a: int, b: int) -> Pair:
    across = [table[row][column] for row in (2 * a, 2 * a + 1) for column in (2 * b, 2 * b + 1)]
    known = [one for one in across if one is not None]
    cosine = sum(known) / len(known) if len(known) == len(across) else None
    floors = table[2 * a][2 * a + 1], table[2 * b][2 * b + 1]
    return Pair(cosine, floors, _corrected(cosine, floors))


def _corrected(cosine: float | None, floors: tuple[float | None, float | None]) -> float | None:
    first, second = floors
    if cosine is None or first is None or second is None or min(first, second) < MEASURABLE:
        return None
    return cosine / float((first * second) ** 0.5)
