"""A W&B server on the loopback address that answers what `wandb-core` asks, and remembers what it was told."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

ENTITY = "tester"
KEY = "0" * 40

_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
_UPLOAD = "/storage/"
_OPERATION = re.compile(r"\s*(?:query|mutation)\s+(\w+)")


@dataclass
class ServerRun:
    """What the server knows of one W&B run.

    Args:
        name: Its id.
        project: Its project.
        fields: What it was last created or changed with: `groupName`, `jobType`, `displayName`, `sweep`, ...
        config: Its configuration.
        lines: Lines of its streamed files, by file and offset.
        exit_code: How it ended; `None` while it goes on.
        begun: How often a process began it.
    """

    name: str
    project: str
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    exit_code: int | None = None
    begun: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged, by step."""
        return [json.loads(line) for _, line in sorted(self.lines.get("wandb-history.jsonl", {}).items())]

    @property
    def summary(self) -> dict[str, Any]:
        """The last summary."""
        lines = self.lines.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Return a metric as pairs of step and value, in the order in which they came."""
        return [(row["_step"], row[name]) for row in self.history if name in row]


@dataclass
class StubServer:
    """The server.

    Args:
        url: Where it is.
        runs: The W&B runs, by id.
        files: Uploaded files, by run and name.
        operations: Names of the GraphQL operations that were asked for, in order.
        artifacts: Types of the artifacts that were made, by name.
        used: What was said of each use of an artifact.
        broken: Whether it answers every request with an error.
    """

    url: str = ""
    runs: dict[str, ServerRun] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    used: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to log to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def graphql(self, operation: str, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        self.operations.append(operation)
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._bucket(self._upserted(values)), "inserted": True}}
        if operation == "RunResumeStatus":
            run = self.runs.get(values["name"])
            return {"model": self._project(values["project"]) | {"bucket": run and self._bucket(run)}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": self._upload(values["run"], name)} for name in values["files"]]
            return {"createRunFiles": {"runID": values["run"], "uploadHeaders": [], "files": files}}
        if operation == "Viewer":
            teams = {"edges": [{"node": {"name": ENTITY}}]}
            viewer = {"id": "id-user", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
            return {"viewer": viewer}
        if operation == "RunStoppedStatus":
            return {"project": {"run": {"stopped": False}}}
        return self._artifact(operation, values) or dict.fromkeys(_fields(query))

    def stream(self, project: str, name: str, body: dict[str, Any]) -> None:
        """Take lines of files."""
        run = self.runs.setdefault(name, ServerRun(name, project))
        for file, chunk in (body.get("files") or {}).items():
            lines = run.lines.setdefault(file, {})
            lines.update({chunk["offset"] + index: line for index, line in enumerate(chunk["content"])})
        if body.get("complete"):
            run.exit_code = body.get("exitcode")

    def _upserted(self, values: dict[str, Any]) -> ServerRun:
        known = values["name"] in self.runs
        run = self.runs.setdefault(values["name"], ServerRun(values["name"], values["project"]))
        if not known or values.get("commit") or values.get("program"):
            run.begun += 1
        run.fields.update({key: value for key, value in values.items() if value is not None})
        config = json.loads(values.get("config") or "{}")
        run.config.update({key: value["value"] for key, value in config.items() if key != "_wandb"})
        return run

    def _bucket(self, run: ServerRun) -> dict[str, Any]:
        history = [line for _, line in sorted(run.lines.get("wandb-history.jsonl", {}).items())]
        return {
            "id": f"id-{run.name}",
            "name": run.name,
            "displayName": run.fields.get("displayName"),
            "description": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": run.fields.get("sweep"),
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": "[]",
            "tags": run.fields.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
            "project": self._project(run.project),
        }

    def _project(self, name: str) -> dict[str, Any]:
        return {"id": f"id-{name}", "name": name, "entity": {"id": "id-entity", "name": ENTITY}}

    def _upload(self, run: str, name: str) -> str:
        return f"{self.url}{_UPLOAD}{quote(f'{run}/{name}')}"

    def _artifact(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        """Take artifacts as if their files were known already, and give those that are asked for by name."""
        if operation == "CreateArtifact":
            given = values["input"]
            name = given["artifactCollectionName"]
            self.artifacts[name] = given["artifactTypeName"]
            state = {"id": f"artifact-{name}", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
            return {"createArtifact": {"artifact": state}}
        if operation == "ArtifactMembershipByName":
            name = values["name"].partition(":")[0]
            member = self._member(name, values["project"]) if name in self.artifacts else None
            return {"project": {"artifactCollectionMembership": member}}
        if operation in ("UseArtifact", "useArtifact"):
            self.used.append(values.get("input", values))
            return {"useArtifact": {"artifact": {"id": "artifact"}}}
        return {}

    def _member(self, name: str, project: str) -> dict[str, Any]:
        known = {"id": f"id-{project}", "internalId": "1", "name": project, "entity": {"name": ENTITY}}
        artifact = {
            "__typename": "Artifact",
            "id": f"artifact-{name}",
            "artifactSequence": {"__typename": "ArtifactSequence", "name": name, "project": known},
            "versionIndex": 0,
            "artifactType": {"name": self.artifacts[name]},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": "d",
            "commitHash": "c",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }
        collection = {"__typename": "ArtifactSequence", "name": name, "project": known}
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": "member",
            "versionIndex": 0,
            "createdAt": "2026-01-01T00:00:00",
            "aliases": [],
            "artifactCollection": collection,
            "artifact": artifact,
        }


def _fields(query: str) -> list[str]:
    """Return the outermost fields that a query asks for."""
    return re.findall(r"(\w+)", query.split("{", 1)[1].split("{")[0])[:1]


@contextmanager
def stub_server() -> Iterator[StubServer]:
    """Run the server while a block runs."""
    server = StubServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with server.lock:
                found = {} if server.broken else self._found(body)
            sent = json.dumps(found).encode()
            self.send_response(503 if server.broken else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)

        def _found(self, body: bytes) -> dict[str, Any]:
            if self.path == "/graphql":
                asked = json.loads(body)
                values = asked.get("variables") or {}
                operation = _OPERATION.match(asked["query"])
                return {"data": server.graphql(operation[1] if operation else "", asked["query"], values)}
            if match := _STREAM.fullmatch(self.path):
                server.stream(unquote(match[2]), unquote(match[3]), json.loads(body))
            elif self.path.startswith(_UPLOAD):
                server.files[unquote(self.path.removeprefix(_UPLOAD))] = body
            return {}

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815 - the names that the base class wants

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
