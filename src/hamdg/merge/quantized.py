"""Quantized weights: numbers that mean nothing without their scales, so that no merge may treat them as weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.dtypes import dtype_name, is_narrow
from hamdg.text import listed

Tensors = Mapping[str, Tensor]
_LISTED = 3
# How libraries call whole numbers that stand for weights: torch and bitsandbytes, GPTQ and AWQ, compressed-tensors.
_WEIGHTS = ("weight", "qweight", "qzeros", "weight_packed")
# How they call the scales of a tensor `w` of a layer: beside it by its own name, or by one of the layer's.
_OWN_SCALES = ("{}_scale", "{}_scale_inv", "{}.scale", "{}.absmax", "{}_absmax", "scale_{}")
_LAYER_SCALES = ("SCB", "scale", "scales")


def check_quantized(models: Mapping[str, Tensors]) -> None:
    """Check that models do not differ in quantized weights.

    Such weights pass a merge where all models hold the same: they are frozen.

    Args:
        models: Tensors of every model, the base among them, by the name that messages call it.

    Raises:
        WeightsError: Two models hold different ones, or one of them holds such weights where another holds floats.
    """
    first, *others = models.values()
    for model, tensors in models.items():
        names = [name for name, tensor in tensors.items() if _is_quantized(name, tensor, tensors)]
        wrong = [name for name in names if any(not _agree(first, other, name) for other in others)]
        if wrong:
            raise WeightsError(
                f"In {model} {listed(wrong, _LISTED)} {'is' if len(wrong) == 1 else 'are'} quantized "
                f"({dtype_name(tensors[wrong[0]].dtype)}): without their scales these numbers are no weights, and no "
                "average or difference of them means anything. Dequantize the models first, with the library that "
                "quantized them, and merge those."
            )


def _is_quantized(name: str, tensor: Tensor, model: Tensors) -> bool:
    if tensor.is_floating_point():
        return is_narrow(tensor.dtype) and _scales(name, model) is not None
    if tensor.dtype == torch.bool or tensor.is_complex() or tensor.ndim == 0:
        return False
    # Masks and indices have other dtypes, or are the same everywhere.
    matrix = tensor.dtype in (torch.int8, torch.uint8) and tensor.ndim > 1
    return matrix or name.endswith(_WEIGHTS) or _scales(name, model) is not None


def _scales(name: str, model: Tensors) -> str | None:
    """Return the name of a tensor's scales."""
    layer, dot, own = name.rpartition(".")
    known = [layer + dot + form.format(own) for form in _OWN_SCALES]
    known += [f"{layer}.{form}" for form in _LAYER_SCALES if layer and own == "weight"]
    return next((other for other in known if other in model), None)


def _agree(one: Tensors, other: Tensors, name: str) -> bool:
    if name not in one or name not in other:
        return True  # Whatever lacks it is named elsewhere.
    if one[name].dtype != other[name].dtype:
        return False
    scales = _scales(name, one) if one[name].is_floating_point() else None
    # With common scales, floats of eight bits are weights but for a common factor.
    compared = scales if scales is not None and scales in other else name
    return torch.equal(one[compared], other[compared].to(one[compared].device))
