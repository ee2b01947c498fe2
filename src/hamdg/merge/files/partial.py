"""Files that hold only the tensors that training changed: which file completes them, and how."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

from hamdg.digests import Digests
from hamdg.errors import WeightsError
from hamdg.merge.compatibility import problems_error
from hamdg.merge.files.reading import TensorFile

# Metadata of such a file: SHA-256 of the file that holds all other tensors.
COMPLETED_BY = "hamdg.completed_by"


def completed(file: TensorFile, base: TensorFile | None) -> TensorFile:
    """Return a whole model: the tensors of a file, and those of the base that it does not hold.

    A file whose metadata name no other file is whole already and is returned as it is.

    Args:
        file: The file.
        base: The file that may complete it; `check_base` tells whether it is the right one.

    Raises:
        WeightsError: There is no base, or it does not have the names of the file.
    """
    if COMPLETED_BY not in file.metadata:
        return file
    if base is None:
        raise WeightsError(f"`{file.path}` holds only the tensors that training changed. {_remedy(file)}.")
    foreign = [name for name in file if name not in base]
    if foreign:
        found = {"it lacks": [f"`{name}`" for name in foreign]}
        raise problems_error(f"The base `{base.path}` does not complete `{file.path}`:", found, f"{_remedy(file)}.")
    return file.holding({**base, **file})


def check_base(models: Iterable[TensorFile], base: TensorFile | None, digests: Digests) -> None:
    """Check that files were completed with the very file that their metadata name.

    Args:
        models: The completed files.
        base: The file that completed them.
        digests: Digests of the base that were begun; metadata name files by SHA-256, whatever hash these are of.

    Raises:
        WeightsError: It was another one.
    """
    partial = [file for file in models if COMPLETED_BY in file.metadata]
    if base is None or not partial:
        return
    with nullcontext(digests) if digests.hash_name == "sha256" else Digests(hash_name="sha256") as running:
        found = running.of(base.files)
    for file in partial:
        if found != file.metadata[COMPLETED_BY]:
            raise WeightsError(
                f"The base `{base.path}` (SHA-256 {found}) is not the file that completes `{file.path}`. "
                f"{_remedy(file)}."
            )


def _remedy(file: TensorFile) -> str:
    digest = file.metadata[COMPLETED_BY]
    return f"Give the `base.safetensors` of the run that wrote it (SHA-256 {digest}) as the base"
