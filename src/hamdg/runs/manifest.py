"""Digests of a run's files: compared by the step that reads them, and kept in `done` when the run is complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from hamdg.cores import usable_cores
from hamdg.digests import sha256_file
from hamdg.errors import RunDirectoryError
from hamdg.files import write_json
from hamdg.runs import schema
from hamdg.runs.directory import MERGED_FOLDER, RunDirectory
from hamdg.text import reason_of

# A time of change that no file has, so that a file is read.
NEVER = -1


class FileFacts(TypedDict):
    """A file's SHA-256, and its size and time of change: while these two stay, it has not been written to."""

    sha256: str
    bytes: int
    ctime_ns: int


class Manifest(TypedDict):
    """`done`: what a complete run ended with.

    Attributes:
        files: Its files, by name.
        start: Those that its model was read from, by path.
        records_only: Whether the run was unpacked from an archive of records, which leaves out all other files.
        config: SHA-256 of `config.yaml` as such a run was packed; a later command may write that file again.
        cores: CPU cores that the process had which finished the run; runs of earlier versions did not note them.
    """

    files: dict[str, FileFacts]
    start: dict[str, FileFacts]
    records_only: NotRequired[bool]
    config: NotRequired[str]
    cores: NotRequired[int]


def digests(run: RunDirectory, files: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files of a run by their name in it; those that there are not are left out."""
    return {file.relative_to(run.path).as_posix(): sha256_file(file) for file in sorted(files) if file.is_file()}


def check_digests(run: RunDirectory, known: Mapping[str, str], how: str, remedy: str = schema.REPEAT) -> None:
    """Check that files of a run are those that one of its steps knew.

    Args:
        run: The run.
        known: SHA-256 by name in the run.
        how: How they are known, such as `training wrote`.
        remedy: What a message says is to be done.

    Raises:
        RunDirectoryError: One is missing, cannot be read or is another.
    """
    for name, digest in known.items():
        path = run.path / name
        try:
            if sha256_file(path) == digest:
                continue
            what = f"is not the file that {how} (its digest differs)"
        except FileNotFoundError:
            what = f"is missing, which {how}"
        except OSError as error:
            what = f"cannot be read ({reason_of(error).lower()})"
        raise RunDirectoryError(f"`{path}` {what}; {remedy}.")


def seal(run: RunDirectory, files: Iterable[str], start: Mapping[str, str]) -> None:
    """Mark a run as done, with what tells its files from others.

    Args:
        run: The run.
        files: Names of the files that its steps wrote.
        start: SHA-256, by path, of the files that its model was read from.
    """
    found = {name: _facts(run.path / name, sha256_file(run.path / name)) for name in sorted(files)}
    started = {path: _started(Path(path), start[path]) for path in start}
    write_json(run.done, Manifest(files=found, start=started, cores=usable_cores()))


def check_seal(run: RunDirectory, remedy: str = "") -> Manifest | None:
    """Check that a done run still has the files that it ended with; only those that were written to are read.

    Args:
        run: The run.
        remedy: What a message says is to be done; by default what helps with the file.

    Returns:
        What the run ended with; `None` for runs of older versions, which kept no digests.

    Raises:
        RunDirectoryError: A file is missing or is another.
    """
    if run.done.stat().st_size == 0:
        return None
    manifest = schema.read(run.done, Manifest, f"delete it and repeat the command, or {schema.REPEAT}")
    changed = [name for name, facts in manifest["files"].items() if not unchanged(run.path / name, facts)]
    if changed:
        name, more = changed[0], f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        what = "is not the file that it ended with" if (run.path / name).is_file() else "is missing"
        remedy = remedy or _remedy(run, name, manifest["files"])
        raise RunDirectoryError(f"`{run.path}` is done, but `{name}` {what}{more}; {remedy}.")
    now = {name: _facts(run.path / name, facts["sha256"]) for name, facts in manifest["files"].items()}
    if now != manifest["files"]:
        # Copied or moved since: the next look is fast again.
        manifest["files"] = now
        write_json(run.done, manifest)
    return manifest


def has_records_only(run: RunDirectory) -> bool:
    """Return whether a run was unpacked from an archive of records: it is done, but nothing can be made of it."""
    return _read(run).get("records_only", False)


def cores_of(run: RunDirectory) -> int | None:
    """Return how many CPU cores finished a run; `None` for runs of earlier versions, which did not note them."""
    return _read(run).get("cores")


def _read(run: RunDirectory) -> Manifest:
    try:
        return schema.read(run.done, Manifest)
    except RunDirectoryError:  # not done, of an older version, or damaged, which `check_seal` says
        return Manifest(files={}, start={})


def check_not_records_only(run: RunDirectory, command: str = "the command") -> None:
    """Refuse a run that was unpacked from an archive of records, where its other files are needed.

    Args:
        run: The run.
        command: What trains it.

    Raises:
        RunDirectoryError: It has records only.
    """
    if has_records_only(run):
        raise RunDirectoryError(
            f"`{run.path}` was unpacked and has records only; to train it, delete that folder and repeat {command}."
        )


def unchanged(path: Path, facts: FileFacts) -> bool:
    """Return whether a file is the one that it was; it is read only if its size or its time of change is another."""
    try:
        return _facts(path, facts["sha256"]) == facts or sha256_file(path) == facts["sha256"]
    except OSError:
        return False


def _facts(path: Path, digest: str) -> FileFacts:
    found = path.stat()
    return FileFacts(sha256=digest, bytes=found.st_size, ctime_ns=found.st_ctime_ns)


def _started(path: Path, digest: str) -> FileFacts:
    unseen = FileFacts(sha256=digest, bytes=0, ctime_ns=NEVER)
    return _facts(path, digest) if unchanged(path, unseen) else unseen


def _remedy(run: RunDirectory, name: str, known: Iterable[str]) -> str:
    """Return the remedy for a file that is another: all but what a training wrote can be made again from the rest."""
    remade = {run.base.name, run.merged.name, run.record.name, run.validation.name, run.class_features.name}
    remade |= {run.predictions.name, run.lines.name, run.head.name}
    step = run.step(name.partition("/")[0].removesuffix(".json"))
    trained = step.metrics.relative_to(run.path).as_posix() in known
    if name in remade or name.startswith(("hamdg-", f"{MERGED_FOLDER}/")):
        wrong = name
    elif step.summary.name in known and not trained and step.summary not in (run.splits, run.start):
        wrong = step.summary.name
    else:
        return f"restore it, or {schema.REPEAT}"
    what = "it" if wrong == name else f"`{wrong}`"
    first = f"delete {what} and " if (run.path / wrong).exists() else ""
    return f"restore it, or {first}let `hamdg evaluate {run.path}` write it again"
