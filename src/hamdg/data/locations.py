"""Where a benchmark's images are: in a folder of this machine, or on the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamdg.data.benchmark import Benchmark, Hub, Lists, normalized
from hamdg.data.folders.layout import domain_folders, printable, subfolders
from hamdg.data.hub import copies
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path
from hamdg.text import listed, reason_of

VARIABLE = "HAMDG_DATA"
HERE = "data"
_SHOWN = 12


@dataclass(frozen=True)
class Location:
    """Where a benchmark's images are.

    Args:
        benchmark: The benchmark.
        root: The folder that holds its domains, if it is one.
        hub: The hub's data set, if it is one.
        lists: The list files that name the images, if such are given.
    """

    benchmark: Benchmark
    root: Path | None
    hub: Hub | None
    lists: Lists | None = None

    @property
    def where(self) -> str:
        """Return where that is as messages name it."""
        if self.lists is not None:
            return printable(self.lists.path)
        return str(self.root or (self.hub and self.hub.id))


def locate(
    benchmark: Benchmark, root: str | None = None, hub: Hub | None = None, lists: Lists | None = None
) -> Location:
    """Find the images of a benchmark.

    Without `root` and `hub` it looks, in this order, for the benchmark's folder in the folder `HAMDG_DATA`, for all
    its domains in `HAMDG_DATA` itself, for its folder in `data`, and for its data set on the hub.

    Args:
        benchmark: The benchmark.
        root: The folder that holds it, and nowhere else is looked.
        hub: The data set on the hub that holds it, and nowhere else is looked.
        lists: The list files that name its images, and nowhere else is looked.

    Raises:
        ConfigError: If both `root` and `hub` are given.
        DataError: If the images are nowhere; the message says where it looked and how to provide them.
    """
    if root is not None and hub is not None:
        raise ConfigError(
            f"`data.root` (`{root}`) and `data.hub` (`{hub.id}`) are both given, but images come from one place; "
            "leave one of them out."
        )
    if lists is not None:
        return Location(benchmark, None, None, lists)
    if root is not None:
        return Location(benchmark, _given(benchmark, user_path(root, "data.root")), None)
    if hub is not None:
        return _on_hub(benchmark, hub)
    return _searched(benchmark)


def _given(benchmark: Benchmark, root: Path) -> Path:
    """Return the folder that holds the domains: the one given, or one in it that the benchmark is known to have."""
    try:
        names = subfolders(root)
        found = _best(benchmark, [root, *_inner(benchmark, root), *_named(benchmark, root)])
    except OSError as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason_of(error)})"
        if isinstance(error, NotADirectoryError):
            what = "is a file (a list of images is named with `--data.lists`)"
        raise DataError(
            f"The folder `{_shown(root)}`, where the images of `{benchmark.name}` should be, {what}; "
            "give the folder that holds its domains with `--data.root=FOLDER`."
        ) from error
    if found is None:
        holds = f"the folders {listed([printable(name) for name in names], _SHOWN)}" if names else "no folder"
        raise DataError(
            f"`{_shown(root)}` holds none of the domains of `{benchmark.name}`: expected the folders "
            f"{listed(benchmark.domains, _SHOWN)}, found {holds}. "
            "Give the folder that holds them with `--data.root=FOLDER`."
        )
    return found


def _on_hub(benchmark: Benchmark, hub: Hub) -> Location:
    refuse_impostor(benchmark, hub)
    if (why := copies.why_unavailable(hub)) is not None:
        raise DataError(
            f"The images of `{benchmark.name}` are not available from `{hub.id}` (`data.hub`): {why}. "
            "Correct that, or give a folder that holds them with `--data.root=FOLDER` instead of `data.hub`."
        )
    return Location(benchmark, None, hub)


def refuse_impostor(benchmark: Benchmark, hub: Hub) -> None:
    """Refuse a data set of the hub that is called like the benchmark and is another one.

    Raises:
        DataError: If it is one.
    """
    known = {name.lower(): holds for name, holds in benchmark.impostors.items()}
    if (holds := known.get(hub.id.lower())) is not None:
        raise DataError(
            f"`data.hub` is `{hub.id}`, which holds {holds} and is not {benchmark.title or benchmark.name}, "
            "whatever it is called; give a folder that holds the right images with `--data.root=FOLDER`."
        )


def _searched(benchmark: Benchmark) -> Location:
    own = os.environ.get(VARIABLE)
    looked = []
    if own:
        found, seen = _look(benchmark, user_path(own, VARIABLE), itself=True)
        looked.append(f"in `{VARIABLE}` ({seen})")
        if found is not None:
            return Location(benchmark, found, None)
    else:
        looked.append(f"in `{VARIABLE}` (not set)")
    found, seen = _look(benchmark, Path(HERE), itself=False)
    if found is not None:
        return Location(benchmark, found, None)
    looked.append(f"in `{HERE}` ({seen})")
    if (hub := benchmark.hub) is None:
        raise DataError(_nowhere(benchmark, looked, "no data set of the hub is known to hold them"))
    if (why := copies.why_unavailable(hub)) is not None:
        raise DataError(_nowhere(benchmark, looked, f"`{hub.id}` of the hub is not available ({why})"))
    return Location(benchmark, None, hub)


def _look(benchmark: Benchmark, base: Path, itself: bool) -> tuple[Path | None, str]:
    """Return the benchmark's folder below `base` and what was seen there; `base` itself has to hold all domains."""
    try:
        subfolders(base)
        named = _named(benchmark, base)
        found = _best(benchmark, named)
        if found is None and itself:
            found = _best(benchmark, [base, *_inner(benchmark, base)], at_least=len(benchmark.domains))
    except FileNotFoundError:
        return None, f"`{_shown(base)}`: no such folder"
    except OSError as error:
        return None, f"`{_shown(base)}`: {reason_of(error)}"
    empty = f"`{_shown(named[0])}` holds none of the domains" if named else f"`{_shown(base)}`: none of them there"
    return found, empty


def _named(benchmark: Benchmark, base: Path) -> list[Path]:
    """Return the folders below `base` that are called like the benchmark's."""
    found = []
    for folder in benchmark.folders:
        here = [base]
        for part in Path(folder).parts:
            here = [one / name for one in here for name in _subfolders(one) if normalized(name) == normalized(part)]
        found += here
    return list(dict.fromkeys(found))


def _inner(benchmark: Benchmark, root: Path) -> list[Path]:
    """Return the folders in `root` in which some copies of the benchmark keep their domains, such as `images`."""
    inner = {normalized(part) for folder in benchmark.folders for part in Path(folder).parts[1:]}
    return [root / name for name in _subfolders(root) if normalized(name) in inner]


def _best(benchmark: Benchmark, folders: Sequence[Path], at_least: int = 1) -> Path | None:
    """Return the first of the folders that hold the most domains."""
    counts = {folder: len(domain_folders(benchmark, _subfolders(folder))) for folder in folders}
    best = max(counts, key=lambda folder: counts[folder], default=None)
    return best if best is not None and counts[best] >= at_least else None


def _subfolders(folder: Path) -> list[str]:
    try:
        return subfolders(folder)
    except NotADirectoryError:
        return []


def _nowhere(benchmark: Benchmark, looked: Sequence[str], hub: str) -> str:
    title = f" ({benchmark.title})" if benchmark.title else ""
    names = f" for {listed(benchmark.folders)}" if benchmark.folders else ""
    third = (
        f"connect this machine so that `{benchmark.hub.id}` can be downloaded"
        if benchmark.hub
        else "name a data set of the hub that holds them with `--data.hub=OWNER/NAME`"
    )
    return (
        f"The images of `{benchmark.name}`{title} were found nowhere: looked{names} "
        f"{' and '.join(looked)}; {hub}. Give their folder with `--data.root=FOLDER`, set `{VARIABLE}` to the folder "
        f"that holds it, or {third}."
    )


def _shown(path: Path) -> str:
    return printable(path.absolute())
