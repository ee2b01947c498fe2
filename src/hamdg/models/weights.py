"""Weights files: read without running code, and compared with the model before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from open_clip.convert import convert_state_dict
from torch import Tensor, nn

from hamdg.errors import WeightsError
from hamdg.merge.files.reading import open_tensors
from hamdg.merge.tensors import is_finite

LISTED = 3
# Before the names of the image tower's tensors.
PREFIX = "visual."
# OpenAI's own archives keep these settings among their tensors.
SETTINGS = ("input_resolution", "context_length", "vocab_size")


def load_weights(model: nn.Module, path: Path, model_name: str) -> None:
    """Load a weights file into a CLIP, in the precision of the model.

    Args:
        model: The CLIP that takes the weights.
        path: A `.safetensors` file (or the index of several), a `.pt`, `.pth` or `.bin` file that holds tensors only,
            or a Lightning `.ckpt` with the CLIP somewhere in it.
        model_name: How the messages call the model.

    Raises:
        WeightsError: If the file is missing, damaged, unsafe, made for another architecture, or holds values that no
            model works with.
    """
    given = read_state(path, tuple(model.state_dict()))
    state = convert_state_dict(model, {name: tensor for name, tensor in given.items() if name not in SETTINGS})
    expected = model.state_dict()
    problems = mismatches(expected, state)
    if problems:
        raise WeightsError(
            f"The weights file `{path}` does not fit the model `{model_name}`: {'; '.join(problems)}. "
            f"{_remedy(expected, state)}"
        )
    if found := faults(expected, state):
        raise WeightsError(
            f"The weights file `{path}` holds values that the model `{model_name}` cannot use: {'; '.join(found)}. "
            "Set `model.weights` to a file of the trained model as its training left it."
        )
    model.load_state_dict(state)


def read_state(path: Path, like: Collection[str] | None = None) -> Mapping[str, Tensor]:
    """Open the named tensors of a weights file, mapped into memory; nothing in the file is executed.

    Args:
        path: The file.
        like: The model's own names, to tell its tensors from others in a checkpoint.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything but tensors.
    """
    check_exists(path)
    return open_tensors(path, like=like)


def check_exists(path: Path) -> None:
    """Raise a `WeightsError` if there is no such weights file."""
    if not path.exists():
        raise WeightsError(
            f"The weights file `{path}` does not exist. Set `model.weights` to a `.safetensors` or weights-only "
            "`.pt` file, or to one of the names in docs/models.md."
        )


def mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Return in words which tensors are missing, unexpected or of another shape; empty if all fit."""
    missing = [f"`{key}`" for key in expected if key not in given]
    unexpected = [f"`{key}`" for key in given if key not in expected]
    misshapen = [
        f"`{key}` {list(tensor.shape)} instead of {list(expected[key].shape)}"
        for key, tensor in given.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    groups = ((missing, "missing"), (unexpected, "unexpected"), (misshapen, "of another shape"))
    return [f"{len(keys)} {what} ({_first(keys)})" for keys, what in groups if keys]


def faults(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Return in words which tensors hold what no model works with; empty if there is none.

    Args:
        expected: The model's own tensors.
        given: Tensors of the same names and shapes.
    """
    found: dict[str, list[str]] = {}
    for key, tensor in given.items():
        if what := _fault(key, tensor, expected[key].dtype):
            found.setdefault(what, []).append(f"`{key}`")
    return [f"{len(keys)} {what} ({_first(keys)})" for what, keys in found.items()]


def _fault(key: str, tensor: Tensor, wanted: torch.dtype) -> str:
    """Return what is wrong with a tensor, if anything is."""
    if wanted.is_floating_point and not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')} instead of floating-point numbers"
    if tensor.is_complex():
        return "of complex instead of whole numbers"
    if tensor.element_size() == 1:  # floats of eight bits, which torch cannot compare
        tensor = tensor.float()
    if not is_finite(tensor):
        return "with NaN" if bool(tensor.isnan().any()) else "with infinite values"
    if key.endswith("running_var") and bool((tensor < 0).any()):
        return "with negative variances"
    if key == "logit_scale" and not bool((tensor.float().exp() > 0).all()):
        return "so low that all scores are 0"
    return ""


def _remedy(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    if not given:
        return "It holds no tensor; copy or download it again."
    towers = [key.removeprefix(PREFIX) for key in expected if key.startswith(PREFIX)]
    if {key.removeprefix(PREFIX) for key in given} <= set(towers):
        return "It holds an image tower alone; give the file of the whole CLIP, whose text tower names the classes."
    return "Set `model.name` to the architecture that the file was made for."


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:LISTED]) + (", ..." if len(keys) > LISTED else "")
