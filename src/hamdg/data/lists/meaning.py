"""What the lines of list files mean: each image's domain and class, found by names and never by numbers alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hamdg.config.data import CUSTOM
from hamdg.data.benchmark import Benchmark, Lists, composed, normalized
from hamdg.data.folders.layout import LAYOUT, PARTS, domain_of_folder
from hamdg.data.lists.parse import COLUMNS, Line, ListFile, list_files, read_files
from hamdg.text import did_you_mean, excerpt, listed

_LISTED = 12
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")


@dataclass(frozen=True)
class Listed:
    """The images that list files name.

    Args:
        domains: The domains that occur.
        classes: The classes that occur.
        images: By domain, the class of every image by its path.
        repeated: How many lines repeat others.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]
    images: Mapping[str, Mapping[str, str]]
    repeated: int

    def without(self, domains: Collection[str]) -> tuple[str, ...]:
        """Return the classes of all domains but these."""
        return tuple(
            sorted({label for name, own in self.images.items() if name not in domains for label in own.values()})
        )


def read_lists(lists: Lists, benchmark: Benchmark) -> Listed:
    """Read list files, once as long as they are not changed.

    Args:
        lists: The list files.
        benchmark: The benchmark whose domains and classes they name; for `custom`, those that they name.

    Raises:
        DataError: If there are none, or something in them is wrong.
    """
    return read_names(lists) if benchmark.name == CUSTOM else _read(lists, _Known(benchmark), _stamps(lists))


def read_names(lists: Lists) -> Listed:
    """Read list files with the domains and classes that they name.

    Raises:
        DataError: If there are none, or something in them is wrong.
    """
    return _read(lists, _Known(None), _stamps(lists))


def _stamps(lists: Lists) -> tuple[tuple[Path, int, int], ...]:
    try:
        return tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in list_files(lists))
    except OSError:  # reading them reports it
        return ()


@dataclass(frozen=True)
class _Known:
    """A benchmark as a key: it is known by its names."""

    benchmark: Benchmark | None

    def __hash__(self) -> int:
        return hash(self.benchmark and (self.benchmark.name, self.benchmark.domains, self.benchmark.classes))


@lru_cache(maxsize=2)
def _read(lists: Lists, known: _Known, stamps: tuple[tuple[Path, int, int], ...]) -> Listed:
    images: dict[str, dict[str, str]] = {}
    domain_of: dict[str, str] = {}
    lines = 0
    for file in read_files(lists):
        for line, domain, label in _meanings(file, known.benchmark):
            lines += 1
            other = domain_of.setdefault(line.path, domain)
            before = images.setdefault(other, {}).setdefault(line.path, label)
            if (other, before) != (domain, label):
                here = f"`{excerpt(line.path)}` is `{label}` of `{domain}` here, but `{before}` of `{other}`"
                raise file.wrong(line, f"{here} in an earlier line; keep one of them.")
    classes = {label for own in images.values() for label in own.values()}
    return Listed(tuple(sorted(images)), tuple(sorted(classes)), images, lines - len(domain_of))


def _meanings(file: ListFile, benchmark: Benchmark | None) -> Iterator[tuple[Line, str, str]]:
    """Yield every line with its domain and class."""
    by_folder: dict[str, tuple[str | None, str | None]] = {}
    numbers: dict[str, tuple[str, Line]] = {}
    labels: dict[str, tuple[str, Line]] = {}
    for line in file.lines:
        folder = line.path.rpartition("/")[0]
        if folder not in by_folder:
            by_folder[folder] = _of_folders(folder.split("/") if folder else [], benchmark)
        domain, label = by_folder[folder]
        is_number = file.numbered and line.label.isdecimal()
        if file.numbered and not is_number and _NUMBER.fullmatch(line.label):
            expected = "a number of a class (0, 1, 2, ...) or its name"
            raise file.wrong(line, f"expected {expected} after the path, but got `{excerpt(line.label)}`.")
        if line.domain is not None:
            domain = _named(file, line, benchmark, line.domain, "domain")
        if not is_number:
            label = _named(file, line, benchmark, line.label, "class")
        if domain is None or label is None:
            what = "class" if label is None else "domain"
            problem = f"the folders of `{excerpt(line.path)}` name no {what}{_of(benchmark)}"
            if what == "domain" and (parts := _parts_in(folder)):
                problem += f", since {listed(parts)} is taken for a split of the data"
            raise file.wrong(line, f"{problem}; write paths that end in `{LAYOUT}`, or a CSV with {COLUMNS}.")
        if is_number:
            _check_number(file, line, label, numbers, labels)
        yield line, domain, label


def _parts_in(folder: str) -> list[str]:
    """Return the folders in a path that are taken for parts of a data set, not for domains."""
    return [name for name in folder.split("/")[:-1] if normalized(name) in PARTS]


def _of_folders(folders: list[str], benchmark: Benchmark | None) -> tuple[str | None, str | None]:
    """Return which domain and class the folders of a path name; parts (`train`, `test`) may lie between the two."""
    if benchmark is None:
        above = [composed(name) for name in folders[:-1] if normalized(name) not in PARTS]
        return above[-1] if above else None, composed(folders[-1]) if folders else None
    domain, label = None, None
    for place, name in enumerate(folders):
        found = domain_of_folder(benchmark, name)
        if found is None:
            continue
        for inner in range(place + 1, len(folders)):
            if (number := benchmark.find_label(folders[inner])) is not None:
                domain, label = found, benchmark.classes[number]
            if normalized(folders[inner]) not in PARTS:
                break
        if label is not None:
            return domain, label
        domain = domain or found
    return domain, None


def _named(file: ListFile, line: Line, benchmark: Benchmark | None, name: str, what: str) -> str:
    """Return the domain or class that a name means."""
    if benchmark is None:
        return composed(name)
    if what == "domain":
        found, known = benchmark.find_domain(name), benchmark.domains
    else:
        number, known = benchmark.find_label(name), benchmark.classes
        found = None if number is None else known[number]
    if found is None:
        hint = did_you_mean(name, known, f"there are {listed(known, _LISTED)}.")
        raise file.wrong(line, f"`{benchmark.name}` has no {what} `{excerpt(name)}`; {hint}")
    return found


def _check_number(
    file: ListFile,
    line: Line,
    label: str,
    numbers: dict[str, tuple[str, Line]],
    labels: dict[str, tuple[str, Line]],
) -> None:
    """Refuse numbers that do not go with the classes that the folders name, whatever they count from."""
    other, first = numbers.setdefault(line.label, (label, line))
    if other != label:
        before = f"`{other}` in line {first.number}"
        raise file.wrong(line, f"the number {line.label} is `{label}` by its folder, but {before}; correct the list.")
    other, first = labels.setdefault(label, (line.label, line))
    if other != line.label:
        before = f"{other} in line {first.number}"
        raise file.wrong(line, f"the class `{label}` has the number {line.label}, but {before}; correct the list.")


def _of(benchmark: Benchmark | None) -> str:
    return f" of `{benchmark.name}`" if benchmark else ""
