"""Files of tensors: mapped into memory and read on access; nothing in them is executed."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.files.folders import INDEX, weights_in
from hamdg.merge.files.layouts import no_keys
from hamdg.merge.files.pickles import damaged, read_pickle
from hamdg.merge.files.prefixes import find_prefix, own_names
from hamdg.merge.tensors import equal
from hamdg.text import excerpt

# `.tar` (mostly `.pth.tar`) is how torch's own examples call checkpoints; `.pkl` is DomainBed's.
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl")
ENDINGS = (".safetensors", *PICKLES)
# Metadata of a file that holds a tensor under two names: each name that is tied, with the one that it is tied to.
TIED = "hamdg.tied"
# Of a file, in bytes, on every common file system.
_LONGEST_NAME = 255


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a file by name; what is not asked for is not read.

    Args:
        path: What was opened.
        tensors: The tensors, mapped into memory. They must not be modified.
        metadata: The texts in the file's header.
        files: The files that it is made of: itself, or an index and its shards.
        checkpoint: Whether it is a checkpoint of a training rather than plain weights.
        key: Where in the file the tensors lie; nothing where they are all that it holds.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        files: tuple[Path, ...],
        checkpoint: bool = False,
        key: str = "",
    ) -> None:
        self.path, self.files, self.checkpoint, self.key = path, files, checkpoint, key
        self.metadata = dict(metadata)
        self._tensors = dict(sorted(tensors.items()))

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"TensorFile({str(self.path)!r}, {len(self)} tensors)"

    def holding(self, tensors: Mapping[str, Tensor]) -> TensorFile:
        """Return the same file with other tensors."""
        return TensorFile(self.path, tensors, self.metadata, self.files, self.checkpoint, self.key)

    def without_prefix(self, prefix: str | None = None, like: Collection[str] | None = None) -> TensorFile:
        """Return the model in the file under its own names, see `hamdg.merge.files.prefixes.find_prefix`.

        Raises:
            WeightsError: No prefix fits, or more than one.
        """
        names = own_names(self._tensors)
        found = find_prefix(self.path, names.values(), named=prefix, like=like, checkpoint=self.checkpoint)
        own = {name.removeprefix(found): self[given] for given, name in names.items() if name.startswith(found)}
        return self if list(own) == list(self) else self.holding(own)


def open_tensors(
    path: Path | str, *, key: str | None = None, prefix: str | None = None, like: Collection[str] | None = None
) -> TensorFile:
    """Open a file of tensors.

    Args:
        path: A `.safetensors` file, an index of several (`*.safetensors.index.json`), a folder with one of these, a
            `.pt`, `.pth`, `.bin`, `.pkl` or `.tar` file of tensors and plain values, or a Lightning `.ckpt`.
        key: Where in the file the model lies (`model_ema`, `checkpoint.model`), for files that hold several.
        prefix: What stands before the model's names in the file; found where it is not given.
        like: Names of a model of the same architecture, to find the prefix with.

    Raises:
        WeightsError: The file is missing, damaged, unsafe or of an unknown kind, or no one key or prefix fits.
    """
    return open_raw(Path(path), key).without_prefix(prefix, like)


def open_raw(path: Path, key: str | None = None, *, optional: bool = False) -> TensorFile:
    """Open a file of tensors with the names that stand in it.

    Args:
        path: See `open_tensors`.
        key: See `open_tensors`.
        optional: Whether a file whose tensors lie under no key is read all the same.

    Raises:
        WeightsError: The file is missing, damaged, unsafe or of an unknown kind, or no one key fits.
    """
    if not (path.is_file() or path.is_dir()):
        raise WeightsError(f"The weights file `{path}` does not exist; give the path of a weights file.")
    if not os.access(path, os.R_OK):
        raise WeightsError(f"The weights file `{path}` may not be read; change its permissions, or copy it.")
    if path.is_dir():
        return open_raw(weights_in(path, ENDINGS), key, optional=optional)
    if path.suffix in PICKLES:
        _check_no_archive(path)
        tensors, checkpoint, found = read_pickle(path, key, optional)
        return TensorFile(path, tensors, {}, (path,), checkpoint, found)
    if key and not optional:
        raise no_keys(path, key)
    if path.name.endswith(INDEX):
        return _open_index(path)
    if path.suffix == ".safetensors":
        tensors, metadata = _read_safetensors(path)
        return TensorFile(path, _tied(tensors, metadata), metadata, (path,))
    raise WeightsError(
        f"The weights file `{path}` ends in `{path.suffix}`, which is none of {', '.join(ENDINGS)}. "
        "Convert it to `.safetensors`."
    )


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file into memory.

    Raises:
        WeightsError: The file is missing, damaged or not a safetensors file.
    """
    _check_is_file(path)
    tensors, _ = _read_safetensors(path)
    return {name: tensor.clone() for name, tensor in sorted(tensors.items())}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts in the header of a safetensors file; no tensor is read.

    Raises:
        WeightsError: The file is missing, damaged or not a safetensors file.
    """
    _check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(sorted((file.metadata() or {}).items()))
    except (SafetensorError, OSError) as error:
        raise WeightsError(damaged(path, error)) from error


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise WeightsError(f"The weights file `{path}` {what}; give the path of a `.safetensors` file.")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(sorted((file.metadata() or {}).items()))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(damaged(path, error)) from error


def _tied(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """Let names that the metadata call tied share memory, where what is stored under them agrees."""
    result = dict(tensors)
    try:
        ties = json.loads(metadata.get(TIED, "{}"))
    except ValueError:
        return result
    for name, other in ties.items() if isinstance(ties, dict) else ():
        if name in tensors and isinstance(other, str) and other in tensors and _same(tensors[name], tensors[other]):
            result[name] = tensors[other]
    return result


def _same(tensor: Tensor, other: Tensor) -> bool:
    return tensor.dtype == other.dtype and equal(tensor, other)


def _check_no_archive(path: Path) -> None:
    if path.suffix == ".tar" and tarfile.is_tarfile(path):
        raise WeightsError(f"`{path}` is a tar archive; unpack it, and give the weights file in it.")


def _open_index(index: Path) -> TensorFile:
    shards = _shards(index)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for shard, names in shards.items():
        path = index.parent / shard
        if not path.is_file():
            raise WeightsError(
                f"The index `{index}` needs the shard `{shard}`, which does not exist beside it. Copy or download it "
                "again."
            )
        part, texts = (read_pickle(path)[0], {}) if path.suffix in PICKLES else _read_safetensors(path)
        missing = [name for name in names if name not in part]
        if missing:
            raise WeightsError(
                f"The index `{index}` says that `{missing[0]}` is in `{shard}`, but it is not. Copy or download both "
                "again."
            )
        tensors |= {name: part[name] for name in names}
        metadata |= texts
    return TensorFile(index, _tied(tensors, metadata), metadata, (index, *(index.parent / shard for shard in shards)))


def _shards(index: Path) -> dict[str, list[str]]:
    """Return the names of the tensors in every shard, all sorted."""
    try:
        places = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"].items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"The index `{index}` is damaged or no index of weights (it has no readable `weight_map`). "
            "Copy or download it again."
        ) from error
    shards: dict[str, list[str]] = {}
    for name, shard in sorted(places.items()):
        if not isinstance(shard, str) or not shard or "\0" in shard or len(os.fsencode(shard)) > _LONGEST_NAME:
            raise WeightsError(
                f"The index `{index}` gives `{excerpt(name)}` the place `{excerpt(shard)}`, which is not a file's "
                "name. Copy or download it again."
            )
        if Path(shard).name != shard:
            raise WeightsError(f"The index `{index}` points to `{shard}`, outside its own folder, and was refused.")
        shards.setdefault(shard, []).append(name)
    if not shards:
        raise WeightsError(
            f"The index `{index}` names no tensor (its `weight_map` is empty). Copy or download it again."
        )
    return dict(sorted(shards.items()))
