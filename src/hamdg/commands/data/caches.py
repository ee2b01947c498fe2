"""What `hamdg data cache` does: it lists what is kept of images and activations, and deletes what no process uses."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from hamdg import console
from hamdg.data.cache.disk import amount
from hamdg.data.cache.stores import StoreInfo, delete, is_used, stores
from hamdg.errors import ConfigError
from hamdg.text import listed

_DAY = 86_400
_HEADERS = ("store", "images of", "domain", "kept", "size", "last used", "")


def show(cache: Path) -> None:
    """Print a table of the stores in a cache."""
    found = stores(cache)
    console.result_json({"folder": cache, "bytes": sum(one.size for one in found), "stores": [*map(_values, found)]})
    if not found:
        console.result(f"No decoded images and no activations are kept in {cache}.")
        return
    title = f"{amount(sum(one.size for one in found))} of decoded images and activations in {cache}"
    console.table(_HEADERS, [_line(one) for one in found], title=title)


def remove(cache: Path, names: Sequence[str], *, everything: bool, outdated: bool, older: float | None) -> bool:
    """Delete the stores that are named, and those that a rule holds for, and print what was deleted.

    Args:
        cache: The folder of caches.
        names: Names of stores, or how they begin.
        everything: All of them.
        outdated: Those that this version does not use.
        older: Those that were not used for so many days.

    Returns:
        Whether all of them are gone; those that a process uses stay.

    Raises:
        ConfigError: If nothing is named, there is no such store, or `older` is not a number of days.
        StorageError: If one cannot be deleted.
    """
    if not (names or everything or outdated or older is not None):
        raise ConfigError(
            "Say what to delete: stores by the names that `hamdg data cache list` shows, `--outdated`, `--older=DAYS` "
            "or `--all`."
        )
    if older is not None and not (older >= 0 and math.isfinite(older)):
        # Below 0 lies the future, which all stores are older than.
        raise ConfigError(f"Expected `--older` to be a number of days, 0 or more, but got `{older:g}`.")
    found = stores(cache)
    wanted = {one.name for name in names for one in _named(found, name)}
    before = time.time() - _DAY * older if older is not None else -1.0
    chosen = [
        one for one in found if everything or one.name in wanted or (outdated and one.outdated) or one.used < before
    ]
    used = [one for one in chosen if not delete(one)]
    gone = [one for one in chosen if one not in used]
    console.result(f"Deleted {len(gone)} of {len(found)} stores, {amount(sum(one.size for one in gone))}.")
    if used:
        console.result(f"A process uses {listed([one.name for one in used])}; nothing of that was deleted.")
    names_of = {"deleted": [one.name for one in gone], "in_use": [one.name for one in used]}
    console.result_json(names_of | {"bytes": sum(one.size for one in gone), "stores": len(found) - len(gone)})
    return not used


def _named(found: Sequence[StoreInfo], name: str) -> list[StoreInfo]:
    own = [one for one in found if name and one.name.startswith(name)]
    if not own:
        raise ConfigError(f"There is no store `{name}`; `hamdg data cache list` shows the names.")
    return own


def _values(one: StoreInfo) -> dict[str, object]:
    return {
        "name": one.name,
        "place": one.place or None,
        "domain": one.domain,
        "view": one.view,
        "images": one.images,
        "kept": one.there,
        "bytes": one.size,
        "last_used": one.used,
        "outdated": one.outdated,
        "in_use": is_used(one),
    }


def _line(one: StoreInfo) -> tuple[str, ...]:
    states = [word for word, holds in (("outdated", one.outdated), ("in use", is_used(one))) if holds]
    return (
        one.name,
        one.place or "unknown",
        one.domain,
        "unknown" if one.there is None else f"{one.there:,} of {one.images:,}",
        amount(one.size),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used)),
        ", ".join(states),
    )
