"""Reads what an offline W&B run has written: a `.wandb` file is a log of LevelDB's format with protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when it is imported

_BLOCK, _HEADER = 32_768, struct.Struct("<IHB")
_START = 7  # of the file, before the first record: `:W&B`, a magic number and a version
_WHOLE, _FIRST, _LAST = 1, 2, 4


class OfflineRun(NamedTuple):
    """One W&B run as its file has it.

    Args:
        id: Its id.
        project: Its project.
        group: Its group.
        job_type: Its kind.
        name: What people read.
        tags: Its tags.
        config: Its configuration.
        history: What was logged, a mapping a step; `_step` is the step.
        summary: Its summary.
        exit_code: How it ended; `None` if it did not.
        artifacts: Names of the artifacts that it logged.
        types: Kinds of records in the file.
    """

    id: str
    project: str
    group: str
    job_type: str
    name: str
    tags: list[str]
    config: dict[str, object]
    history: list[dict[str, object]]
    summary: dict[str, object]
    exit_code: int | None
    artifacts: list[str]
    types: set[str]

    def curve(self, name: str) -> dict[int, float]:
        """Return a metric by step."""
        return {int(str(row["_step"])): float(str(row[name])) for row in self.history if name in row}


def read_offline(path: Path) -> OfflineRun:
    """Read a `.wandb` file."""
    found = OfflineRun("", "", "", "", "", [], {}, [], {}, None, [], set())
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type") or ""
        found.types.add(kind)
        if kind == "run":
            run = record.run
            found = found._replace(
                id=run.run_id,
                project=run.project,
                group=run.run_group,
                job_type=run.job_type,
                name=run.display_name,
                tags=list(run.tags),
            )
            found.config.update(_items(run.config.update))
        elif kind == "config":
            found.config.update(_items(record.config.update))
        elif kind == "history":
            found.history.append(_items(record.history.item) | {"_step": record.history.step.num})
        elif kind == "summary":
            found.summary.update(_items(record.summary.update))
        elif kind == "artifact":
            found.artifacts.append(record.artifact.name)
        elif kind == "exit":
            found = found._replace(exit_code=record.exit.exit_code)
    return found


def offline_runs(folder: Path) -> dict[str, OfflineRun]:
    """Return all W&B runs below a folder by their ids; of several files of one id, the last."""
    found = [read_offline(path) for path in sorted(folder.rglob("*.wandb"))]
    return {run.id: run for run in found}


def _items(items: object) -> dict[str, object]:
    found = {}
    for item in items:  # type: ignore[attr-defined]  # a container of protocol buffers
        found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def _records(data: bytes) -> Iterator[Record]:
    position, pending = _START, b""
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:  # the rest of a block that no header fits into
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        part = data[position + _HEADER.size : position + _HEADER.size + length]
        position += _HEADER.size + length
        pending = part if kind in (_WHOLE, _FIRST) else pending + part
        if kind in (_WHOLE, _LAST):
            record = Record()
            record.ParseFromString(pending)
            yield record
