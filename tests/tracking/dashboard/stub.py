"""A stub of W&B's server on the loopback address, which answers what saving a workspace and a report asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast

USER = {
    "id": "u",
    "flags": "{}",
    "entity": "team",
    "name": "Me",
    "username": "me",
    "email": "me@host",
    "admin": False,
    "deletedAt": None,
}
PROJECT = {"id": "p", "name": "other", "entityName": "team", "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False}
PAGE = {"endCursor": None, "hasNextPage": False}
Variables = dict[str, str | None]


class Stub(ThreadingHTTPServer):
    """Keeps every mutation that it was sent, by its name, with its variables."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.saved: list[Variables] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, query: str, variables: Variables) -> object:
        none: dict[str, object] = {"edges": [], "pageInfo": PAGE}
        user = USER | {"teams": none, "apiKeys": none}
        if "upsertView" in query:
            self.saved.append(variables)
            view = {
                "id": f"id{len(self.saved)}",
                "name": "nw-abc-v",
                "displayName": "",
                "description": "",
                "spec": variables["spec"],
            }
            project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
            return {
                "upsertView": {"view": view | {"type": "runs", "project": project, "updatedAt": None}, "inserted": True}
            }
        if "internalId" in query:
            return {"project": None if variables["projectName"] == "missing" else {"id": "p", "internalId": "p1"}}
        if "models" in query:
            node = PROJECT | {"name": variables.get("name") or "ablations", "user": user}
            return {"models": {"edges": [{"node": node, "cursor": "c"}], "pageInfo": PAGE}}
        return {"viewer": user}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("graphql"):  # telemetry
            self._send(b"")
            return
        asked = json.loads(body)
        stub = cast("Stub", self.server)
        self._send(json.dumps({"data": stub.answer(asked["query"], asked.get("variables") or {})}).encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_stub() -> Iterator[Stub]:
    """Answer on a free port while the block runs."""
    stub = Stub()
    thread = Thread(target=stub.serve_forever)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join()
