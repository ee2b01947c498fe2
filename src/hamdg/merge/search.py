"""A search over merge methods and their options: a grid, then refinement around the best, all scored by one rule.

`leave_one_out` merges all sources but one and scores the result on that one, for each source in turn: it asks how
merges do on a domain that none of the merged models learned from. `in_domain` merges all and scores on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Literal, get_args

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.candidates import AVERAGE, Candidate, grid, neighbors
from hamdg.merge.method_info import MethodInfo

Rule = Literal["leave_one_out", "in_domain"]
RULES: tuple[Rule, ...] = get_args(Rule)
# How right a merge is on each example of a source's hold-out set, by source.
Outcomes = Mapping[str, Sequence[float]]
# Measures a candidate by every rule that is asked for; raises where it cannot merge these models.
Measure = Callable[[Candidate], Mapping[Rule, Outcomes]]


@dataclass(frozen=True)
class Scored:
    """A candidate with its scores.

    Args:
        candidate: The candidate.
        scores: By rule and source.
        errors: By rule, the standard error of the difference to the plain average, paired by examples.
    """

    candidate: Candidate
    scores: Mapping[Rule, Mapping[str, float]]
    errors: Mapping[Rule, float]

    def score(self, rule: Rule) -> float:
        """Return the mean over sources."""
        return fmean(self.scores[rule].values())


class Scorer:
    """Scores candidates and compares each with the plain average; what was scored before is not scored again.

    Args:
        measure: Measures a candidate.
        known: What was scored before, by the candidates' keys; new ones are added.
        tell: Called with each newly scored one.
    """

    def __init__(
        self, measure: Measure, known: dict[str, Scored] | None = None, tell: Callable[[Scored], None] | None = None
    ) -> None:
        self.known = {} if known is None else known
        self._measure = measure
        self._tell = tell
        self._average: Mapping[Rule, Outcomes] | None = None

    def __call__(self, candidate: Candidate) -> Scored:
        """Return the candidate with its scores.

        Raises:
            ConfigError: The method cannot merge these models with these options.
            WeightsError: What it gives is not finite, or its score is not.
        """
        if candidate.key not in self.known:
            if self._average is None:
                self._average = self._measure(Candidate(AVERAGE))
            found = self._average if candidate == Candidate(AVERAGE) else self._measure(candidate)
            self.known[candidate.key] = _scored(candidate, found, self._average)
            if self._tell is not None:
                self._tell(self.known[candidate.key])
        return self.known[candidate.key]


@dataclass(frozen=True)
class Found:
    """What a search tried.

    Args:
        by: The rule that it went by.
        scored: All candidates that were scored, in their order; the plain average first.
        refused: Why others were not, by their keys.
    """

    by: Rule
    scored: Sequence[Scored]
    refused: Mapping[str, str]

    @property
    def average(self) -> Scored:
        """The plain average."""
        return self.scored[0]

    @property
    def chosen(self) -> Scored:
        """What the search chose."""
        return self.best(self.by)

    def ranked(self, rule: Rule) -> list[Scored]:
        """Return all candidates, the best first; of equally good ones the simpler."""
        return sorted(self.scored, key=lambda one: (-one.score(rule), one.candidate.simplicity))

    def best(self, rule: Rule) -> Scored:
        """Return what a rule chooses: the best, unless the plain average is within one standard error of it."""
        first = self.ranked(rule)[0]
        ahead = first.score(rule) - self.average.score(rule)
        return first if ahead > first.errors[rule] else self.average


def find(score: Callable[[Candidate], Scored], infos: Sequence[MethodInfo], budget: int, by: Rule) -> Found:
    """Score at most `budget` candidates: two thirds of them points of a grid, the others near the best so far.

    Args:
        score: Scores a candidate, or raises.
        infos: The methods, from the simplest; the plain average is one of them.
        budget: How many candidates are scored.
        by: The rule whose best is refined.

    Raises:
        ConfigError: The models cannot be averaged.
        WeightsError: The models do not fit together.
    """
    # Models that cannot be averaged cannot be merged at all: this one raises.
    average = score(Candidate(AVERAGE))
    scored: dict[str, Scored] = {average.candidate.key: average}
    refused: dict[str, str] = {}

    def attempt(candidates: Iterator[Candidate], limit: int) -> None:
        """Score candidates until so many are scored."""
        while len(scored) < limit and (candidate := next(candidates, None)) is not None:
            if candidate.key not in scored and candidate.key not in refused:
                try:
                    scored[candidate.key] = score(candidate)
                except (ConfigError, WeightsError) as error:
                    refused[candidate.key] = str(error)

    points = grid(infos)
    attempt(points, budget - budget // 3)
    while len(scored) < budget:
        near = _near_best(by, scored, refused)
        # One at a time: what comes next depends on what is best now.
        if near is None:
            attempt(points, budget)
            if (near := _near_best(by, scored, refused)) is None:
                break
        attempt(iter([near]), budget)
    return Found(by, list(scored.values()), refused)


def _near_best(by: Rule, scored: Mapping[str, Scored], refused: Mapping[str, str]) -> Candidate | None:
    """Return a candidate that was not tried and lies near the best of those that have such."""
    tried = [one.candidate for one in scored.values()]
    for one in Found(by, list(scored.values()), refused).ranked(by):
        for candidate in neighbors(one.candidate, tried):
            if candidate.key not in scored and candidate.key not in refused:
                return candidate
    return None


def _scored(candidate: Candidate, found: Mapping[Rule, Outcomes], average: Mapping[Rule, Outcomes]) -> Scored:
    scores = {rule: {source: fmean(values) for source, values in own.items()} for rule, own in found.items()}
    for source, score in ((source, score) for own in scores.values() for source, score in own.items()):
        if not math.isfinite(score):
            raise WeightsError(
                f"`{candidate}` scores {score} on the hold-out set of `{source}`; scores must be finite."
            )
    return Scored(candidate, scores, {rule: paired_error(found[rule], average[rule]) for rule in found})


def paired_error(first: Outcomes, second: Outcomes) -> float:
    """Return the standard error of the difference between two means over sources, paired by examples.

    A source of which there is a single number, such as a mean IoU, contributes nothing.

    Args:
        first: The outcomes of one merge.
        second: Those of the other, on the same examples.
    """
    total = 0.0
    for source, values in first.items():
        differences = [a - b for a, b in zip(values, second[source], strict=True)]
        if len(differences) > 1:
            total += variance(differences) / len(differences)
    return math.sqrt(total) / len(first)
