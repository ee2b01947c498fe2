"""A data set of the user's own: what its folders, or its columns on the hub, say makes it a benchmark."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hamdg.config import CUSTOM
from hamdg.data.benchmark import Benchmark, Hub, normalised
from hamdg.data.folders.layout import class_folders, subfolders
from hamdg.data.folders.walk import walk
from hamdg.errors import ConfigError, DataError
from hamdg.wording import listed

LAYOUT = "<domain>/<class>/picture"
_LISTED = 12


def custom_benchmark(root: str | None, hub: Hub | None) -> Benchmark:
    """Return the benchmark that a folder or a hub's data set makes: domains and classes sorted by their names.

    Only the names of folders are read; a hub's data set that is not there yet is downloaded.

    Args:
        root: A folder of `<domain>/<class>/picture`; parts (`train`, `val`, `test`) may lie between the two.
        hub: A data set on the hub, instead.

    Raises:
        ConfigError: If neither or both are given.
        DataError: If they are missing, or make no benchmark.
    """
    if root is not None and hub is not None:
        raise ConfigError("`data.root` and `data.hub` both name the pictures; keep one of them.")
    if root is not None:
        return _of_folder(Path(root).expanduser().absolute())
    if hub is not None:
        return _of_hub(hub)
    raise ConfigError(f"`benchmark: {CUSTOM}` needs `data.root` (a folder of `{LAYOUT}`) or `data.hub`.")


@cache
def _of_folder(root: Path) -> Benchmark:
    if not root.is_dir():
        raise DataError(f"`data.root`: there is no folder `{root}`; give one of `{LAYOUT}`.")
    try:
        classes = {_composed(domain): class_folders(root / domain) for domain in subfolders(root)}
    except OSError as error:
        raise DataError(f"`data.root`: `{error.filename}` cannot be listed ({error.strerror}).") from error
    bare = [domain for domain, names in classes.items() if not names]
    if bare:
        fix = (
            "Move what is no domain elsewhere."
            if len(bare) < len(classes)
            else "Give the folder that holds the domains."
        )
        raise DataError(
            f"`data.root`: {listed(bare, _LISTED)} in `{root}` holds no class folders; expected `{LAYOUT}`. {fix}"
        )
    found = _checked(f"`{root}`", list(classes), [_composed(name) for names in classes.values() for name in names])
    if not _has_pictures(root):
        raise DataError(f"`data.root`: there is no picture in the folders of `{root}`; expected `{LAYOUT}`.")
    return Benchmark(CUSTOM, *found, title=root.name)


def _of_hub(hub: Hub) -> Benchmark:
    from hamdg.data.hub.copies import folder_of
    from hamdg.data.hub.table import open_table

    table = open_table(hub)
    folder = folder_of(hub)
    found = _checked(f"The data set `{hub.id}`", table.domains.names, table.labels.names)
    return Benchmark(CUSTOM, *found, title=hub.id if folder is None else folder.name, hub=hub)


def _checked(what: str, domains: Sequence[str], classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return domains and classes sorted, each once."""
    for kind, names in (("domain", domains), ("class", classes)):
        several = sorted(set(names))
        if len(several) < 2:
            own = f"only the {kind} {listed(several)}" if several else f"no {kind}"
            raise DataError(f"{what} has {own}; two or more are needed.")
        alike: dict[str, list[str]] = {}
        for name in several:
            alike.setdefault(normalised(name), []).append(name)
        if same := next((names for names in alike.values() if len(names) > 1), None):
            raise DataError(
                f"{what} has {listed(same)}, which differ only in case, spaces, underscores or hyphens; "
                f"give the {kind} one name everywhere, or tell them apart better."
            )
    return tuple(sorted(set(domains))), tuple(sorted(set(classes)))


def _composed(name: str) -> str:
    """Return a folder's name with composed accents: macOS writes an umlaut as two characters, a keyboard as one."""
    return unicodedata.normalize("NFC", name)


def _has_pictures(root: Path) -> bool:
    folders = (root / domain / name for domain in subfolders(root) for name in subfolders(root / domain))
    return any(walk(folder).files for folder in folders)
