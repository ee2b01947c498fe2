"""`hamdg merge --show`: how a merged file was made, as its header tells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hamdg import console
from hamdg.commands.merging.values import shown
from hamdg.errors import WeightsError
from hamdg.merge.files.provenance import Provenance, read_provenance


def show(path: Path) -> int:
    """Print how a file was made.

    Raises:
        WeightsError: The file is missing, damaged, or was not written by a merge.
    """
    found = read_provenance(path)
    if found is None:
        raise WeightsError(
            f"`{path}` says nothing about how it was made; `hamdg merge` writes that into the files that it makes."
        )
    console.table(("method", found.method), _rows(found))
    console.result_json(asdict(found))
    return 0


def _rows(found: Provenance) -> list[tuple[str, str]]:
    weights = found.weights or {}
    rows = [(f"option {name}", shown(value)) for name, value in sorted(found.options.items())]
    rows += [(f"setting {name}", shown(value)) for name, value in sorted(found.settings.items())]
    if found.base is not None:
        rows.append(("base", f"{_key(found, 'base')}{found.hash_name} {found.base}"))
    for name, digest in sorted(found.sources.items()):
        weight = f"weight {shown(weights[name])}, " if name in weights else ""
        rows.append((f"source {name}", f"{weight}{_key(found, name)}{found.hash_name} {digest}"))
    rows += [(f"evidence of {name}", f"{found.hash_name} {digest}") for name, digest in sorted(found.evidence.items())]
    return rows + [(f"version of {name}", number) for name, number in sorted(found.versions.items())]


def _key(found: Provenance, name: str) -> str:
    return f"key {found.keys[name]}, " if name in found.keys else ""
