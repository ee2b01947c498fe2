"""Weights files: read without running code, and compared with the model before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from open_clip.convert import convert_state_dict
from torch import Tensor, nn

from hamdg.errors import WeightsError
from hamdg.merge.files.reading import open_tensors

LISTED = 3
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
        WeightsError: If the file is missing, damaged, unsafe or made for another architecture.
    """
    given = read_state(path, tuple(model.state_dict()))
    state = convert_state_dict(model, {name: tensor for name, tensor in given.items() if name not in SETTINGS})
    problems = mismatches(model.state_dict(), state)
    if problems:
        raise WeightsError(
            f"The weights file `{path}` does not fit the model `{model_name}`: {'; '.join(problems)}. "
            "Set `model.name` to the architecture that the file was made for."
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
    if not path.exists():
        raise WeightsError(
            f"The weights file `{path}` does not exist. Set `model.weights` to a `.safetensors` file, "
            "a weights-only `.pt` file, an open_clip tag, or `null` for the shipped weights."
        )
    return open_tensors(path, like=like)


def mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Say in words which tensors are missing, unexpected or of another shape; empty if all fit."""
    missing = [f"`{key}`" for key in expected if key not in given]
    unexpected = [f"`{key}`" for key in given if key not in expected]
    misshapen = [
        f"`{key}` {list(tensor.shape)} instead of {list(expected[key].shape)}"
        for key, tensor in given.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    groups = ((missing, "missing"), (unexpected, "unexpected"), (misshapen, "of another shape"))
    return [f"{len(keys)} {what} ({_first(keys)})" for keys, what in groups if keys]


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:LISTED]) + (", ..." if len(keys) > LISTED else "")
