"""`hamdg merge RUN --search`: the merges that do best on source domains that they did not learn from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands.merging.arguments import Request
from hamdg.commands.merging.values import shown
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.merge.candidates import Candidate
    from hamdg.merge.search import Found, Scored
    from hamdg.stages.search import Searched

# The rows of each rule's best.
_BEST = 5


def search(request: Request) -> int:
    """Search, and print the best by each rule and the command that makes the chosen one.

    Raises:
        ConfigError: There is not one run, or it cannot be searched.
    """
    from hamdg.merge.candidates import split_names
    from hamdg.stages.search import search_merges

    if len(request.files) != 1:
        raise ConfigError(
            f"`hamdg merge RUN --search` takes one run, but got {len(request.files)}; name the directory of one."
        )
    path = Path(request.files[0])
    searched = search_merges(path, request.budget, split_names(request.methods), clean=request.clean)
    _print(path, searched)
    console.result_json(_facts(path, searched))
    return 0


def command_of(path: Path, candidate: Candidate) -> str:
    """Return the command that merges a run so."""
    options = [f"--merge.options.{name}={shown(value)}" for name, value in candidate.options.items()]
    return shlex.join(["hamdg", "merge", str(path), f"--merge.method={candidate.method}", *options])


def _print(path: Path, searched: Searched) -> None:
    found = searched.found
    inside = found.best("in_domain")
    best = [*found.ranked("leave_one_out")[:_BEST], *found.ranked("in_domain")[:_BEST]]
    rows = {one.candidate.key: one for one in (*best, found.chosen, inside, found.average)}
    ordered = [one for one in found.ranked("leave_one_out") if one.candidate.key in rows]
    console.table(
        ("merge", "leave one source out, %", "in-domain, %", "chosen by"),
        [_row(one, searched) for one in ordered],
    )
    count = len(found.scored)
    before = f", {count - searched.new} of them before" if searched.new < count else ""
    lines = [
        "",
        f"tried                  {count} merge{'s' if count > 1 else ''}{before}",
        *(f"cannot merge these     {name}: {reason}" for name, reason in _refused(found).items()),
        f"chosen                 {found.chosen.candidate}{_tie(searched)}",
        f"in-domain would choose {inside.candidate}",
        f"kept in                {searched.file}",
        *(f"note                   {note}" for note in searched.notes),
        "",
        "It is merged so already."
        if found.chosen.candidate == searched.own
        else command_of(path, found.chosen.candidate),
    ]
    console.result("\n".join(lines))


def _refused(found: Found) -> dict[str, str]:
    """Return why methods cannot merge these models with any options that were tried, by their names."""
    scored = {one.candidate.method for one in found.scored}
    # A key begins with the method's name.
    return {name: reason for key, reason in found.refused.items() if (name := key.split()[0]) not in scored}


def _tie(searched: Searched) -> str:
    """Return why the first of the table was not chosen, if so."""
    found = searched.found
    first = found.ranked(found.by)[0]
    if found.chosen is first:
        return ""
    ahead, error = first.score(found.by) - found.average.score(found.by), first.errors[found.by]
    if ahead <= 0:
        return ", which nothing beats"
    return f", since the best is ahead by {100 * ahead:.1f} points, within one standard error ({100 * error:.1f})"


def _row(one: Scored, searched: Searched) -> tuple[str, str, str, str]:
    found = searched.found
    rules = {"leave one out": found.chosen, "in-domain": found.best("in_domain")}
    chosen = ", ".join(name for name, best in rules.items() if best is one)
    outside, inside = f"{100 * one.score('leave_one_out'):.1f}", f"{100 * one.score('in_domain'):.1f}"
    return str(one.candidate), outside, inside, chosen


def _facts(path: Path, searched: Searched) -> Mapping[str, object]:
    found = searched.found
    return {
        "run": path,
        "file": searched.file,
        "leaking": searched.leaking,
        "notes": list(searched.notes),
        "chosen": _candidate(found.chosen),
        "in_domain_would_choose": _candidate(found.best("in_domain")),
        "average": _candidate(found.average),
        "candidates": [_candidate(one) for one in found.ranked("leave_one_out")],
        "refused": found.refused,
        "command": command_of(path, found.chosen.candidate),
    }


def _candidate(one: Scored) -> Mapping[str, object]:
    return {
        "method": one.candidate.method,
        "options": dict(one.candidate.options),
        "leave_one_out": one.score("leave_one_out"),
        "in_domain": one.score("in_domain"),
        "scores": {rule: dict(own) for rule, own in one.scores.items()},
        "errors": dict(one.errors),
    }
