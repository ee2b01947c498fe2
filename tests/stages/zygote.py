"""Forks children that run `hamdg` commands with everything imported, and lets accidents happen to them.

Started by the `zygote` fixture. Reads one JSON request a line from stdin, writes one JSON answer a line to stdout.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import hamdg.cli
import hamdg.report
import hamdg.stages.pipeline


class Request(TypedDict):
    argv: list[str]
    folder: str
    # Seconds from the fork to the signal; the signal's number.
    after: float | None
    signal: int
    # The child dies at this file operation, from 1; 0 never.
    die_at: int
    # Largest file in bytes that the child may write; the kernel refuses more, as on a full disk.
    file_limit: int | None


def die_at(number: int) -> None:
    """Leave without any clean-up at the `number`-th moment just before or after a file is replaced or removed."""
    left = number

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(77)

    def watched(operation: Callable[..., None]) -> Callable[..., None]:
        def call(path: Path, *arguments: object, **options: object) -> None:
            # Removing what is not there, or a temporary file, changes nothing that a run goes on from.
            counts = operation is not unlink or (".tmp" not in path.name and path.exists())
            if counts:
                tick()
            operation(path, *arguments, **options)
            if counts:
                tick()

        return call

    unlink = Path.unlink
    os.replace = watched(os.replace)
    Path.unlink = watched(Path.unlink)  # type: ignore[method-assign]


def child(request: Request, out: int, err: int) -> int:
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["die_at"]:
        die_at(request["die_at"])
    if (limit := request["file_limit"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        return hamdg.cli.main(request["argv"])
    except BaseException:
        import traceback

        traceback.print_exc()
        return 99


def serve(request: Request) -> dict[str, object]:
    # Pipes, since a limit on files must not hit what the child says; it says less than a pipe holds.
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    started = time.monotonic()
    number = os.fork()
    if number == 0:
        code = child(request, out_end, err_end)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(out_end)
    os.close(err_end)
    if (after := request["after"]) is not None:
        time.sleep(after)
        os.kill(number, request["signal"])
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    with open(out, encoding="utf-8") as said, open(err, encoding="utf-8") as cried:
        texts = said.read(), cried.read()
    return {"code": code, "seconds": time.monotonic() - started, "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
