"""Archives of records, `.tar.xz`: what was packed of runs, below the root of all runs."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import cast

from filelock import FileLock

from hamdg.errors import DataError
from hamdg.files import atomic_folder, atomic_path, write_bytes
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import Manifest
from hamdg.runs.packing import PackedRun, place_of
from hamdg.runs.record import checked
from hamdg.text import excerpt, reason_of
from hamdg.values import MismatchError, check

SUFFIX = ".tar.xz"
_CONFIG, _RECORD, _DONE = "config.yaml", "record.json", "done"
_NEEDED = frozenset({_CONFIG, _RECORD, _DONE})
_FILES = _NEEDED | {"start.json", "validation.json"}
_LOCK = ".unpack.lock"
# Far more than the files of any run take; a small archive may claim to hold much more.
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Unpacked:
    """What became of the runs of archives.

    Args:
        new: Those that were unpacked.
        there: Those that were done there before, which stay as they are.
        begun: Those that were begun there and not finished, which stay as they are, too.
    """

    new: list[PackedRun] = field(default_factory=list)
    there: list[PackedRun] = field(default_factory=list)
    begun: list[PackedRun] = field(default_factory=list)


def write_archive(path: Path, runs: Iterable[PackedRun]) -> None:
    """Write an archive of runs; the same runs make the same bytes.

    Args:
        path: The file.
        runs: The runs, no two of one place.
    """
    with atomic_path(path) as temporary, tarfile.open(temporary, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for run in sorted(runs, key=lambda run: run.place):
            for name, content in sorted(run.files.items()):
                # Without owner and time, and all may read it.
                member = tarfile.TarInfo(str(run.place / name))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def unpack(path: Path, root: Path) -> Unpacked:
    """Unpack an archive below a root; all of it is checked before anything is written.

    Each run is unpacked beside its place and then renamed: a killed process leaves whole runs alone.

    Args:
        path: The archive.
        root: The folder of all runs.

    Raises:
        DataError: It is missing, damaged, or holds anything but records of runs.
    """
    for _ in read_archive(path):
        pass
    found = Unpacked()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / _LOCK, is_singleton=False):
        for run in read_archive(path):
            if _unpacked(run, root):
                fate = found.new
            else:
                fate = found.there if RunDirectory(root / run.place).is_done else found.begun
            fate.append(PackedRun(run.place, {}))
    return found


def _unpacked(run: PackedRun, root: Path) -> bool:
    """Unpack a run and return whether that was needed."""
    try:
        with atomic_folder(root / run.place) as folder:
            for name, content in run.files.items():
                write_bytes(folder / name, content)
    except FileExistsError:
        return False
    return True


def read_archive(path: Path) -> Iterator[PackedRun]:
    """Yield the runs of an archive, each checked.

    Raises:
        DataError: It is missing, damaged, or holds anything but records of runs.
    """
    try:
        if not path.is_file():
            raise DataError(f"There is no file `{path}`; name an archive that `hamdg records pack` wrote.")
        with tarfile.open(path, "r:xz") as archive:
            seen = set[PurePosixPath]()
            for place, members in groupby(archive, key=lambda member: _place(path, member)):
                run = PackedRun(place, _files(path, archive, place, members))
                if place in seen:
                    raise _refused(path, str(place), "is there twice")
                seen.add(place)
                _check(path, run)
                yield run
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"`{path}` is not a whole {SUFFIX} archive ({error}); get it again.") from error
    except OSError as error:
        raise DataError(f"Cannot read `{path}`: {reason_of(error)}; make it readable, or get it again.") from error
    if not seen:
        raise DataError(f"`{path}` is empty; get it again.")


def _place(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the directory of the run that a file belongs to; anything but a file of a run is refused."""
    parts = member.name.split("/")
    if not member.isreg():
        raise _refused(path, member.name, "is not a plain file")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise _refused(path, member.name, "is a path that may lead out of the folder of runs")
    if len(parts) != 5 or parts[-1] not in _FILES:
        raise _refused(path, member.name, "is not one of the files of `<benchmark>/<held out>/<algorithm>/<run>/`")
    return PurePosixPath(*parts[:-1])


def _files(
    path: Path, archive: tarfile.TarFile, place: PurePosixPath, members: Iterable[tarfile.TarInfo]
) -> dict[str, bytes]:
    """Read the files of a run by their names, none twice, and no more than any run has."""
    found, size = dict[str, bytes](), 0
    for member in members:
        name = member.name.rpartition("/")[2]
        if name in found:
            raise _refused(path, member.name, "is there twice")
        size += member.size
        if size > _LARGEST:
            raise _refused(path, str(place), f"is larger than {_LARGEST >> 20} MiB")
        found[name] = _content(archive, member)
    return found


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""


def _check(path: Path, run: PackedRun) -> None:
    """Check that the files of a run are whole and those of that place."""
    if missing := sorted(_NEEDED - run.files.keys()):
        raise _refused(path, str(run.place), f"has no `{missing[0]}`")
    manifest = cast("Manifest", _json(path, run, _DONE))
    try:
        check(manifest, Manifest)
    except MismatchError as error:
        raise _refused(path, str(run.place / _DONE), f"is damaged ({error})") from error
    if not manifest.get("records_only"):
        raise _refused(path, str(run.place), "is not a run that `hamdg records pack` packed")
    known = {name: facts["sha256"] for name, facts in manifest["files"].items()} | {_CONFIG: manifest.get("config")}
    for name in sorted(known.keys() | run.files.keys() - {_DONE}):
        if hashlib.sha256(run.files.get(name, b"")).hexdigest() != known.get(name):
            raise _refused(path, str(run.place / name), "is not the file that was packed")
    record = checked(_json(path, run, _RECORD), f"{path}: {run.place / _RECORD}")
    if place_of(record) != run.place:
        raise _refused(path, str(run.place), f"has the record of `{excerpt(place_of(record))}`")


def _json(path: Path, run: PackedRun, name: str) -> object:
    try:
        found: object = json.loads(run.files[name])
    except (ValueError, RecursionError) as error:
        raise _refused(path, str(run.place / name), f"is no JSON ({error})") from error
    return found


def _refused(path: Path, name: str, why: str) -> DataError:
    return DataError(f"`{path}` is not unpacked: `{excerpt(name)}` in it {why}; get an archive of records.")


def by_benchmark(runs: Iterable[PackedRun]) -> Mapping[str, int]:
    """Return how many runs there are of each benchmark."""
    found: dict[str, int] = {}
    for run in runs:
        found[run.benchmark] = found.get(run.benchmark, 0) + 1
    return dict(sorted(found.items()))
