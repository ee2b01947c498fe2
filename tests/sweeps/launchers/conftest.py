from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hamdg.runs.lock import holder
from tests.tiny import tiny_settings

TINY = tiny_settings(train__steps=200, runtime__checkpoint_every=10)


def sweep(path: Path, *options: str) -> subprocess.Popen[str]:
    """Start a sweep as a command of its own, in the folder of its file."""
    argv = [sys.executable, "-m", "hamdg", "sweep", str(path), *options]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=path.parent)


def working(root: Path) -> Iterator[int]:
    """Yield every process that has a run below a folder with a checkpoint that it would go on from."""
    for checkpoint in root.glob("mini/*/*/*/*/resume.ckpt"):
        if owner := holder(checkpoint.parents[1]):
            yield int(owner.process)


def results(root: Path) -> dict[str, str]:
    """Return the digest of what each finished run below a folder merged, by the run's path."""
    found = sorted(root.glob("mini/*/*/*/done"))
    models = {path.parent: path.with_name("merged.safetensors").read_bytes() for path in found}
    return {str(run.relative_to(root)): hashlib.sha256(model).hexdigest() for run, model in models.items()}


def children(process: int) -> Iterator[int]:
    """Yield all processes below one that are alive."""
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            direct = [int(one) for one in task.read_text().split()]
        except OSError:  # it has just ended
            continue
        for child in direct:
            yield child
            yield from children(child)
