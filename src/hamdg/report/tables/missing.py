"""Why a cell has no number, or fewer seeds than others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from hamdg.report.collection import Collection as Found
from hamdg.report.tables.options import Absent

NO_RUN = "no run"


def absent_of(found: Found) -> list[Absent]:
    """Return the runs of a collection that have no readable record, with what their paths say of them."""
    gone = [(path, "not finished") for path in found.unfinished]
    gone += [(problem.path, "damaged record") for problem in found.problems if problem.kind == "unreadable"]
    return [Absent(_said_by(path), f"{reason}: `{path}`") for path, reason in gone]


def why_missing(said: Mapping[str, str], absent: Iterable[Absent]) -> str:
    """Return why there is no number: the reasons of the runs that fit, or `NO_RUN`.

    Args:
        said: What the number would say, by key.
        absent: Runs that are not there.
    """
    reasons: dict[str, list[str]] = {}
    for one in absent:
        if fits(one, said):
            reasons.setdefault(one.reason, []).append(one.values.get("seed", ""))
    return "; ".join(_with_seeds(reason, seeds) for reason, seeds in reasons.items()) or NO_RUN


def why_incomplete(
    said: Mapping[str, str], lacking: Sequence[int], reasons: Mapping[int, str], absent: Sequence[Absent]
) -> str:
    """Return which seeds a number lacks that others have, and why; empty for none.

    Args:
        said: What the number says, by key.
        lacking: The seeds.
        reasons: What is known of some of them.
        absent: Runs that are not there.
    """
    by_reason: dict[str, list[str]] = {}
    for seed in lacking:
        own = [one for one in absent if "seed" in one.values and fits(one, {**said, "seed": str(seed)})]
        reason = reasons.get(seed) or (own[0].reason if own else NO_RUN)
        by_reason.setdefault(reason, []).append(str(seed))
    return "; ".join(_with_seeds(reason, seeds) for reason, seeds in by_reason.items())


def fits(one: Absent, said: Mapping[str, str]) -> bool:
    """Return whether an absent run could be the one that would say this."""
    return all(one.values.get(key, value) == value for key, value in said.items())


def _with_seeds(reason: str, seeds: Collection[str]) -> str:
    named = sorted({seed for seed in seeds if seed}, key=lambda seed: (len(seed), seed))
    if not named:
        return reason
    return f"{reason} (seed{'s' if len(named) > 1 else ''} {', '.join(named)})"


def _said_by(path: Path) -> dict[str, str]:
    """Return what the path of a run says of it: `<benchmark>/<held-out domain>/<algorithm>/seed<seed>-<hash>`."""
    *_, benchmark, held_out, algorithm, name = ("", "", "", *path.absolute().parts)
    seed, dash, _ = name.removeprefix("seed").partition("-")
    if not (name.startswith("seed") and dash and seed.isdigit()):
        return {}
    return {"benchmark": benchmark, "held_out": held_out, "algorithm": algorithm, "seed": seed}
