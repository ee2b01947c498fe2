"""What is wrong with the folders of a domain: as errors with their fixes, and as a list of everything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from hamdg.config.data import CUSTOM
from hamdg.data.benchmark import Benchmark, normalized
from hamdg.data.folders.layout import printable
from hamdg.data.folders.scan import Scan
from hamdg.text import listed, shortened

_SHOWN = 8


def faults_of(scan: Scan) -> list[str]:
    """Return what is wrong with a domain, in a sentence or two for each kind; those that hide others come first."""
    if scan.unreadable:
        return [_unreadable(scan)]
    if scan.folder is None:
        return [_absent(scan)]
    faults = [_ambiguous(scan)] if scan.ambiguous else []
    faults += [_duplicates(scan, same) for same in scan.duplicates]
    faults += [_unexpected(scan)] if scan.unexpected else []
    faults += [_missing(scan)] if scan.missing and not scan.unexpected else []
    faults += [_empty(scan)] if scan.empty else []
    return faults


def nearest_class(benchmark: Benchmark, folder: str) -> str | None:
    """Return the class whose name a folder's name resembles most, `None` if none does."""
    spellings = {normalized(name): name for name in benchmark.classes}
    near = difflib.get_close_matches(normalized(folder), spellings, n=1)
    return spellings[near[0]] if near else None


def _unreadable(scan: Scan) -> str:
    shown = [f"`{printable(path)}` ({reason})" for path, reason in scan.unreadable]
    return (
        f"Of the domain `{scan.domain}` of `{scan.benchmark.name}` cannot be read: {shortened(shown, _SHOWN)}. "
        "Make that readable for this user, or remove it."
    )


def _absent(scan: Scan) -> str:
    siblings = f"it holds the folders {listed(scan.siblings, _SHOWN)}" if scan.siblings else "it holds no folder"
    return (
        f"The domain `{scan.domain}` of `{scan.benchmark.name}` is missing in `{printable(scan.root)}`: {siblings}. "
        f"Put the folder `{scan.domain}` there, or name another folder with `--data.root=FOLDER`."
    )


def _ambiguous(scan: Scan) -> str:
    return (
        f"`{printable(scan.root)}` holds more than one folder for the domain `{scan.domain}` of "
        f"`{scan.benchmark.name}`: {listed(scan.ambiguous, _SHOWN)}. Move all but one elsewhere."
    )


def _duplicates(scan: Scan, same: list[str]) -> str:
    return (
        f"{_where(scan)} holds more than one folder for the same class: {listed(same, _SHOWN)}. "
        "Move all but one elsewhere, or put their images into one."
    )


def _unexpected(scan: Scan) -> str:
    shown = []
    for folder in scan.unexpected:
        near = nearest_class(scan.benchmark, folder.rpartition("/")[2])
        shown.append(f"`{printable(folder)}`" + (f" (did you mean `{near}`?)" if near else ""))
    missing = f" There is no folder for {_classes(scan.missing)}." if scan.missing else ""
    return (
        f"{_where(scan)} holds folders that are not classes: {shortened(shown, _SHOWN)}.{missing} "
        "Rename them, or move them elsewhere."
    )


def _missing(scan: Scan) -> str:
    fix = (
        "Every domain needs every class that any domain has: rename a class folder that is misspelled in another "
        "domain, or move one that not all of them have elsewhere; `data.domains` leaves out folders that are not "
        "domains."
        if scan.benchmark.name == CUSTOM
        else "This copy is not complete: get the folders that are missing, or name another copy with "
        "`--data.root=FOLDER`."
    )
    return f"{_where(scan)} has no folder for {_classes(scan.missing)}. {fix}"


def _empty(scan: Scan) -> str:
    fix = (
        "Put images into it, or move the class elsewhere in all domains."
        if scan.benchmark.name == CUSTOM
        else "This copy is not complete: get the images, or name another copy with `--data.root=FOLDER`."
    )
    return f"{_where(scan)} holds no image of {_classes(scan.empty)}: the class folder is there, but empty. {fix}"


def _where(scan: Scan) -> str:
    return f"`{printable(scan.folder or scan.root)}` (domain `{scan.domain}` of `{scan.benchmark.name}`)"


def _classes(names: list[str]) -> str:
    return named_classes(names, _SHOWN)


def named_classes(names: list[str], limit: int | None = None) -> str:
    """Return classes as a part of a sentence; of more than `limit` the others are counted."""
    return f"the class{'es' if len(names) > 1 else ''} {listed(names, limit)}"


def fault_lines(scan: Scan) -> Iterator[str]:
    """Yield all that is wrong with a domain, a short line each and without fixes: for who wants the whole list."""
    where = f"`{scan.domain}`"
    if scan.folder is None:
        siblings = listed([printable(name) for name in scan.siblings]) or "none"
        yield f"{where}: the domain has no folder; the folders there are {siblings}."
        return
    if scan.ambiguous:
        yield f"{where}: the folders {listed(scan.ambiguous)} all mean this domain; only the first was looked into."
    for folder in scan.unexpected:
        near = nearest_class(scan.benchmark, folder.rpartition("/")[2])
        hint = f"; did you mean `{near}`?" if near else "."
        title = scan.benchmark.title or scan.benchmark.name
        yield f"{where}: the folder `{printable(folder)}` is not a class of {title}{hint}"
    for folders in scan.duplicates:
        yield f"{where}: the folders {listed(folders)} mean the same class; put their images into one."
    if scan.missing:
        yield f"{where}: there is no folder for {named_classes(scan.missing)}."
    if scan.empty:
        yield f"{where}: there are no images in the folder of {named_classes(scan.empty)}."
    for path, reason in scan.unreadable:
        yield f"{where}: `{printable(path)}` cannot be looked at: {reason}."
