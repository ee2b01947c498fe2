"""What models must have in common before they can be merged; every model and tensor at fault is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError, WeightsError
from hamdg.merge.tensors import Tensors, dtype_name, equal, is_narrow
from hamdg.text import listed, shortened

# So many models, and tensors of each, are named in a message.
_MODELS, _TENSORS = 4, 6
_QUANTIZED = 3
# How libraries call whole numbers that stand for weights: torch and bitsandbytes, GPTQ and AWQ, compressed-tensors.
_WHOLE = ("weight", "qweight", "qzeros", "weight_packed")
# How they call the scales of a tensor `w` of a layer: beside it by its own name, or by one of the layer's.
_OWN_SCALES = ("{}_scale", "{}_scale_inv", "{}.scale", "{}.absmax", "{}_absmax", "scale_{}")
_LAYER_SCALES = ("SCB", "scale", "scales")


def check_models(sources: Mapping[str, Tensors], base: Tensors | None, dtype: torch.dtype | None) -> None:
    """Check that all models hold the same tensors.

    Args:
        sources: Tensors of every source.
        base: Those of the common start.
        dtype: The dtype of the result; without one the models' dtypes must agree.

    Raises:
        ConfigError: There is no source.
        WeightsError: Keys, shapes, kinds or dtypes differ, weights are quantized, or there are no tensors.
    """
    if not sources:
        raise ConfigError("Expected argument `models` to hold at least one model, but got none.")
    models = {} if base is None else {"the base": base}
    models |= {f"`{name}`": tensors for name, tensors in sources.items()}
    check_quantized(models)
    _check_keys(models)
    if not any(models.values()):
        raise WeightsError("The models hold no tensors; there is nothing to merge. Give files or mappings that do.")
    _check_shapes(models)
    if dtype is None:
        _check_dtypes(models)


def _check_keys(models: Mapping[str, Tensors]) -> None:
    union = sorted({name for tensors in models.values() for name in tensors})
    lacking = {model: [name for name in union if name not in tensors] for model, tensors in models.items()}
    found = {f"{model} lacks": [f"`{name}`" for name in names] for model, names in lacking.items() if names}
    if found:
        raise problems_error("The models hold different tensors:", found, "Merge models of one architecture.")


def _check_shapes(models: Mapping[str, Tensors]) -> None:
    (first, reference), *others = models.items()
    found = {}
    for model, tensors in others:
        wrong = [name for name in reference if _signature(tensors[name]) != _signature(reference[name])]
        if wrong:
            found[f"in {model}"] = [f"`{n}` is {_signature(tensors[n])}, not {_signature(reference[n])}" for n in wrong]
    if found:
        raise problems_error(f"Tensors differ from those of {first}:", found, "Merge models of one architecture.")


def _check_dtypes(models: Mapping[str, Tensors]) -> None:
    (first, reference), *others = models.items()
    found = {}
    for model, tensors in others:
        wrong = [name for name in reference if tensors[name].dtype != reference[name].dtype]
        if wrong:
            kinds = f"{dtype_name(tensors[wrong[0]].dtype)}, not {dtype_name(reference[wrong[0]].dtype)}"
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            found[f"in {model}"] = [f"`{wrong[0]}` is {kinds}{more}"]
    if found:
        way_out = ("Name the result's with ", Argument("dtype"), ", for instance `float32`.")
        raise problems_error(f"Dtypes differ from those of {first}:", found, *way_out)


def _signature(tensor: Tensor) -> str:
    kind = "floating-point" if tensor.is_floating_point() else dtype_name(tensor.dtype)
    return f"{kind} {tuple(tensor.shape)}"


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
                f"In {model} {listed(wrong, _QUANTIZED)} {'is' if len(wrong) == 1 else 'are'} quantized "
                f"({dtype_name(tensors[wrong[0]].dtype)}): without their scales these numbers are not weights, and no "
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
    return matrix or name.endswith(_WHOLE) or _scales(name, model) is not None


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
    return equal(one[compared], other[compared])


def problems_error(start: str, found: Mapping[str, Sequence[str]], *end: str | Argument) -> WeightsError:
    """Return an error whose message names a few problems of each model, and whose `details` list all of them.

    Args:
        start: What is wrong, up to the list.
        found: Problems by model, both as the message calls them.
        end: What to do, after the list.
    """
    parts = [f"{model} {shortened(problems, _TENSORS)}" for model, problems in found.items()]
    more = len(parts) - _MODELS
    named = parts[:_MODELS] + ([f"{more} more model{'s' if more > 1 else ''} likewise"] if more > 0 else [])
    cut = more > 0 or any(len(problems) > _TENSORS for problems in found.values())
    whole = "\n".join(line for model, problems in found.items() for line in (f"{model}", *_indented(problems)))
    return WeightsError(f"{start} {'; '.join(named)}. ", *end, details=f"{start}\n{whole}\n" if cut else "")


def _indented(problems: Sequence[str]) -> list[str]:
    return [f"    {problem}" for problem in problems]
