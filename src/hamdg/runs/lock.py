"""Who works on a run: the note that lies beside the lock of its directory."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hamdg.files import write_text

LOCK, OWNER = ".lock", ".lock-owner"


@dataclass(frozen=True)
class Owner:
    """The process that holds a run directory's lock.

    Args:
        process: Its number.
        host: The machine that it runs on; empty where an older version did not note it.
        since: When it took the lock, in seconds since the epoch.
    """

    process: str
    host: str
    since: float

    def __str__(self) -> str:
        elsewhere = f" on `{self.host}`" if self.host not in ("", socket.gethostname()) else ""
        return f"process {self.process}{elsewhere}"


def note_owner(run: Path) -> None:
    """Write down that this process holds the lock of a run directory."""
    write_text(run / OWNER, f"{os.getpid()} {socket.gethostname()}\n")


def noted_owner(run: Path) -> Owner | None:
    """Return which process noted that it holds the lock of a run directory; a killed one may be gone."""
    # The owner writes its note just after it got the lock, so it may be missing for a moment.
    with suppress(OSError):
        path = run / OWNER
        process, _, host = path.read_text(encoding="utf-8", errors="replace").strip().partition(" ")
        return Owner(process, host, path.stat().st_mtime) if process else None
    return None


def holder(run: Path) -> Owner | None:
    """Return which process holds the lock of a run directory now, on this host or another.

    The lock is looked at only where a note says that somebody has it, and is never taken for itself, so that looking
    keeps no other process from its work.
    """
    owner = noted_owner(run)
    return owner if owner is not None and _is_locked(run / LOCK) else None


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without such locks, where the lock is that the file is there.
        return True
    finally:
        os.close(descriptor)
    return False
