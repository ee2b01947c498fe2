"""Which clients are merged into what, and which models teach the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Arrangement(NamedTuple):
    """What becomes of the clients.

    Args:
        models: The models that images are synthesized from: their names, and the clients that each is merged of.
        student: The clients whose merge learns from the teachers.
        teachers: The models that are distilled into it.
        itself: The model that is that merge, if there is one: it says what the student is to stay near to.
    """

    models: dict[str, list[str]]
    student: list[str]
    teachers: list[str]
    itself: str | None


def arrange(groups: Sequence[Sequence[str]], merge_all: bool) -> Arrangement:
    """Return what becomes of groups of similar clients, the largest first.

    - One group: it is merged, and nothing is divergent.
    - Several: each is merged, and those but the largest teach its merge.
    - Several and `merge_all`: each is merged, and all of them teach the merge of all clients.
    - Nothing but single clients: the same, since none of them is the main group.
    """
    clients = sorted(name for group in groups for name in group)
    names = [group[0] if len(group) == 1 else f"group-{number}" for number, group in enumerate(groups, start=1)]
    models = {name: list(group) for name, group in zip(names, groups, strict=True)}
    if len(groups) > 1 and (merge_all or len(groups[0]) == 1):
        return Arrangement(models, clients, names, None)
    return Arrangement(models, list(groups[0]), names[1:], names[0])
