"""Wall time and memory of whole commands."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# How often a process is asked for its memory.
_EVERY = 0.004


@dataclass(frozen=True)
class Measured:
    """What one run of a command took.

    Args:
        wall: Seconds from start to end, the interpreter's start included.
        anonymous: Largest anonymous memory seen, in bytes: what the process owns, mapped files left out.
        core: Seconds that the command says its work took, if it says so.
    """

    wall: float
    anonymous: int
    core: float | None = None


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command and measure it.

    Args:
        command: The command and its arguments. A last line of output that is a JSON object with `core` is read.
        environment: Variables that are set for it besides those of this process.

    Raises:
        RuntimeError: The command failed; the message holds the end of what it printed.
    """
    start = time.perf_counter()
    surroundings = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=surroundings
    ) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _anonymous(process.pid))
            time.sleep(_EVERY)
        wall = time.perf_counter() - start
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"`{' '.join(map(str, command))}` failed: {output.strip()[-500:]}")
    return Measured(wall, peak, _core(output))


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # gone already
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def _core(output: str) -> float | None:
    last = output.strip().splitlines()[-1:]
    if not last or not last[0].startswith("{"):
        return None
    return float(json.loads(last[0])["core"])
