"""Other runs of the same experiment below the same root: controls, other seeds, other held-out domains."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from hamdg.errors import DataError
from hamdg.report.collection import FoundRun
from hamdg.runs.record import Record
from hamdg.runs.settings import flat, is_aside
from hamdg.runs.summary import Summary, read_summary

Relation = Literal["control", "seed", "domain"]

# Keys of a recipe that tell runs of one experiment from each other.
_NAMES = ("seed", "held_out", "label")
# A folder with more runs than this is not searched to its end: a page takes no longer than its own run's files do.
_MOST = 2_000


@dataclass(frozen=True)
class RelatedRun:
    """A run that belongs to another one.

    Args:
        relation: Why it is listed.
        label: What tables call it.
        seed: Its seed.
        held_out: Its held-out domain.
        accuracy: Its headline.
        address: Where its page lies, relative to this run's; empty if it has none.
    """

    relation: Relation
    label: str
    seed: int
    held_out: str
    accuracy: float
    address: str


def related_runs(run: Path, record: Record) -> list[RelatedRun]:
    """Return the controls of a run, and the runs of its recipe with other seeds or other held-out domains.

    Args:
        run: The run's directory, below `<root>/<benchmark>/<held_out>/<algorithm>/`; elsewhere nothing is related.
        record: Its record.
    """
    place = run.resolve()
    names = [place.parents[index].name for index in (2, 1, 0)] if len(place.parents) > 3 else []
    if names != [record["benchmark"], record["held_out"], record["algorithm"]]:
        return []
    found = [one for name in record.get("control_runs", []) if (one := _control(place, name)) is not None]
    others = [one for one in map(_summary, _siblings(place)) if one is not None]
    others = [one for one in others if _is_same(one.summary.config, record["config"])]
    here, seed = record["held_out"], record["seed"]
    seeds = [one for one in others if one.summary.held_out == here and one.summary.seed != seed]
    domains = [one for one in others if one.summary.held_out != here and one.summary.seed == seed]
    found += [_related("seed", place, one) for one in sorted(seeds, key=lambda one: one.summary.seed)]
    return found + [_related("domain", place, one) for one in sorted(domains, key=lambda one: one.summary.held_out)]


def _control(place: Path, name: str) -> RelatedRun | None:
    path = (place.parents[1] / name).resolve()
    # A record is not trusted to name folders elsewhere.
    if not path.is_relative_to(place.parents[1]) or (found := _summary(path)) is None:
        return None
    return _related("control", place, found)


def _siblings(place: Path) -> Iterator[Path]:
    """Yield the directories of the same algorithm's other runs on the benchmark that have ended."""
    pattern = f"*/{place.parent.name}/seed*/record.json"
    for count, record in enumerate(sorted(place.parents[2].glob(pattern))):
        if count < _MOST and record.parent != place:
            yield record.parent


def _summary(path: Path) -> FoundRun | None:
    """Return a run; `None` if it has no whole record: this page is not the place to say so."""
    try:
        return FoundRun(path, _read(path, (path / "record.json").stat().st_mtime_ns))
    except (OSError, DataError):
        return None


@lru_cache(maxsize=4 * _MOST)
def _read(path: Path, changed: int) -> Summary:
    return read_summary(path)


def _related(relation: Relation, place: Path, one: FoundRun) -> RelatedRun:
    page, summary = one.path / "report.html", one.summary
    address = quote(os.path.relpath(page, place)) if page.is_file() else ""
    result = summary.result
    return RelatedRun(relation, result["label"], summary.seed, summary.held_out, result["held_out"], address)


def _is_same(config: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Return whether two recipes are one experiment; keys that one version alone knows are no difference."""
    own, others = flat(config), flat(other)
    keys = own.keys() & others.keys() - set(_NAMES)
    return all(own[key] == others[key] or is_aside(key) for key in keys)
