"""What went into a merged file, as its header says."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from hamdg.digests import TITLES, HashName
from hamdg.errors import WeightsError
from hamdg.merge.files.folders import INDEX
from hamdg.merge.files.reading import open_raw
from hamdg.merge.method_info import MethodInfo
from hamdg.merge.settings import MergeSettings
from hamdg.merge.tensors import dtype_name
from hamdg.values import convert

_KEY = "hamdg."
_HASH = f"{_KEY}hash"
_TABLES_IF_ANY = ("weights", "settings", "evidence", "keys")
_TABLES = ("options", "sources", "versions", *_TABLES_IF_ANY)
# Where the header has another name than the field, for files that were written before.
_TITLES = {"evidence": "statistics"}


@dataclass(frozen=True)
class Provenance:
    """How a merged file was made. There is no time and no path in it, so that equal merges give equal files.

    Args:
        method: Name of the merge method.
        options: Its options, with the defaults of those that were not given; plain JSON values.
        sources: Digest of every source's file by the source's name.
        base: Digest of the base's file, if there was one.
        weights: Weight of every source, if there were any.
        settings: What holds for every method.
        evidence: Digest of the files that the method read beside the models, by source.
        versions: Versions of the libraries that took part.
        hash_name: How files were digested: `sha256` or `blake3`.
        keys: Where in their files the models of sources (or the base, under `base`) were, if that was named.
    """

    method: str
    options: Mapping[str, object]
    sources: Mapping[str, str]
    base: str | None = None
    weights: Mapping[str, float] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hash_name: HashName = "sha256"
    keys: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """Return the texts for a file's header."""
        # What other readers of safetensors files look for.
        texts = {"format": "pt", f"{_KEY}method": self.method}
        if self.base is not None:
            texts[f"{_KEY}base"] = self.base
        # Headers that do not name a hash are those of SHA-256.
        if self.hash_name != "sha256":
            texts[_HASH] = self.hash_name
        for name in _TABLES:
            value = getattr(self, name)
            if value or name not in _TABLES_IF_ANY:
                texts[_title(name)] = json.dumps(dict(value), sort_keys=True)
        return texts


def read_provenance(path: Path) -> Provenance | None:
    """Return how a file was made, or `None` if it is not one that a merge wrote.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    is_index = path.is_dir() or path.name.endswith(INDEX)
    if path.is_file() and path.suffix != ".safetensors" and not is_index:
        return None
    metadata = open_raw(path).metadata
    if f"{_KEY}method" not in metadata:
        return None
    try:
        tables = {name: _table(metadata.get(_title(name), "{}")) for name in _TABLES}
        weights = {source: float(str(weight)) for source, weight in tables["weights"].items()}
        hash_name = _hash_name(metadata.get(_HASH, "sha256"))
    except (ValueError, TypeError) as error:
        raise WeightsError(
            f"The weights file `{path}` says that a merge made it, but its header is damaged ({error}). "
            "Merge again, or copy it again from where it came."
        ) from error
    texts = {name: _texts(tables[name]) for name in ("sources", "evidence", "versions", "keys")}
    return Provenance(
        metadata[f"{_KEY}method"],
        tables["options"],
        base=metadata.get(f"{_KEY}base"),
        weights=weights or None,
        settings=tables["settings"],
        hash_name=hash_name,
        **texts,
    )


def resolved_options(info: MethodInfo, given: Mapping[str, object]) -> dict[str, object]:
    """Return all options of a method, defaults included; whole numbers where any number may be become floats."""
    values = {name: given.get(name, option.default) for name, option in info.options.items()}
    return {name: convert(value, info.options[name].type) for name, value in values.items()}


def resolved_settings(settings: MergeSettings) -> dict[str, object]:
    """Return what decides over the result and is not an option of the method; how many threads there are does not."""
    kind = type(settings.evidence)
    # What an object in memory answered is not known; that it was asked, is.
    evidence = {} if settings.evidence is None else {"evidence": f"{kind.__module__}.{kind.__qualname__}"}
    return evidence | {
        "allow_nonfinite": settings.allow_nonfinite,
        "buffers": settings.buffers,
        "device": torch.device(settings.device).type,
        "dtype": None if settings.dtype is None else dtype_name(settings.dtype),
        "lines": None if settings.lines is None else [float(value) for value in settings.lines],
        "precision": settings.precision,
    }


def merge_versions() -> dict[str, str]:
    """Return the versions of what computes a merge."""
    return {"hamdg": version("hamdg"), "python": platform.python_version(), "torch": version("torch")}


def _title(name: str) -> str:
    """Return how the header calls a field."""
    return _KEY + _TITLES.get(name, name)


def _table(text: str) -> dict[str, object]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise TypeError(f"`{text}` is not a table")
    return content


def _hash_name(text: str) -> HashName:
    for name in TITLES:
        if text == name:
            return name
    raise ValueError(f"`{text}` is not a hash that is known")


def _texts(table: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in table.items()}
