"""Files in, file out: reading, writing, merging from mapped files, and the record of what was merged."""

from __future__ import annotations

from hamdg.merge.files.merging import merge_files
from hamdg.merge.files.provenance import Provenance, read_provenance
from hamdg.merge.files.reading import TensorFile, load_tensors, open_tensors, read_metadata
from hamdg.merge.files.writing import save_tensors

__all__ = [
    "Provenance",
    "TensorFile",
    "load_tensors",
    "merge_files",
    "open_tensors",
    "read_metadata",
    "read_provenance",
    "save_tensors",
]
