"""Tables, figures and the HTML page: pure functions of what a run left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hamdg.errors import DataError

__all__ = ["build"]


def build(paths: Sequence[Path]) -> Path:
    """Write the `report.html` of each run directory and return the last one's path.

    Args:
        paths: Finished run directories, or paths of their `record.json`.

    Raises:
        DataError: No path was given, or one is not a finished run.
    """
    # The page brings Jinja and Pillow, which tables do without.
    from hamdg.report.page import write_report

    if not paths:
        raise DataError("Expected at least one run directory, got none. Name one, as in `hamdg report RUN_DIRECTORY`.")
    pages = [write_report(path if path.is_dir() or path.name != "record.json" else path.parent) for path in paths]
    return pages[-1]
