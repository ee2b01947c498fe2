"""What callers hand in beside the models themselves: wrong arguments are named before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real
from os import PathLike
from typing import get_args

import torch
from torch import Tensor, nn

from hamdg.errors import Argument, ConfigError, WeightsError, unexpected
from hamdg.merge.buffers import BufferShares, Policy
from hamdg.merge.settings import MergeSettings, Precision
from hamdg.merge.tensors import Tensors
from hamdg.text import first_line, listed

_LISTED = 12
# Sums of weights up to here stay within double precision; what multiplies a change has to fit in single precision.
_LARGEST, _LARGEST_FACTOR = 1e300, 1e38
# Decimal fractions that sum to zero (0.1 + 0.2 - 0.3) leave a rest of this share of their size at most.
_CANCELLED = 1e-12


def check_kinds(models: object, base: object) -> None:
    """Check that models are mappings of tensors by name.

    Raises:
        ConfigError: Something is not a mapping, or a name is not text.
        WeightsError: Something in a model is not a plain tensor.
    """
    if not isinstance(models, Mapping):
        raise ConfigError(
            "Expected argument `models` to be a mapping from the sources' names to mappings of tensors, but got a "
            f'`{_kind(models)}`; write `{{"art": ..., "photo": ...}}`.'
        )
    for source, model in models.items():
        if not isinstance(source, str):
            raise ConfigError(f"Expected the names of the sources to be texts, but got `{source!r}`.")
        _check_model(f"`{source}`", model)
    if base is not None:
        _check_model("the base", base)


def check_paths(paths: object) -> None:
    """Check that files are given by the names of their sources.

    Raises:
        ConfigError: They are not.
    """
    if not isinstance(paths, Mapping) or not all(isinstance(source, str) for source in paths):
        raise ConfigError(
            f"Expected argument `paths` to be a mapping from the sources' names to files, but got `{paths!r}`; write "
            '`{"art": "a.safetensors", "photo": "b.ckpt"}`.'
        )
    for source, path in paths.items():
        if not isinstance(path, str | PathLike):
            raise ConfigError(
                f"Expected the path of a file for `{source}`, but got a `{_kind(path)}`; tensors in memory are merged "
                "by `merge`."
            )


def check_settings(settings: MergeSettings) -> None:
    """Check what holds for every method.

    Raises:
        ConfigError: A setting is of a wrong kind, or none of the choices.
    """
    _check_choice("buffers", settings.buffers, get_args(Policy))
    _check_choice("precision", settings.precision, get_args(Precision))
    weights, lines, dtype, threads = settings.weights, settings.lines, settings.dtype, settings.threads
    if weights is not None and not isinstance(weights, Mapping):
        raise ConfigError(
            "Expected ",
            Argument("weights", "argument "),
            " to be a mapping from the sources' names to numbers, but got "
            f'`{weights!r}`; write `{{"art": 1, "photo": 2}}`.',
        )
    if lines is not None and not (isinstance(lines, tuple | list) and len(lines) == 2 and all(map(_finite, lines))):
        raise unexpected("lines", "two numbers, alpha and beta", repr(lines))
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise unexpected("dtype", "a floating-point dtype such as `torch.float32`", repr(dtype))
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise unexpected("threads", "an integer of at least 1", repr(threads))
    if reason := unusable(settings.device):
        what = f"The device `{settings.device}` cannot be used ({reason}); leave "
        raise ConfigError(what, Argument("device"), " out for the CPU.")


def check_weights(weights: Mapping[str, float] | None, sources: Mapping[str, Tensors], kind: str, method: str) -> None:
    """Check the weights of the sources.

    Raises:
        ConfigError: The method takes none, a source has none, one is not a number, or shares sum to zero.
    """
    if weights is None:
        return
    if kind == "none":
        raise ConfigError(
            f"Merge method `{method}` takes no weights; leave ", Argument("weights"), " out or choose another method."
        )
    if set(weights) != set(sources):
        wrong = sorted(set(weights) ^ set(sources))
        what = "has no weight" if wrong[0] in sources else "is not a source"
        raise ConfigError(
            "Expected ",
            Argument("weights", "argument "),
            f" to hold one number for each of {listed(sorted(sources), _LISTED)}, but `{wrong[0]}` {what}.",
        )
    largest = _LARGEST_FACTOR if kind == "factors" else _LARGEST
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not abs(weight) < math.inf:
            raise ConfigError(f"Expected the weight of `{source}` to be a number, but got `{weight!r}`.")
        # Whole numbers of Python may be too large for `float`, other libraries' numbers too small for `_LARGEST`.
        if abs(weight if isinstance(weight, int) else float(weight)) > largest:
            raise ConfigError(f"The weight of `{source}` is larger than {largest:g}; divide all weights by a number.")
        if weight != 0 and not isinstance(weight, int) and float(weight) == 0:
            raise ConfigError(f"The weight of `{source}`, {weight}, is too small; multiply all weights by a number.")
    if kind == "shares" and abs(math.fsum(weights.values())) <= _CANCELLED * math.fsum(map(abs, weights.values())):
        raise ConfigError(
            f"The weights of {listed(sorted(sources), _LISTED)} sum to zero; an average needs another sum."
        )


def check_shares(method: str, shares: object, sources: Collection[str]) -> None:
    """Check what a method states about the buffers.

    Raises:
        ConfigError: It is not a `BufferShares`, names what is not a source, or holds a value that is not finite.
    """
    if not isinstance(shares, BufferShares):
        raise ConfigError(
            f"Merge method `{method}` states a `{type(shares).__name__}` for its buffers; expected are `BufferShares`."
        )
    strange = [source for source in shares.sources if source not in sources]
    if strange:
        raise ConfigError(
            f"Merge method `{method}` states a share of buffers for `{strange[0]}`, which is not a source."
        )
    for source, share in {
        **{f"`{name}`": share for name, share in shares.sources.items()},
        "the base": shares.base,
    }.items():
        if not math.isfinite(share):
            raise ConfigError(f"Merge method `{method}` states `{share}` as the share of {source} in the buffers.")


def unusable(device: str) -> str:
    """Return why a device cannot be computed on; nothing if it can."""
    try:
        torch.zeros(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        return first_line(error)
    return ""


def _check_model(which: str, model: object) -> None:
    if not isinstance(model, Mapping):
        raise ConfigError(
            f"Expected {which} to be a mapping from names to tensors, but got a `{_kind(model)}`; {_way_out(model)}."
        )
    for name, tensor in model.items():
        if not isinstance(name, str):
            raise ConfigError(f"Expected the names of tensors to be texts, but {which} has `{name!r}`.")
        if fault := _fault(tensor):
            raise WeightsError(f"`{name}` in {which} is not a plain tensor but a {fault}; leave it out or convert it.")


def _way_out(model: object) -> str:
    if isinstance(model, nn.Module):
        return "give its `state_dict()`"
    if isinstance(model, str | PathLike):
        return "open the file with `open_tensors`, or use `merge_files`"
    return "`models` has a source's name on the outside and the tensors' names on the inside"


def _fault(tensor: object) -> str:
    if not isinstance(tensor, Tensor):
        return f"`{_kind(tensor)}`"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "sparse or quantized one"
    return "tensor without values, on the device `meta`" if tensor.device.type == "meta" else ""


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unexpected(name, f"one of {choices}", repr(value))


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: object) -> str:
    return type(value).__name__
