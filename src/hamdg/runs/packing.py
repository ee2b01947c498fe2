"""What is published of a finished run: the small files that tables need, without paths of its machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import cast

from hamdg.config.data import CUSTOM
from hamdg.config.recipe import RuntimeConfig
from hamdg.config.tracking import TrackingConfig
from hamdg.config.yaml_files import dump_yaml, read_yaml
from hamdg.errors import DataError
from hamdg.files import json_bytes
from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import NEVER, FileFacts, Manifest, cores_of, unchanged
from hamdg.runs.record import Record, read_record
from hamdg.runs.settings import flat
from hamdg.text import excerpt

# The folders of an absolute path, at the beginning of a text or of a word in it; what they lead to is kept.
_FOLDERS = re.compile(
    r"(?<![^\s=`'\"(\[,])(?:file://)?(?:~[\w.-]*/|[A-Za-z]:[/\\]|/(?=[\w.]))(?:[^\s`'\"()\[\],;]*[/\\])?"
)
# Of a registered benchmark these do not define a run.
_PLACES = ("root", "lists", "cache")


@dataclass(frozen=True)
class PackedRun:
    """A run in an archive of records.

    Args:
        place: Its directory below the root of all runs.
        files: The content of its files, by name.
    """

    place: PurePosixPath
    files: Mapping[str, bytes]

    @property
    def benchmark(self) -> str:
        """The benchmark that it is of."""
        return self.place.parts[0]


def pack(run: RunDirectory) -> PackedRun:
    """Return what is published of a finished run.

    Its `done` says that the rest was left out, so that nothing takes over a training from it.

    Raises:
        DataError: It is not finished, its record is damaged, or a path of this machine defines it.
        RunDirectoryError: A file is missing or is another than the run ended with.
    """
    if not run.is_done:
        raise DataError(f"`{run.path}` is not finished; repeat its command.")
    _check_whole(run)
    record = read_record(run.record)
    config = read_yaml(run.config, "recipe").values
    if not isinstance(config, dict):
        raise DataError(f"`{run.config}` is not a recipe; repeat the run with `--force`.")
    config = _without_places(config)
    for key, value in flat(config).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _FOLDERS.match(text):
                raise DataError(
                    f"`{run.path}` is defined by `{key}`, which is `{excerpt(text)}`, a path of this machine; runs of "
                    "relative paths can be packed."
                )
    # As it was written: records of format 1 stay what they are.
    written = cast("dict[str, dict[str, object]]", schema.load(run.record))
    files = {run.record.name: json_bytes(_portable(written | {"config": _without_places(written["config"])}))}
    for path in (run.start, run.validation):
        if path.is_file():
            files[path.name] = json_bytes(_portable(schema.read(path, dict[str, object])))
    facts = {name: _facts(content) for name, content in sorted(files.items())}
    files[run.config.name] = dump_yaml(config).encode()
    files[run.done.name] = json_bytes(Manifest(files=facts, start={}, records_only=True, cores=cores_of(run)))
    return PackedRun(place_of(record), files)


def place_of(record: Record) -> PurePosixPath:
    """Return where a run lies below the root of all runs."""
    name = f"seed{record['seed']}-{record['identity']}"
    return PurePosixPath(record["benchmark"], record["held_out"], record["algorithm"], name)


def _check_whole(run: RunDirectory) -> None:
    """Check those files alone that are packed: all others are many times as large."""
    if run.done.stat().st_size == 0:
        return
    known = schema.read(run.done, Manifest)["files"]
    for path in (run.record, run.validation, run.start):
        if path.name in known and not unchanged(path, known[path.name]):
            raise DataError(f"`{path}` is not the file that the run ended with; restore it, or {schema.REPEAT}.")


def _without_places(config: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a recipe without those that say where one machine has its files, and who follows a run."""
    changed = dict(config)
    data, runtime = changed.get("data"), changed.get("runtime")
    if isinstance(data, dict):
        places = ("cache",) if changed.get("benchmark") == CUSTOM else _PLACES
        changed["data"] = {key: None if key in places else value for key, value in data.items()}
    if isinstance(runtime, dict):
        changed["runtime"] = runtime | {"root": RuntimeConfig().root}
    if "tracking" in changed:
        changed["tracking"] = asdict(TrackingConfig())
    return changed


def _portable(value: object) -> object:
    """Return what JSON holds with every absolute path shortened to what it leads to."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, list):
        return [_portable(one) for one in value]
    if isinstance(value, dict):
        return {_portable(key): _portable(one) for key, one in value.items()}
    return value


def _facts(content: bytes) -> FileFacts:
    return FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), ctime_ns=NEVER)
