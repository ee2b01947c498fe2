"""Names beside the points of a drawing: each where it covers no other name and no point, or left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Anchor = Literal["start", "middle", "end"]

# Of the 12 px text of drawings, as wide as wide fonts have it.
_CHARACTER, _LINE = 7.2, 14.0
_CLEAR = 5.0  # from a point to its name
_LEADS = (16.0, 30.0, 44.0)  # how far a name may move away, with a line to its point


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Return whether two rectangles have a part in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Return whether this rectangle lies inside another one."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Label:
    """A name: where its text begins, is centered or ends, on its base line.

    Args:
        text: The name.
        x: Where.
        y: Its base line.
        anchor: Which part of the text `x` is.
        lead: Where the line from the point to a name farther away ends; `None` for a name beside its point.
    """

    text: str
    x: float
    y: float
    anchor: Anchor
    lead: tuple[float, float] | None = None


def place(
    names: Sequence[Sequence[str]], points: Sequence[tuple[float, float]], frame: Box, taken: Sequence[Box] = ()
) -> list[Label | None]:
    """Return where each name stands; `None` for names that have no room.

    Names that come first have the choice: pass the most important points first.

    Args:
        names: The names, one or several a point: the first that has room is taken.
        points: The points.
        frame: What the names must lie in.
        taken: Rectangles that no name may cover, besides the points.
    """
    used = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points] + list(taken)
    placed: list[Label | None] = []
    for index, (name, point) in enumerate(zip(names, points, strict=True)):
        others = [box for number, box in enumerate(used) if number != index]
        found = next(
            (
                label
                for text in dict.fromkeys(name)
                for label in _places(text, point)
                if (box := _box(label)).within(frame) and not any(box.meets(other) for other in others)
            ),
            None,
        )
        placed.append(found)
        if found is not None:
            used.append(_box(found))
    return placed


def text_width(text: str) -> float:
    """Return about how wide a text is, in pixels."""
    return len(text) * _CHARACTER


def _places(name: str, point: tuple[float, float]) -> Iterator[Label]:
    """Yield the places of a name from the best to the worst: beside its point, then farther away with a line."""
    x, y = point
    yield Label(name, x + _CLEAR + 3, y + 4, "start")
    yield Label(name, x - _CLEAR - 3, y + 4, "end")
    yield Label(name, x, y - _CLEAR - 4, "middle")
    yield Label(name, x, y + _CLEAR + 12, "middle")
    for far in _LEADS:
        for down in (-far, far, -far / 2, far / 2):
            yield Label(name, x + far + 3, y + down + 4, "start", (x + far, y + down))
            yield Label(name, x - far - 3, y + down + 4, "end", (x - far, y + down))


def _box(label: Label) -> Box:
    width = text_width(label.text)
    left = {"start": label.x, "middle": label.x - width / 2, "end": label.x - width}[label.anchor]
    return Box(left, label.y - _LINE + 4, left + width, label.y + 4)
