"""A first look at every tensor: is all of it a number, did anybody move it, and how far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hamdg.merge.dtypes import promoted
from hamdg.merge.model_set import TensorSet
from hamdg.merge.problems import problems_error

BASE = "the base"


@dataclass(frozen=True)
class TensorCheck:
    """What was seen of one tensor.

    Args:
        moves: Whether any model differs anywhere from the reference, which is the base or else the first source; of
            changes those with a weight of 0 do not count.
        squares: Squared distance of every source to the reference.
        base_square: Squared norm of the reference.
        faults: What is wrong with which model: `NaN` or `infinite values` by the model's name.
    """

    moves: bool
    squares: Mapping[str, float] = field(default_factory=dict)
    base_square: float = 0.0
    faults: Mapping[str, str] = field(default_factory=dict)


def look(site: TensorSet, changes: bool, anchored: bool) -> TensorCheck:
    """TensorCheck at one tensor of all models, in one pass.

    Args:
        site: The tensor.
        changes: Whether the site holds changes from the base.
        anchored: Whether the base is the reference (it is looked at too, then).
    """
    squares = dict.fromkeys(site.tensors, 0.0)
    base_square = 0.0
    for piece in site.pieces():
        start = piece.base if anchored and piece.base is not None else piece.tensors[next(iter(squares))]
        base_square += _square(start)
        for source in squares:
            tensor = piece.tensors[source]
            squares[source] += _square(tensor if changes else tensor - start)
    faults = {} if math.isfinite(base_square + sum(squares.values())) else _faults(site, anchored)
    voices = [source for source in squares if site.weight(source) or not changes] or list(squares)
    moves = any(squares[source] for source in voices) or _moves(site, voices, changes, anchored)
    return TensorCheck(moves, squares, base_square, faults)


def differ(tensors: list[Tensor]) -> bool:
    """Say whether any of several tensors is not the same as the first; fast where they are not."""
    first, *others = (tensor.detach() for tensor in tensors)
    dtype = first.dtype
    for other in others:
        dtype = promoted(dtype, other.dtype)
    return any(not torch.equal(first.to(dtype), other.to(first.device, dtype)) for other in others)


def check_finite(looks: Mapping[str, TensorCheck], remedy: str = " (`allow_nonfinite` merges all the same)") -> None:
    """Raise a `WeightsError` that names all values that are no numbers, by model and tensor.

    Args:
        looks: What was seen of every tensor.
        remedy: What else can be done about it than the usual.
    """
    found: dict[str, list[str]] = {}
    for name, seen in looks.items():
        for model, what in seen.faults.items():
            found.setdefault(f"{model}:", []).append(f"`{name}` ({what})")
    if found:
        way_out = f"Leave such a model out or train it again{remedy}."
        raise problems_error("There are values that are no numbers.", dict(sorted(found.items())), way_out)


def is_finite(tensor: Tensor) -> bool:
    """Say whether all of a tensor's values are numbers; one fast pass if they are."""
    # A sum in double precision would take four times as long; large numbers may make this one overflow, no more.
    wide = promoted(tensor.dtype, torch.float32)
    return math.isfinite(float(tensor.sum(dtype=wide))) or bool(torch.isfinite(tensor.to(wide)).all())


def _square(tensor: Tensor) -> float:
    flat = tensor.reshape(-1)
    return float(torch.dot(flat, flat))


def _moves(site: TensorSet, sources: list[str], changes: bool, anchored: bool) -> bool:
    # Squares of differences below 1e-23 are zero in fp32; such a tensor has moved nevertheless.
    if changes:
        return any(bool(site.tensors[source].any()) for source in sources)
    first = site.base if anchored and site.base is not None else next(iter(site.tensors.values()))
    return any(not torch.equal(first, site.tensors[source]) for source in sources)


def _faults(site: TensorSet, anchored: bool) -> dict[str, str]:
    faults = {}
    if anchored and site.base is not None and (what := _fault(site.base)):
        # What starts from such a base is faulty too; it is the base that has to be mended first.
        return {BASE: what}
    for source, tensor in site.tensors.items():
        if what := _fault(tensor):
            faults[f"`{source}`"] = what
    return faults


def _fault(tensor: Tensor) -> str:
    if bool(torch.isnan(tensor).any()):
        return "NaN"
    return "infinite values" if bool(torch.isinf(tensor).any()) else ""
