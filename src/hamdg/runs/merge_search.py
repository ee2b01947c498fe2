"""What a search over merges leaves in the record: the candidates with their scores, and the table of the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from hamdg.runs.drawings import same_drawings
from hamdg.runs.figures import Table, table
from hamdg.text import listed_in_words

if TYPE_CHECKING:
    from hamdg.merge.search import Found, Scored

_SHOWN = 10
_MINUS = "\N{MINUS SIGN}"
_RULES = {"leave_one_out": "leave-one-source-out", "in_domain": "in-domain validation"}
LEAKING = "LEAKING: the source models have learned from each other's domains, so that none of them is left out."
SEEN_LABELS = (
    "The class features were learned from the labels of all sources, so that the one that is left out is not entirely "
    "unseen."
)


class SearchedMerge(TypedDict):
    """A candidate: its score, and the standard error of its difference to the plain average."""

    name: str
    score: float
    error: float


class SearchFacts(TypedDict):
    """A search.

    Attributes:
        by: What candidates were scored by.
        leaking: Whether the models that were merged for a source have seen it.
        leaks: Sentences on how; earlier records have none, and one way.
        seen_labels: Whether the class features were learned from its labels.
        chosen: The name of the chosen merge.
        average: The name of the plain average.
        candidates: All that were scored, the best first.
        refused: How many could not merge these models.
    """

    by: str
    leaking: bool
    leaks: NotRequired[list[str]]
    seen_labels: NotRequired[bool]
    chosen: str
    average: str
    candidates: list[SearchedMerge]
    refused: int


def shared_drawings(benchmark: str, sources: Sequence[str]) -> list[str]:
    """Return a sentence on sources that show the same drawings, each with a split of its own, if there are any."""
    groups = [f"in {listed_in_words(group)}" for group in same_drawings(benchmark, sources)]
    if not groups:
        return []
    return [
        f"LEAKING: the same drawings, in another light, are {listed_in_words(groups)}, so that models have learned "
        "from drawings that their merges are scored on."
    ]


def search_facts(found: Found, leaks: Sequence[str], seen_labels: bool) -> SearchFacts:
    """Return what the record says of a search.

    Args:
        found: What it tried.
        leaks: How the models that were merged for a source have seen it, in sentences.
        seen_labels: Whether the class features were learned from its labels.
    """

    def entry(one: Scored) -> SearchedMerge:
        return SearchedMerge(name=str(one.candidate), score=one.score(found.by), error=one.errors[found.by])

    return SearchFacts(
        by=found.by,
        leaking=bool(leaks),
        leaks=list(leaks),
        seen_labels=seen_labels,
        chosen=str(found.chosen.candidate),
        average=str(found.average.candidate),
        candidates=[entry(one) for one in found.ranked(found.by)],
        refused=len(found.refused),
    )


def search_note(facts: SearchFacts) -> str:
    """Return in a sentence what a search chose."""
    scores = {one["name"]: one["score"] for one in facts["candidates"]}
    chosen, average = facts["chosen"], facts["average"]
    beside = "" if chosen == average else f"; the plain average has {scores[average]:.1%}"
    notes = list(facts.get("leaks", [LEAKING] if facts["leaking"] else []))
    notes += [SEEN_LABELS] if facts.get("seen_labels") else []
    count = len(facts["candidates"])
    return (
        f"Of {count} merges, {_RULES[facts['by']]} chose {chosen}, with {scores[chosen]:.1%} on the sources' "
        f"hold-out sets{beside}.{''.join(f' {note}' for note in notes)}"
    )


def search_figure(facts: SearchFacts) -> Table:
    """Return the table of the best candidates, the plain average among them."""
    scores = {one["name"]: one["score"] for one in facts["candidates"]}
    rows = []
    for place, one in enumerate(facts["candidates"]):
        if place < _SHOWN or one["name"] in (facts["chosen"], facts["average"]):
            ahead = 100 * (one["score"] - scores[facts["average"]])
            error = f" ± {100 * one['error']:.1f}" if one["error"] else ""
            name = f"{one['name']} (chosen)" if one["name"] == facts["chosen"] else one["name"]
            rows.append([name, f"{100 * one['score']:.1f}", f"{ahead:+.1f}".replace("-", _MINUS) + error])
    columns = ["merge", f"{_RULES[facts['by']]}, %", "difference to the plain average"]
    return table("Search over merges", columns, rows, note=search_note(facts))
