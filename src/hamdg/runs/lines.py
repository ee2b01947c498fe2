"""`lines.json`: accuracy on the straight lines between two models' weights."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory


class PairLine(TypedDict):
    """A line between two models.

    Attributes:
        first: Key of the entry in which it begins.
        last: Key of the one in which it ends.
        values: By domain, the primary metric at each point.
    """

    first: str
    last: str
    values: dict[str, list[float | None]]


class LineFacts(TypedDict):
    """`lines.json`: from each of some entries to the result, and between them.

    Attributes:
        result: Key of the entry in which all lines end.
        at: The points: 0 is the beginning of a line, 1 its end.
        images: How many images of each domain were scored: of sources those that validate, of targets all, or a draw.
        lines: By the key of the entry in which a line begins, and by domain, the primary metric at each point.
        note: What was done to the models on the lines before they were measured.
        pairs: The lines between models that were merged, and others, where the algorithm wants them.
    """

    result: str
    at: list[float]
    images: dict[str, int]
    lines: dict[str, dict[str, list[float | None]]]
    note: NotRequired[str]
    pairs: NotRequired[list[PairLine]]


def read_lines(run: RunDirectory) -> LineFacts | None:
    """Return what was measured; `None` if nothing was.

    Raises:
        RunDirectoryError: The file is damaged.
    """
    if not run.lines.is_file():
        return None
    again = f"let `hamdg evaluate {run.path}` write it again"
    found = schema.read(run.lines, LineFacts, again)
    drawn = [*found["lines"].values(), *(pair["values"] for pair in found.get("pairs", []))]
    if any(len(own) != len(found["at"]) for line in drawn for own in line.values()):
        raise schema.damaged(run.lines, "a line has not one value a point", again)
    return found
