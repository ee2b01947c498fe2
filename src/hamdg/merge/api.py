"""The library's entry: models in memory in, one model out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hamdg.merge.buffers import Policy
from hamdg.merge.merging import Merge
from hamdg.merge.settings import MergeSettings, Precision
from hamdg.merge.tensors import Tensors


def merge(
    method: str,
    models: Mapping[str, Tensors],
    base: Tensors | None = None,
    weights: Mapping[str, float] | None = None,
    *,
    evidence: object = None,
    buffers: Policy = "moments",
    lines: tuple[float, float] | None = None,
    precision: Precision = "fp32",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    threads: int | None = None,
    allow_nonfinite: bool = False,
    **options: object,
) -> dict[str, Tensor]:
    """Merge models of one architecture into one.

    Sources are sorted by name first, so the order of the mapping never matters; neither does the number of threads.
    Tensors in which no model differs are passed on bit by bit and take part in nothing. Tensors that a model holds
    under two names are merged once and tied again. Inputs are never modified and never shared with the result.

    Args:
        method: Name of a registered method, see `list_methods`.
        models: Tensors of every source by the source's name: dictionaries, or files opened with `open_tensors`.
        base: The common start. Its order of names and its dtypes are the result's (without one, the first source's).
        weights: Weight of every source, for methods that take weights (`MethodInfo.weights`). The buffers of a source
            of weight 0 count no more than its weights do.
        evidence: What data say about the models, for methods that ask (`MethodInfo.needs`).
        buffers: What becomes of BatchNorm's statistics and of counters, see `hamdg.merge.buffers.merge_buffers`.
        lines: alpha and beta of LiNeS: the merged change of block l of L is scaled by alpha + beta (l - 1) / (L - 1).
        precision: What is computed in, whatever the inputs: fp64 where an input is, too.
        dtype: Floating-point dtype of the result; without one, that of the inputs, which must then agree.
        device: Where it is computed.
        threads: How many tensors are worked on at once (default: as many as torch uses).
        allow_nonfinite: Whether NaN and infinite values are allowed.
        options: The method's own options.

    Returns:
        The merged tensors, on the CPU.

    Raises:
        ConfigError: The method, an option or an argument is unknown or wrong, or there is no model.
        WeightsError: Keys, shapes, kinds or dtypes of tensors differ, or a value is NaN or infinite.
    """
    settings = MergeSettings(weights, evidence, buffers, lines, precision, dtype, device, threads, allow_nonfinite)
    return merge_with(method, models, base, options, settings)


def merge_with(
    method: str,
    models: Mapping[str, Tensors],
    base: Tensors | None = None,
    options: Mapping[str, object] | None = None,
    settings: MergeSettings | None = None,
) -> dict[str, Tensor]:
    """Merge models like `merge`, with the method's options and the settings as values of their own."""
    job = Merge(method, models, base, options or {}, settings or MergeSettings())
    given = (*job.models.values(), *(() if job.base is None else (job.base,)))
    tensors = [tensor for model in given for tensor in model.values() if tensor.device.type == "cpu"]
    inputs = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    merged: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> None:
        own = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
        if own and tensor.untyped_storage().data_ptr() not in inputs:
            merged[name] = tensor
        else:
            merged[name] = tensor.clone(memory_format=torch.contiguous_format)

    job.run(keep)
    return job.tie(merged)
