"""Task vectors and how alike they are: norms and cosines, summed up in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from hamdg.merge.buffers import is_buffer
from hamdg.merge.tensors import Tensors


@torch.no_grad()
def task_vectors(models: Mapping[str, Tensors], base: Tensors) -> dict[str, dict[str, Tensor]]:
    """Return what every model changed, theta_i - theta_0, in fp32 (fp64 where an input is).

    Args:
        models: Tensors of every source by the source's name.
        base: The common start theta_0.

    Returns:
        `{source: {tensor name: difference}}`, sources sorted; buffers, which are measurements and no weights, and
        tensors that are not floating-point are left out.
    """
    names = [name for name, tensor in base.items() if not is_buffer(name, tensor)]
    return {s: {name: _difference(models[s][name], base[name]) for name in names} for s in sorted(models)}


@torch.no_grad()
def mean_vector(vectors: Mapping[str, Tensors]) -> dict[str, Tensor]:
    """Return the mean over the sources, tensor by tensor."""
    first, *others = (vectors[source] for source in sorted(vectors))
    merged = {}
    for name, tensor in first.items():
        total = tensor.clone()
        for other in others:
            total += other[name]
        merged[name] = total / len(vectors)
    return merged


def norms(vectors: Mapping[str, Tensors]) -> dict[str, float]:
    """Return the Euclidean norm of every source's vector over all its tensors."""
    return {source: norm(vectors[source]) for source in sorted(vectors)}


@torch.no_grad()
def norm(vector: Tensors) -> float:
    """Return the Euclidean norm of one vector over all its tensors."""
    squares = [torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).square() for tensor in vector.values()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


@torch.no_grad()
def pairwise_cosines(
    vectors: Mapping[str, Tensors], group: Callable[[str], str] | None = None
) -> dict[str, dict[str, float]]:
    """Return the cosine between the vectors of every two sources.

    Args:
        vectors: Task vectors, updates or gradients by source, all with the same tensor names.
        group: Gives the group (for instance the layer) of a tensor name; `None` for no groups.

    Returns:
        `{"a|b": {"": cosine of the whole model, group: cosine of that group, ...}}`, `a` before `b` in the alphabet.
        Where one of the two has no length the cosine is 0.
    """
    sources = sorted(vectors)
    grams: dict[str, Tensor] = {"": torch.zeros(len(sources), len(sources), dtype=torch.float64)}
    for name in vectors[sources[0]] if sources else ():
        rows = torch.stack([vectors[source][name].detach().double().flatten() for source in sources])
        gram = (rows @ rows.T).cpu()
        for key in {"", group(name)} if group is not None else {""}:
            grams[key] = grams[key] + gram if key in grams else gram
    pairs = list(combinations(range(len(sources)), 2))
    return {f"{sources[a]}|{sources[b]}": {key: _cosine(g, a, b) for key, g in grams.items()} for a, b in pairs}


def _difference(model: Tensor, base: Tensor) -> Tensor:
    dtype = torch.promote_types(torch.promote_types(model.dtype, base.dtype), torch.float32)
    return model.detach().to(dtype) - base.detach().to(dtype)


def _cosine(gram: Tensor, a: int, b: int) -> float:
    length = float(gram[a, a].sqrt() * gram[b, b].sqrt())
    return max(-1.0, min(1.0, float(gram[a, b]) / length)) if length > 0 else 0.0
