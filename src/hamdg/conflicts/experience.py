"""What measured runs say about merging where sources disagree as these do: sentences from a file of findings.

`findings.json` is a list of findings, each with the `sentence` that is printed, the `command` that measured it, and
`when`: ranges `[lowest, highest]` (`null`: no limit) of facts of a conflict report, all of which must hold. A finding
is only added for a result in docs/findings.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import NotRequired, TypedDict, cast

from hamdg.conflicts.gradients import WHOLE
from hamdg.conflicts.measure import Conflicts

FACTS = ("sources", "cosine", "accepted", "wrong_labels", "contradictions", "imbalance", "size_ratio")


class Finding(TypedDict):
    """One finding.

    Attributes:
        sentence: What was found.
        command: The command that measured it.
        when: Ranges of facts, by their names in `FACTS`.
    """

    sentence: str
    command: NotRequired[str]
    when: dict[str, tuple[float | None, float | None]]


def shipped() -> list[Finding]:
    """Return the findings that come with the package."""
    return cast("list[Finding]", json.loads(files("hamdg.conflicts").joinpath("findings.json").read_text("utf-8")))


def facts(found: Conflicts) -> dict[str, float]:
    """Return the numbers of a report that findings can ask for; those that were not measurable are missing.

    These are the number of `sources`, the lowest corrected `cosine` of two sources' gradients, the mean share
    `accepted` by enrichment, the upper estimate of the share of `wrong_labels`, the number of `contradictions` between
    sources, the `imbalance` within the least balanced source (images of its most frequent class over those of the
    rarest that it has), and the `size_ratio` of the sources (images of the largest over those of the smallest).
    """
    cosines = [one for layers in found.gradients.pairs.values() if (one := layers[WHOLE].corrected) is not None]
    shares = [share for own in found.accepted.shares.values() for share in own.values()]
    counts = [[count for count in one.counts if count] for one in found.sources.values()]
    sizes = [sum(own) for own in counts]
    measured = {
        "sources": float(len(sizes)),
        "accepted": sum(shares) / len(shares),
        "wrong_labels": found.wrong_share,
        "contradictions": float(len(found.contradictions)),
        "imbalance": max(max(own) / min(own) for own in counts),
        "size_ratio": max(sizes) / min(sizes),
    }
    return measured | ({"cosine": min(cosines)} if cosines else {})


def experience(measured: Mapping[str, float], findings: list[Finding]) -> list[Finding]:
    """Return the findings whose conditions hold; one that asks for a fact that is missing does not.

    Args:
        measured: Facts of a report.
        findings: All findings.
    """
    return [one for one in findings if all(_holds(measured.get(name), *span) for name, span in one["when"].items())]


def _holds(value: float | None, lowest: float | None, highest: float | None) -> bool:
    if value is None:
        return False
    return (lowest is None or value >= lowest) and (highest is None or value <= highest)
