"""Tensors that a model holds under two names, of which some files store one: filled in from files that hold both."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hamdg.merge.files.reading import TensorFile
from hamdg.merge.tensors import equal


def with_tied_names(models: Mapping[str, TensorFile]) -> dict[str, TensorFile]:
    """Return the models, each with the tensors that it lacks only because it stores them under another name.

    A `.bin` file holds both names of a tied tensor, in the same memory, where a `.safetensors` file has one of them.
    Which names are tied is read off the memory, or off what safetensors' `save_model` put into the header; values
    that are equal by chance tie none. Where another model holds both names with different values they are not tied.

    Args:
        models: Opened files under common names.
    """
    names = {name for model in models.values() for name in model}
    pairs = sorted({pair for model in models.values() for pair in _pairs(model) if set(pair) <= names})
    tied = [pair for pair in pairs if all(_equal(model, *pair) for model in models.values())]
    return {source: _filled(model, tied) for source, model in models.items()}


def _pairs(model: TensorFile) -> set[tuple[str, str]]:
    """Return all pairs of names that stand for one tensor."""
    groups: dict[object, list[str]] = {}
    for name, tensor in model.items():
        if tensor.numel():
            place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            groups.setdefault(place, []).append(name)
    together = {(one, other) for names in groups.values() for one in names for other in names if one < other}
    # The header of safetensors' own `save_model` has names that were left out, each with the one that was kept.
    left_out = {(name, kept) for name, kept in model.metadata.items() if kept in model and name not in model}
    return together | {(min(pair), max(pair)) for pair in left_out}


def _equal(model: Mapping[str, Tensor], one: str, other: str) -> bool:
    if one not in model or other not in model or model[one].data_ptr() == model[other].data_ptr():
        return True
    return model[one].dtype == model[other].dtype and equal(model[one], model[other])


def _filled(model: TensorFile, tied: list[tuple[str, str]]) -> TensorFile:
    tensors = dict(model)
    for one, other in tied:
        if (one in model) != (other in model):
            held, lacking = (one, other) if one in model else (other, one)
            tensors.setdefault(lacking, model[held])
    return model if len(tensors) == len(model) else model.holding(tensors)
