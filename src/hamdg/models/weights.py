"""Weights files: read without running code, and compared with the model before anything is loaded."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.convert import convert_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hamdg.errors import WeightsError

PICKLES = (".pt", ".pth", ".bin")
LISTED = 3


def load_weights(model: nn.Module, path: Path, model_name: str) -> None:
    """Load a weights file into a CLIP, in the precision of the model.

    Args:
        model: The CLIP that takes the weights.
        path: A `.safetensors` file, or a `.pt`, `.pth` or `.bin` file that holds tensors only.
        model_name: How the messages call the model.

    Raises:
        WeightsError: If the file is missing, damaged, unsafe or made for another architecture.
    """
    state = convert_state_dict(model, read_state(path))
    problems = mismatches(model.state_dict(), state)
    if problems:
        raise WeightsError(
            f"The weights file `{path}` does not fit the model `{model_name}`: {'; '.join(problems)}. "
            "Set `model.name` to the architecture that the file was made for."
        )
    model.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a weights file; nothing in the file is executed.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"The weights file `{path}` does not exist. Set `model.weights` to a `.safetensors` file, "
            "a weights-only `.pt` file, an open_clip tag, or `null` for the shipped weights."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise WeightsError(
        f"The weights file `{path}` ends in `{path.suffix}`, which is none of .safetensors, {', '.join(PICKLES)}. "
        "Convert it to `.safetensors`."
    )


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


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(_damaged(path, error)) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # torch's advice on archives and protocols is for programmers; the messages below say what to do.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch has one exception for "asks for a function" and for "these bytes are no pickle"; its text would advise
        # to load the file unsafely.
        if "global" in str(error).lower() or path.read_bytes()[:1] == pickle.PROTO:
            raise WeightsError(_unsafe(path)) from error
        raise WeightsError(_damaged(path, ValueError("no pickle"))) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, struct.error) as error:
        if "torchscript" in str(error).lower():
            raise WeightsError(_unsafe(path)) from error
        raise WeightsError(_damaged(path, error)) from error
    return _named_tensors(content, path)


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(
            f"The weights file `{path}` holds no mapping from names to tensors. Save the model's `state_dict()` alone."
        )
    # `DistributedDataParallel` puts `module.` before every name.
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    size = path.stat().st_size
    return f"The weights file `{path}` ({size} bytes) is damaged or truncated ({reason}). Copy or download it again."


def _unsafe(path: Path) -> str:
    return (
        f"The weights file `{path}` holds code or objects besides tensors and was refused without running it. "
        "Save its `state_dict()` as `.safetensors` where you trust its origin."
    )


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:LISTED]) + (", ..." if len(keys) > LISTED else "")
