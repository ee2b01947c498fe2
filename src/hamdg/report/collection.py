"""Finds finished runs below any folders; unreadable records are listed and left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hamdg.errors import DataError
from hamdg.runs.record import Record, read_record
from hamdg.runs.summary import Summary, read_summary
from hamdg.text import listed

RECORD, RECIPE = "record.json", "config.yaml"


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A finished run.

    Args:
        path: Its directory.
        summary: What tables need of its record.
    """

    path: Path
    summary: Summary

    @property
    def record(self) -> Record:
        """The whole record, read again.

        Raises:
            DataError: It does not hold what a record does.
        """
        return read_record(self.path)


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that is left out.

    Args:
        path: The file, or the run's directory.
        reason: Why, as a sentence.
        kind: Whether it cannot be read, or is a copy of a run that is shown.
    """

    path: Path
    reason: str
    kind: Literal["unreadable", "copy"] = "unreadable"


@dataclass(frozen=True)
class Collection:
    """What was found.

    Args:
        runs: The finished runs, by their paths in order, each once.
        problems: Records that are damaged, foreign, too old or there twice.
        unfinished: Directories of runs that have no record yet.
    """

    runs: Sequence[FoundRun]
    problems: Sequence[Problem]
    unfinished: Sequence[Path]


def collect(paths: Sequence[Path]) -> Collection:
    """Return the runs that lie in and below some places.

    Args:
        paths: Run directories, folders of them, and paths of a `record.json`.

    Raises:
        DataError: A path is missing, or no record is readable.
    """
    found = _Found()
    for path in paths:
        if not path.exists():
            raise DataError(f"There is no `{path}`; name run directories, or folders of them.")
        top, place = str(path), str(path.resolve())
        for folder, is_done in sorted(_runs_below(top)) if path.is_dir() else [(top, True)]:
            found.take(Path(folder), place + folder[len(top) :], is_done)
    collection = Collection(list(found.runs.values()), found.problems, found.unfinished)
    if not collection.runs:
        raise DataError(_nothing(paths, collection))
    return collection


class _Found:
    """What was found until now; directories that are named twice count once."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, int, str], FoundRun] = {}
        self.problems: list[Problem] = []
        self.unfinished: list[Path] = []
        self._seen: set[str] = set()

    def take(self, path: Path, place: str, is_done: bool) -> None:
        """Take in a run's directory, or the path of a record.

        Args:
            path: Its path as messages name it.
            place: Its whole path without links.
            is_done: Whether it has a record.
        """
        folder = path if path.name != RECORD else path.parent
        place = place.removesuffix(f"{os.sep}{RECORD}")
        if place in self._seen:
            return
        self._seen.add(place)
        if not is_done:
            self.unfinished.append(folder)
            return
        try:
            summary = read_summary(path)
        except DataError as error:
            self.problems.append(Problem(folder, str(error)))
            return
        first = self.runs.setdefault((summary.held_out, summary.seed, summary.identity), FoundRun(folder, summary))
        if first.path != folder:
            reason = f"`{folder}` is the same run as `{first.path}`, which is shown."
            self.problems.append(Problem(folder, reason, "copy"))


def _runs_below(top: str) -> Iterator[tuple[str, bool]]:
    """Yield the run directories from `top` on, and whether each has a record; there are no runs within runs."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        names, inner = set(), []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    names.add(entry.name)
                    # A folder that is still being unpacked has a dot.
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        inner.append(entry.path)
        except OSError:  # gone, or not ours to read
            continue
        if RECORD in names or RECIPE in names:
            yield folder, RECORD in names
        else:
            waiting += inner


def _nothing(paths: Sequence[Path], found: Collection) -> str:
    where = f"There is no readable record in {listed([str(path) for path in paths], 3)}"
    if found.problems:
        count = len(found.problems)
        return f"{where}: {count} {'is' if count == 1 else 'are'} not, the first: {found.problems[0].reason}"
    if found.unfinished:
        runs = "1 run has" if len(found.unfinished) == 1 else f"{len(found.unfinished)} runs have"
        return f"{where}: {runs} not finished; repeat the same command to go on."
    return f"{where}; start a run with `hamdg run RECIPE`."
