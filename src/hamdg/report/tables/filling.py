"""What goes into a cell: runs that differ in nothing but their seed, or the one that a rule chooses among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hamdg.errors import DataError
from hamdg.report.tables.measured import Measured
from hamdg.report.tables.mixing import describe, differences, is_hyper_parameter, signature
from hamdg.report.tables.model import Trial
from hamdg.report.tables.options import Rule
from hamdg.report.tables.selection import Pairs, choose


@dataclass
class Filled:
    """What a cell holds before it is averaged.

    Args:
        numbers: The number of every trial.
        reasons: Why trials have none although they have runs.
        chosen: What was chosen where runs differ in hyper-parameters: `key=value, key=value`.
        keys: What these differ in.
        problems: What there is to say about it.
    """

    numbers: dict[Trial, Measured] = field(default_factory=dict)
    reasons: dict[Trial, str] = field(default_factory=dict)
    chosen: dict[Trial, str] = field(default_factory=dict)
    keys: Sequence[str] = ()
    problems: list[str] = field(default_factory=list)


def fill(numbers: Sequence[Measured], place: str, rule: Rule | None, pairs: Pairs) -> Filled:
    """Return what a cell holds.

    Args:
        numbers: All numbers that fall into it.
        place: How messages call it.
        rule: How to choose among runs of one trial; `None` refuses such.
        pairs: Runs with two held-out domains.

    Raises:
        DataError: The runs differ in more than their seed, or two runs of one trial contradict each other.
    """
    found = differences(numbers)
    fixed = {key: values for key, values in found.items() if not is_hyper_parameter(key)}
    if fixed or (found and rule is None):
        raise DataError(_mixed(place, fixed or found, bool(fixed), rule))
    by_trial: dict[Trial, list[Measured]] = {}
    for one in numbers:
        by_trial.setdefault(one.trial, []).append(one)
    filled = Filled(keys=list(found))
    for trial, own in by_trial.items():
        _same(own, trial, place, list(found))
        if rule is None or not found:
            filled.numbers[trial] = own[0]
        else:
            _choose(filled, trial, own, rule, pairs)
    if rule is not None and found:
        filled.problems += _uneven(by_trial, place, list(found))
    return filled


def _choose(filled: Filled, trial: Trial, own: Sequence[Measured], rule: Rule, pairs: Pairs) -> None:
    choice = choose(own, rule, filled.keys, pairs)
    where = f"`{trial.held_out}`, seed {trial.seed}"
    if choice.dropped:
        lacking = f" ({', '.join(choice.lacking[:3])}{' and more' if len(choice.lacking) > 3 else ''})"
        reason = f"lack a run{lacking if choice.lacking else ''} that `{rule}` needs"
        filled.problems.append(f"{where}: {choice.dropped} of {len(own)} settings {reason}.")
    if choice.number is None:
        filled.reasons[trial] = choice.reason
        return
    filled.numbers[trial] = choice.number
    filled.chosen[trial] = ", ".join(f"{key}={value}" for key, value in signature(choice.number, filled.keys))


def _same(own: Sequence[Measured], trial: Trial, place: str, keys: Sequence[str]) -> None:
    """Refuse two runs of one trial that have the same settings, but not the same number."""
    first: dict[object, Measured] = {}
    for one in own:
        twin = first.setdefault(signature(one, keys), one)
        if twin.value != one.value:
            raise DataError(
                f"{place} has two runs with seed {trial.seed} and held out `{trial.held_out}` that contradict each "
                f"other: {twin.value:.4f} in `{twin.run.path}`, {one.value:.4f} in `{one.run.path}`. Remove the "
                "older one, or name the folders that are meant."
            )


def _mixed(place: str, found: Mapping[str, Sequence[str]], is_fixed: bool, rule: Rule | None) -> str:
    keys = list(found)
    recipe = [key for key in keys if "." in key or key == "algorithm"]
    parts = []
    if recipe:
        parts.append(f"make `{recipe[0]}` a row or column (`--rows algorithm,{recipe[0]}`)")
        parts.append(f"keep one value (`--where {recipe[0]}={found[recipe[0]][0]}`)")
    if not is_fixed and rule is None:
        parts.append("choose among them with `--select validation`")
    if not parts:
        parts.append("name only the folders of runs that belong together")
    *others, last = parts
    fix = f"{', '.join(others)}, or {last}" if others else last
    why = ", which no rule chooses among" if is_fixed and rule is not None else ""
    return f"{place} would average runs that differ in {describe(found)}{why}; {fix}."


def _uneven(by_trial: Mapping[Trial, Sequence[Measured]], place: str, keys: Sequence[str]) -> list[str]:
    """Return a sentence where trials choose among different numbers of settings."""
    counts = {trial: len({signature(one, keys) for one in own}) for trial, own in by_trial.items()}
    few, many = min(counts.values()), max(counts.values())
    if few == many:
        return []
    trial = next(trial for trial, count in counts.items() if count == few)
    return [f"{place}: seed {trial.seed} on `{trial.held_out}` chooses among {few} settings, others among {many}."]
