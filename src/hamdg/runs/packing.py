"""What is published of a finished run: the small files that tables need, without paths of its machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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
from hamdg.runs.local_paths import PATH_KEYS, is_absolute, shortened, shortened_command, shortened_keys
from hamdg.runs.manifest import NEVER, FileFacts, Manifest, cores_of, unchanged
from hamdg.runs.record import Record, read_record
from hamdg.runs.settings import flat
from hamdg.runs.steps import Start, read_validation
from hamdg.text import excerpt

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
    for key, path in (*_paths_in(config), *_own_paths(config)):
        if is_absolute(path):
            raise DataError(
                f"`{run.path}` is defined by `{key}`, which is `{excerpt(path)}`, a path of this machine; runs of "
                "relative paths can be packed."
            )
    files = {run.record.name: json_bytes(_portable_record(run)), run.validation.name: _validation(run)}
    if run.start.is_file():
        start = schema.read(run.start, Start)
        files[run.start.name] = json_bytes({**start, "files": shortened_keys(start["files"])})
    facts = {name: _facts(content) for name, content in sorted(files.items())}
    files[run.config.name] = dump_yaml(config).encode()
    digest = hashlib.sha256(files[run.config.name]).hexdigest()
    done = Manifest(files=facts, start={}, records_only=True, config=digest)
    if (cores := cores_of(run)) is not None:
        done["cores"] = cores
    files[run.done.name] = json_bytes(done)
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
    scores = run.validation if run.validation.exists() else run.step("merge").summary
    for path in (run.record, scores, run.validation, run.start):
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


def _paths_in(config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a recipe that hold a path, or a name in its place, and what they hold."""
    values = flat(config)
    for key in PATH_KEYS:
        if isinstance(value := values.get(key), str):
            yield key, value


def _own_paths(config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what may be a path in the section of a recipe's algorithm: its texts, and weights that follow a model."""
    name = config.get("algorithm")
    own = config.get(name) if isinstance(name, str) else None
    for key, value in flat(own).items() if isinstance(own, Mapping) else ():
        for text in value if isinstance(value, list) else [value]:
            # A template of prompts is none.
            if isinstance(text, str) and "{" not in text:
                yield from ((f"{name}.{key}", part) for part in (text, text.partition("@")[2]))


def _portable_record(run: RunDirectory) -> dict[str, object]:
    """Return a record without paths of this machine, else as it was written: those of format 1 stay what they are."""
    record = cast("dict[str, object]", schema.load(run.record))
    config = _without_places(cast("dict[str, object]", record["config"]))
    for key, path in _paths_in(config):
        section, _, name = key.partition(".")
        config[section] = cast("dict[str, object]", config[section]) | {name: shortened(path)}
    return record | {"command": shortened_command(cast("str", record["command"])), "config": config}


def _validation(run: RunDirectory) -> bytes:
    """Return the content of `validation.json`, also of runs whose `merge.json` holds what it says."""
    if run.validation.is_file():
        return json_bytes(schema.read(run.validation, dict[str, object]))
    return json_bytes({"validation": read_validation(run)})


def _facts(content: bytes) -> FileFacts:
    return FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), ctime_ns=NEVER)
