"""What following a run costs: `python -m hamdg.tools.bench tracking`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from hamdg import console

RUN = ("run", "mini/ham", "--controls.erm=false", "--runtime.threads=1", "--runtime.quiet=true")
WAYS: Mapping[str, Sequence[str]] = {
    "W&B, offline": ("--tracking=wandb", "--tracking.mode=offline"),
    "W&B, offline, without the machine's load": (
        "--tracking=wandb",
        "--tracking.mode=offline",
        "--tracking.system=false",
    ),
    "TensorBoard": ("--tracking=tensorboard",),
}
# What logging may cost of a run.
LIMIT = 0.03


def processor_seconds(command: Sequence[str], folder: Path) -> float:
    """Return the processor time of a command in a folder, and of all processes that it started and waited for.

    Args:
        command: The command and its arguments.
        folder: Its working directory.

    Raises:
        RuntimeError: It failed.
    """
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"`{' '.join(command)}` failed.")
    return usage.ru_utime + usage.ru_stime


def shares(plain: Sequence[float], followed: Sequence[float]) -> list[float]:
    """Return what each run with a logger took more than the one without beside it, as a share of that."""
    return [more / less - 1 for less, more in zip(plain, followed, strict=True)]


def main(pairs: int, options: Sequence[str] = ()) -> None:
    """Run pairs, with and without each logger in turn, and print the median of what it costs.

    Args:
        pairs: How many pairs.
        options: Further arguments of `hamdg run`.
    """
    rows: list[list[str]] = []
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hamdg", *RUN, *options]
        # The images are rendered once, and not as a part of what is measured.
        _measured(command, Path(folder), "first")
        for name, tracking in WAYS.items():
            found: tuple[list[float], list[float]] = ([], [])
            for number in range(pairs):
                for place, own in enumerate(((), tracking)):
                    seconds = _measured([*command, *own], Path(folder), f"{number}-{place}-{len(rows)}")
                    found[place].append(seconds)
            share = median(shares(*found))
            verdict = "within" if share <= LIMIT else "above"
            rows.append([name, f"{median(found[0]):.1f} s", f"{100 * share:+.1f} %", f"{verdict} {100 * LIMIT:.0f} %"])
    console.table(["logger", "without it", "costs", ""], rows, title=f"Processor time of a run, {pairs} pairs")


def _measured(command: Sequence[str], folder: Path, name: str) -> float:
    return processor_seconds([*command, f"--runtime.root={name}", f"--data.cache={folder / 'cache'}"], folder)
