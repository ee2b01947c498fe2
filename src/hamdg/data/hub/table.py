"""A data set of the Hugging Face hub as three columns: images, names of classes, names of domains."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from hamdg.data.benchmark import Hub
from hamdg.data.hub.copies import open_splits
from hamdg.data.listing import stamp_of
from hamdg.errors import DataError
from hamdg.text import listed

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


@dataclass(frozen=True)
class NameColumn:
    """A column of names.

    Args:
        names: The names that occur.
        codes: Where each row's name is among them, int64 `[rows]`.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]


class Rows(NamedTuple):
    """Some rows of a data set, and the names of classes and domains that occur in them."""

    rows: NDArray[np.int64]
    labels: NameColumn
    domains: NameColumn


class HubTable:
    """All rows of a data set, its splits one after the other; the images stay on the disk.

    Args:
        hub: The data set.
        splits: Its splits, as `datasets` opens them.

    Raises:
        DataError: If a column is missing, or is not what it should be.
    """

    def __init__(self, hub: Hub, splits: Mapping[str, Dataset]) -> None:
        import pyarrow as pa

        self.hub = hub
        self._splits = tuple(splits)
        self._files = [Path(file["filename"]) for rows in splits.values() for file in rows.cache_files]
        self._starts = list(accumulate((len(rows) for rows in splits.values()), initial=0))
        for rows in splits.values():
            _check_columns(hub, rows)
        columns = [rows.data.column(hub.image) for rows in splits.values()]
        self._images = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
        self.labels = self._united(splits, hub.label, "label")
        self.domains = self._united(splits, hub.domain, "domain")

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._starts[-1]

    def without(self, domains: Collection[str]) -> Rows:
        """Return the rows of all domains but these."""
        left = [code for code, name in enumerate(self.domains.names) if name in domains]
        rows = np.flatnonzero(~np.isin(self.domains.codes, left))
        parts = (_used(column.names, column.codes[rows]) for column in (self.labels, self.domains))
        return Rows(rows, *parts)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Return how many bytes every image has; reads where they end, not the images."""
        sizes = [_sizes(chunk) for chunk in self._images.chunks]
        return np.concatenate(sizes) if sizes else np.zeros(0, np.int64)

    def content(self, row: int) -> bytes:
        """Return the bytes of an image.

        Raises:
            OSError: If the row has none, or they are in a file that cannot be read.
        """
        value = self._images[row].as_py()
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(content, bytes):
            return content
        if path is None:
            raise OSError("the row has no image")
        return Path(path).read_bytes()

    def stamp(self, row: int) -> int:
        """Return a number that changes with the file that has an image: the data set's own, or one that it names.

        Raises:
            OSError: If the file cannot be looked at.
        """
        if self._elsewhere and isinstance(value := self._images[row].as_py(), dict) and value.get("bytes") is None:
            return stamp_of(Path(value.get("path") or "").stat())
        return self._stamp

    @cached_property
    def _elsewhere(self) -> bool:
        """Return whether some images are in files of their own."""
        from pyarrow import compute, types

        return any(
            types.is_struct(chunk.type) and compute.struct_field(chunk, "bytes").null_count
            for chunk in self._images.chunks
        )

    @cached_property
    def _stamp(self) -> int:
        """Return the stamp of the data set's own files together; 0 where there are none, or one has none."""
        stamps = [stamp_of(path.stat()) for path in self._files]
        return xxhash.xxh3_64_intdigest(repr(stamps).encode()) if stamps and all(stamps) else 0

    def row_name(self, row: int) -> str:
        """Return how a row is called: by its split, and its number there from 0."""
        split = bisect_right(self._starts, row) - 1
        return f"{self._splits[split]} row {row - self._starts[split]}"

    def _united(self, splits: Mapping[str, Dataset], column: str, role: str) -> NameColumn:
        parts = [_named(self.hub, rows, column, role) for rows in splits.values()]
        if missing := np.flatnonzero(np.concatenate([part.codes for part in parts]) < 0).tolist():
            raise DataError(
                f"`{self.hub.id}` has rows with nothing in the column `{column}` ({len(missing):,}), the first is "
                f"{self.row_name(missing[0])}; every image needs a class and a domain."
            )
        codes = {name: code for code, name in enumerate(dict.fromkeys(name for part in parts for name in part.names))}
        recoded = [np.array([codes[name] for name in part.names], np.int64)[part.codes] for part in parts]
        return NameColumn(tuple(codes), np.concatenate(recoded))


@cache
def open_table(hub: Hub) -> HubTable:
    """Open a data set, once a process.

    Raises:
        DataError: If it cannot be opened, or a column is missing or is not what it should be.
        StorageError: If the disk is full.
    """
    return HubTable(hub, open_splits(hub))


def _check_columns(hub: Hub, rows: Dataset) -> None:
    roles = {"image": hub.image, "label": hub.label, "domain": hub.domain}
    absent = {role: name for role, name in roles.items() if name not in rows.column_names}
    if absent:
        keys = " and ".join(f"`data.columns.{role}`" for role in absent)
        raise DataError(
            f"The data set `{hub.id}` has no column {listed(list(absent.values()))}; "
            f"it has {listed(rows.column_names)}. Name the right ones with {keys}."
        )
    if not _holds_images(rows.data.column(hub.image).type):
        raise DataError(
            f"The column `{hub.image}` of `{hub.id}` holds no images ({rows.features[hub.image]}); "
            "name the column that does with `data.columns.image`."
        )


def _holds_images(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_images(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _named(hub: Hub, rows: Dataset, column: str, role: str) -> NameColumn:
    """Return one split's column of names; rows without one have the code -1."""
    from datasets import ClassLabel
    from pyarrow import compute, types

    values, feature = rows.data.column(column), rows.features[column]
    if isinstance(feature, ClassLabel):
        numbers = values.fill_null(-1).to_numpy().astype(np.int64)
        if (largest := int(numbers.max(initial=-1))) >= len(feature.names):
            raise DataError(
                f"The column `{column}` of `{hub.id}` has the number {largest}, but names for {len(feature.names)} "
                "from 0 on; correct the table."
            )
        return _used(tuple(feature.names), numbers)
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if role == "domain" and types.is_integer(values.type):
        # A number can name a domain, but not a class.
        values = values.cast("string")
    if not (types.is_string(values.type) or types.is_large_string(values.type)):
        raise DataError(
            f"The column `{column}` of `{hub.id}` holds numbers or the like ({feature}), not names; name "
            f"a column of names with `data.columns.{role}`, or make it a `ClassLabel` with names."
        )
    names = compute.unique(values).drop_null()
    codes = compute.index_in(values, value_set=names).fill_null(-1)
    return NameColumn(tuple(names.to_pylist()), codes.to_numpy().astype(np.int64))


def _used(names: tuple[str, ...], codes: NDArray[np.int64]) -> NameColumn:
    """Leave out names that no row has."""
    used = np.unique(codes[codes >= 0])
    places = np.full(len(names) + 1, -1, np.int64)  # the last is for rows without a name
    places[used] = np.arange(len(used))
    return NameColumn(tuple(names[code] for code in used.tolist()), places[codes])


def _sizes(chunk: pa.Array) -> NDArray[np.int64]:
    from pyarrow import compute, types

    paths = None
    if types.is_struct(chunk.type):
        paths = compute.struct_field(chunk, "path") if chunk.type.get_field_index("path") >= 0 else None
        chunk = compute.struct_field(chunk, "bytes")
    sizes: NDArray[np.int64] = (
        compute.binary_length(chunk).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    for row in np.flatnonzero(sizes < 0).tolist():
        sizes[row] = _size(None if paths is None else paths[row].as_py())
    return sizes


def _size(path: str | None) -> int:
    """Return the size of a file, 0 where there is none: reading it reports that."""
    try:
        return 0 if path is None else Path(path).stat().st_size
    except OSError:
        return 0
