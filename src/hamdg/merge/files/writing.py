"""Tensors into safetensors files: written whole or not at all, byte for byte the same every time, in any order."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from hamdg.errors import StorageError, WeightsError
from hamdg.files import atomic_path

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]

# The format's names of dtypes. Tensors lie in this order (wide ones first, so that all are aligned), then by name.
_NAMES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = {dtype: place for place, dtype in enumerate(_NAMES)}
# File systems that cannot set space aside; the disk may then turn out to be full later.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class TensorWriter:
    """A safetensors file in the making: each tensor goes to its place as soon as it is there, from any thread.

    Args:
        handle: Descriptor of an empty file.
        layout: Shape and dtype of every tensor.
        metadata: Texts for the header.
    """

    def __init__(self, handle: int, layout: Layout, metadata: Mapping[str, str]) -> None:
        self._handle, self._layout, self._missing = handle, dict(layout), set(layout)
        self._places, size = _places(layout)
        header = _header(self._layout, self._places, metadata)
        self._start = len(header)
        _reserve(handle, self._start + size)
        self._put(header, 0)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor, of any device and memory layout.

        Raises:
            OSError: The disk is full.
        """
        shape, dtype = self._layout[name]
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(f"`{name}` is {tensor.dtype} {tuple(tensor.shape)}, but was announced as {dtype} {shape}")
        plain = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
        if plain.numel():
            self._put(plain.view(-1).view(torch.uint8).numpy().data, self._start + self._places[name][0])
        self._missing.discard(name)

    def flush(self) -> None:
        """Let the disk take what was written so far."""
        os.fsync(self._handle)

    def finish(self, metadata: Mapping[str, str] | None = None) -> None:
        """Check that nothing is missing; put other texts of the same lengths into the header if some are given."""
        if self._missing:
            raise ValueError(f"`{min(self._missing)}` was announced, but not written")
        if metadata is not None:
            header = _header(self._layout, self._places, metadata)
            if len(header) != self._start:
                raise ValueError("the texts of the header changed their length")
            self._put(header, 0)

    def _put(self, content: bytes | memoryview, place: int) -> None:
        with memoryview(content) as view:
            done = 0
            while done < len(view):
                done += os.pwrite(self._handle, view[done:], place + done)


@contextmanager
def new_tensor_file(path: Path, layout: Layout, metadata: Mapping[str, str]) -> Iterator[TensorWriter]:
    """Open a file for writing that replaces `path` when the block ends well, and leaves no trace otherwise.

    Raises:
        StorageError: The disk is full, or nothing may be written there; `path` is as it was.
        WeightsError: A dtype is unknown to the format.
    """
    with _explained(path), atomic_path(path) as temporary, open(temporary, "wb") as stream:
        writer = TensorWriter(stream.fileno(), layout, metadata)
        yield writer


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically and with deterministic bytes.

    Args:
        path: The file to write or replace; missing folders are made.
        tensors: Tensors of any device and layout; those that share memory are written separately.
        metadata: Texts for the file's header.

    Raises:
        StorageError: The disk is full, or nothing may be written there; `path` is as it was.
    """
    layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    with new_tensor_file(path, layout, metadata or {}) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
        writer.finish()


def _places(layout: Layout) -> tuple[dict[str, tuple[int, int]], int]:
    """Return where every tensor begins and ends, and the size of all."""
    unknown = sorted(name for name, (_, dtype) in layout.items() if dtype not in _NAMES)
    if unknown:
        raise WeightsError(
            f"`{unknown[0]}` is of dtype {layout[unknown[0]][1]}, which safetensors files cannot hold; convert it "
            "first."
        )
    places, end = {}, 0
    for name in sorted(layout, key=lambda name: (_ORDER[layout[name][1]], name)):
        shape, dtype = layout[name]
        start, end = end, end + prod(shape) * dtype.itemsize
        places[name] = (start, end)
    return places, end


def _header(layout: Layout, places: Mapping[str, tuple[int, int]], metadata: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, place in places.items():
        shape, dtype = layout[name]
        content[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": place}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at a multiple of eight.
    text = text.ljust(-(-len(text) // 8) * 8)
    return struct.pack("<Q", len(text)) + text


def _reserve(handle: int, size: int) -> None:
    """Set the file's space aside, so that a full disk is met before any work is done."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
    os.ftruncate(handle, size)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError, IsADirectoryError) as error:
        raise StorageError(_refusal(path, error)) from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise StorageError(_refusal(path, error)) from error


def _refusal(path: Path, error: OSError) -> str:
    reason = os.strerror(error.errno or 0).lower()
    return f"Cannot write `{path}`: {reason}; nothing was changed. Choose another folder for the output."
