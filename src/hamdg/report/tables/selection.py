"""Which of the runs of one trial is shown, where they differ in hyper-parameters: DomainBed's three rules.

For each held-out domain and seed the best setting is chosen on its own, as Gulrajani and Lopez-Paz do
(https://arxiv.org/abs/2007.01434, section 3): a sweep's settings may be others for every seed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hamdg.errors import ConfigError
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.metrics import VALIDATION, value_of
from hamdg.report.tables.mixing import matters, signature
from hamdg.report.tables.model import Metric
from hamdg.report.tables.options import METHOD, Absent, Rule, TableOptions
from hamdg.runs.record import known
from hamdg.runs.settings import text_of
from hamdg.runs.summary import Summary
from hamdg.text import listed

# Benchmark, condition, algorithm and model; settings of a run with its seed and model; a held-out domain and all others
# that were not trained on.
_Kind = tuple[str, str, str, str]
_Twin = tuple[object, ...]
_Place = tuple[str, frozenset[str]]


@dataclass(frozen=True)
class Choice:
    """The number that was chosen for a trial.

    Args:
        number: The number; `None` where no run could be judged.
        reason: Why not.
        dropped: How many settings could not be judged.
        lacking: Of leave-one-out, which pairs were missing.
    """

    number: Measured | None
    reason: str = ""
    dropped: int = 0
    lacking: Sequence[str] = ()


class Pairs:
    """Runs that held out two domains, for leave-one-domain-out cross-validation: accuracy on one without the other.

    Args:
        numbers: All numbers of a table.
    """

    def __init__(self, numbers: Iterable[Measured]) -> None:
        # By the settings: (tested domain, domains that were not trained on besides) -> accuracy on its 80 % part.
        self._found: dict[_Twin, dict[_Place, float]] = {}
        for one in numbers:
            summary, excluded = one.run.summary, one.excluded
            own = self._found.setdefault(_twin(one), {})
            for target in summary.targets:
                value = _in80(one, target)
                if value is not None:
                    own[target, excluded | frozenset(summary.targets) - {target}] = value

    def score(self, one: Measured, targets: Sequence[str] = ()) -> tuple[float | None, list[str]]:
        """Return a run's mean accuracy over its source domains, each held out in turn beside the run's own targets.

        Args:
            one: The run's number.
            targets: The targets of the run that is meant, where they are not the run's own.

        Returns:
            The mean, `None` if a pair is missing, and the missing pairs.
        """
        summary, own = one.run.summary, self._found.get(_twin(one), {})
        unseen = one.excluded | frozenset(targets or summary.targets)
        found = {name: own.get((name, unseen)) for name in summary.domains if name not in unseen}
        lacking = [f"{name} without {summary.held_out}" for name, value in found.items() if value is None]
        values = [value for value in found.values() if value is not None]
        return (None, lacking) if lacking or not values else (math.fsum(values) / len(values), [])


def without_pairs(numbers: Sequence[Measured], options: TableOptions) -> list[Measured]:
    """Return the numbers but those of runs that are there for leave-one-out alone.

    Such a run lacks a domain that others of its kind train on; it stays where the table tells runs apart by that. Where
    runs are chosen or scored, or numbers are means over held-out domains, those with several held-out domains go if
    there are others with one.

    Args:
        numbers: All numbers of a table.
        options: What is asked for.
    """
    asked = (*options.rows, *(options.columns or ()), *options.where)
    # The methods of a sweep are told apart by all that they differ in, this too.
    is_told_apart = "excluded" in asked or METHOD in asked
    takes_single = options.select is not None or "held_out" not in (*options.rows, *(options.columns or ()))
    sets: dict[_Kind, set[frozenset[str]]] = {}
    fewest: dict[_Kind, int] = {}
    for one in numbers:
        kind, count = _kind(one), len(one.run.summary.targets)
        sets.setdefault(kind, set()).add(one.excluded)
        fewest[kind] = min(count, fewest.get(kind, count))
    kept = []
    for one in numbers:
        kind = _kind(one)
        is_pair = not is_told_apart and any(other < one.excluded for other in sets[kind])
        has_more = takes_single and len(one.run.summary.targets) > fewest[kind] == 1
        if not (is_pair or has_more):
            kept.append(one)
    return kept


def scored(numbers: Sequence[Measured], options: TableOptions) -> tuple[list[Measured], list[Absent]]:
    """Return the runs' scores by leave-one-domain-out cross-validation in place of their numbers, and what lacks one.

    A setting without a run of its own on a domain that others hold out is scored by its runs with two of them.

    Args:
        numbers: All numbers of a table, those of runs with two held-out domains included.
        options: What is asked for.

    Raises:
        ConfigError: Runs are to be chosen by the very score.
    """
    if options.select == "leave_one_out":
        raise ConfigError(
            "`--metric leave_one_out` shows what `--select leave_one_out` chooses by; give one of them, with what runs "
            "differ in as rows."
        )
    pairs, found, absent = Pairs(numbers), list[Measured](), list[Absent]()
    with_run: set[_Twin] = set()
    for one in without_pairs(numbers, replace(options, select="leave_one_out")):
        score, lacking = pairs.score(one)
        is_single = len(one.run.summary.targets) == 1
        if is_single:
            with_run.add((_twin(one), one.trial.held_out))
        if score is not None:
            found.append(replace(one, value=score))
        elif is_single:
            place = {"held_out": one.trial.held_out, "seed": str(one.trial.seed), "benchmark": one.trial.benchmark}
            absent.append(Absent({**one.values, **place}, f"lacks {listed(lacking, 4)}"))
    return [*found, *_of_pairs_alone(numbers, pairs, with_run)], absent


def _of_pairs_alone(numbers: Iterable[Measured], pairs: Pairs, with_run: Collection[_Twin]) -> Iterator[Measured]:
    """Yield the scores for held-out domains that settings have no run of their own for, each as one of their pairs."""
    seen = set(with_run)
    asked = {target for _, target in with_run}
    for one in numbers:
        targets = one.run.summary.targets
        for target in targets if len(targets) == 2 else ():
            place = (_twin(one), target)
            if place in seen or (asked and target not in asked):
                continue
            score, _ = pairs.score(one, [target])
            if score is not None:
                seen.add(place)
                values = {key: target if key == "held_out" else value for key, value in one.values.items()}
                yield replace(one, trial=one.trial._replace(held_out=target), values=values, value=score)


def choose(candidates: Sequence[Measured], rule: Rule, keys: Collection[str], pairs: Pairs) -> Choice:
    """Return the number of the best run of one trial; of equally good ones that of the first settings.

    Args:
        candidates: Numbers of runs of one held-out domain and seed.
        rule: How they are judged.
        keys: What they differ in.
        pairs: Runs with two held-out domains.
    """
    best: tuple[float, Measured] | None = None
    lacking: dict[str, None] = {}
    judged = 0
    for one in sorted(candidates, key=lambda one: signature(one, keys)):
        score, missing = pairs.score(one) if rule == "leave_one_out" else (_score(one, rule), [])
        lacking |= dict.fromkeys(missing)
        if score is None:
            continue
        judged += 1
        if best is None or score > best[0]:
            best = score, one
    dropped = len(candidates) - judged
    if best is None:
        return Choice(None, _UNJUDGED[rule], dropped, list(lacking))
    return Choice(best[1], "", dropped, list(lacking))


_UNJUDGED: Mapping[Rule, str] = {
    "validation": "no run was validated on its sources",
    "oracle": "no run was tested on the 20 % part",
    "leave_one_out": "runs with a second domain held out are missing",
}


def _score(one: Measured, rule: Rule) -> float | None:
    summary = one.run.summary
    name = VALIDATION if rule == "validation" else f"{summary.metric}_in20"
    return value_of(summary, one.rows, Metric(name, ""))


def _in80(one: Measured, target: str) -> float | None:
    values = [row["targets"].get(target, {}).get(f"{one.run.summary.metric}_in80") for row in one.rows]
    numbers = [value for value in values if isinstance(value, int | float) and known(value)]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _kind(one: Measured) -> _Kind:
    summary = one.run.summary
    return summary.benchmark, summary.condition, summary.algorithm, one.model


def _twin(one: Measured) -> _Twin:
    """Return all that runs with a second domain held out have in common with the run that they stand for."""
    summary: Summary = one.run.summary
    same = tuple((key, text_of(value)) for key, value in sorted(one.settings.items()) if matters(key, one))
    return summary.benchmark, summary.algorithm, summary.condition, summary.seed, one.model, same
