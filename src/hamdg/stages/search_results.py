"""`search.json`: what was tried of a run's merges, so that a repeated search goes on where the last one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

from hamdg.files import write_json
from hamdg.merge.candidates import Candidate
from hamdg.merge.search import Rule, Scored
from hamdg.runs import schema

_REPEAT = "delete it, and search again"


class ScoredEntry(TypedDict):
    """A candidate with its scores by rule and source, and the standard errors of the differences to the average."""

    method: str
    options: dict[str, float | int | bool | str | None]
    scores: dict[str, dict[str, float]]
    errors: dict[str, float]


class SearchResults(TypedDict):
    """The file.

    Attributes:
        identity: Hash of the models, the images and what else the scores depend on.
        candidates: All that was scored, in its order.
        images: How many images each source's hold-out set has.
        leaking: Whether the models that are merged for a source have seen it.
        chosen: By rule, the key of the candidate that the last search chose.
    """

    identity: str
    candidates: list[ScoredEntry]
    images: dict[str, int]
    leaking: bool
    chosen: dict[str, str]


def read_results(path: Path, identity: str) -> dict[str, Scored]:
    """Return what was scored before, by the candidates' keys; nothing of other models or images.

    Args:
        path: The file, which may be missing.
        identity: What the scores depend on.

    Raises:
        RunDirectoryError: The file is damaged.
    """
    if not path.is_file():
        return {}
    results = schema.read(path, SearchResults, _REPEAT)
    if results["identity"] != identity:
        return {}
    found = [_scored_of(entry) for entry in results["candidates"]]
    return {one.candidate.key: one for one in found}


def write_results(
    path: Path,
    identity: str,
    scored: Mapping[str, Scored],
    images: Mapping[str, int],
    *,
    leaking: bool,
    chosen: Mapping[Rule, Candidate],
) -> None:
    """Write what was scored; a killed search leaves the file before."""
    results = SearchResults(
        identity=identity,
        candidates=[_entry_of(one) for one in scored.values()],
        images=dict(images),
        leaking=leaking,
        chosen={rule: candidate.key for rule, candidate in chosen.items()},
    )
    write_json(path, results)


def _entry_of(one: Scored) -> ScoredEntry:
    """Return a scored candidate as JSON has it."""
    return ScoredEntry(
        method=one.candidate.method,
        options=cast("dict[str, float | int | bool | str | None]", dict(one.candidate.options)),
        scores={rule: dict(own) for rule, own in one.scores.items()},
        errors={str(rule): error for rule, error in one.errors.items()},
    )


def _scored_of(entry: ScoredEntry) -> Scored:
    """Return a scored candidate of a file."""
    scores = cast("Mapping[Rule, Mapping[str, float]]", entry["scores"])
    return Scored(Candidate(entry["method"], entry["options"]), scores, cast("Mapping[Rule, float]", entry["errors"]))
