"""What models must have in common before they can be merged; every model and tensor at fault is named."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real

import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.dtypes import dtype_name
from hamdg.merge.problems import problems_error
from hamdg.merge.quantized import check_quantized
from hamdg.merge.shares import BufferShares
from hamdg.text import listed

Tensors = Mapping[str, Tensor]
_LISTED = 12
# Sums of weights up to here stay within double precision.
_LARGEST = 1e300
# Decimal fractions that sum to zero (0.1 + 0.2 - 0.3) leave a rest of this share of their size at most.
_CANCELLED = 1e-12


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


def check_weights(weights: Mapping[str, float] | None, sources: Mapping[str, Tensors], kind: str, method: str) -> None:
    """Check the weights of the sources.

    Raises:
        ConfigError: The method takes none, a source has none, one is not a number, or shares sum to zero.
    """
    if weights is None:
        return
    if kind == "none":
        raise ConfigError(f"Merge method `{method}` takes no weights; leave `weights` out or choose another method.")
    if set(weights) != set(sources):
        wrong = sorted(set(weights) ^ set(sources))
        what = "has no weight" if wrong[0] in sources else "is no source"
        raise ConfigError(
            f"Expected argument `weights` to hold one number for each of {listed(sorted(sources), _LISTED)}, "
            f"but `{wrong[0]}` {what}."
        )
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not abs(weight) < math.inf:
            raise ConfigError(f"Expected the weight of `{source}` to be a number, but got `{weight!r}`.")
        # Whole numbers of Python may be too large for `float`, other libraries' numbers too small for `_LARGEST`.
        if abs(weight if isinstance(weight, int) else float(weight)) > _LARGEST:
            raise ConfigError(f"The weight of `{source}` is larger than {_LARGEST:g}; divide all weights by a number.")
    if kind == "shares" and abs(math.fsum(weights.values())) <= _CANCELLED * math.fsum(map(abs, weights.values())):
        raise ConfigError(
            f"The weights of {listed(sorted(sources), _LISTED)} sum to zero; an average needs another sum."
        )


def check_shares(method: str, shares: object, sources: Collection[str]) -> None:
    """Check what a method states about the buffers.

    Raises:
        ConfigError: It is no `BufferShares`, names something that is no source, or holds what is no finite number.
    """
    if not isinstance(shares, BufferShares):
        raise ConfigError(
            f"Merge method `{method}` states a `{type(shares).__name__}` for its buffers; expected are `BufferShares`."
        )
    strange = [source for source in shares.sources if source not in sources]
    if strange:
        raise ConfigError(f"Merge method `{method}` states a share of buffers for `{strange[0]}`, which is no source.")
    for source, share in {
        **{f"`{name}`": share for name, share in shares.sources.items()},
        "the base": shares.base,
    }.items():
        if not math.isfinite(share):
            raise ConfigError(f"Merge method `{method}` states `{share}` as the share of {source} in the buffers.")


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
        way_out = "Name the result's with `dtype`, for instance `float32`."
        raise problems_error(f"Dtypes differ from those of {first}:", found, way_out)


def _signature(tensor: Tensor) -> str:
    kind = "floating-point" if tensor.is_floating_point() else dtype_name(tensor.dtype)
    return f"{kind} {tuple(tensor.shape)}"
