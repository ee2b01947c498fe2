"""Tensors on disk: safetensors files that are written whole or not at all, and byte for byte the same every time."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.files import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically and with deterministic bytes.

    Args:
        path: The file to write or replace; missing folders are made.
        tensors: Tensors of any device and layout; those that share memory are written separately.
        metadata: Texts for the file's header.

    Raises:
        StorageError: The disk is full or the quota is used up; `path` is as it was.
    """
    ready = {name: _own(tensors[name]) for name in sorted(tensors)}
    with atomic_path(path) as temporary:
        try:
            save_file(ready, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            raise OSError(str(error)) from error
        _sort_header(temporary)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file into memory.

    Raises:
        WeightsError: The file is missing, damaged or not a safetensors file.
    """
    _check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise WeightsError(_damaged(path, error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts in the header of a safetensors file; no tensor is read.

    Raises:
        WeightsError: The file is missing, damaged or not a safetensors file.
    """
    _check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(sorted((file.metadata() or {}).items()))
    except (SafetensorError, OSError) as error:
        raise WeightsError(_damaged(path, error)) from error


def provenance(
    method: str, options: Mapping[str, object], sources: Mapping[str, str], versions: Mapping[str, str]
) -> dict[str, str]:
    """Return the metadata that say how a merged file was made.

    There is no time and no path in it, so that equal merges give equal files.

    Args:
        method: Name of the merge method.
        options: Its options; plain JSON values.
        sources: SHA-256 of every source's file by the source's name.
        versions: Versions of the libraries that took part.
    """
    return {
        # What other readers of safetensors files look for.
        "format": "pt",
        "hamdg.method": method,
        "hamdg.options": json.dumps(dict(options), sort_keys=True),
        "hamdg.sources": json.dumps(dict(sources), sort_keys=True),
        "hamdg.versions": json.dumps(dict(versions), sort_keys=True),
    }


def _own(tensor: Tensor) -> Tensor:
    """Return the tensor on the CPU, contiguous, and as the only one on its storage."""
    plain = tensor.detach().to("cpu").contiguous()
    shared = plain.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    return plain.clone() if shared else plain


def _sort_header(path: Path) -> None:
    """Sort the metadata in a file's header in place: safetensors writes them in a random order."""
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "compact JSON cannot be longer than what safetensors wrote"
        file.seek(8)
        file.write(text.ljust(length))


def _check_exists(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise WeightsError(f"Weights file `{path}` {what}; give the path of a `.safetensors` file.")


def _damaged(path: Path, error: Exception) -> str:
    size = path.stat().st_size
    return (
        f"Weights file `{path}` ({size:,} bytes) is truncated or no safetensors file ({error}); "
        "make it again or copy it again from where it came."
    )
