"""`hamdg merge RUN ... --regret`: how far the choices of searches stay behind the best merge on held-out domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands.merging.arguments import Request
from hamdg.errors import ConfigError
from hamdg.report.estimates import Estimate, estimate
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import training_identity

if TYPE_CHECKING:
    from hamdg.stages.regret import Regrets

_ORACLE = "the best of all (oracle)"


def regret(request: Request) -> int:
    """Study runs, and print what each rule's choice scores on held-out domains, and how far that is from the best.

    Raises:
        ConfigError: No run has source models whose merges could be searched.
    """
    from hamdg.commands.given import given
    from hamdg.merge.candidates import split_names
    from hamdg.stages.regret import study

    if not request.files:
        raise ConfigError("`hamdg merge --regret` studies finished runs; name runs, folders of them, or a sweep.")
    methods = split_names(request.methods)
    found, reasons = [], []
    for path in _without_twins([run.path for run in given(request.files).runs]):
        console.heading(f"search {path}, and test what was tried on the held-out domain")
        try:
            found.append(study(path, request.budget, methods, clean=request.clean))
        except ConfigError as error:
            reasons.append(str(error))
            console.note(f"left out: {error}")
    if not found:
        raise ConfigError(reasons[0])
    _print(found)
    return 0


def _without_twins(paths: Sequence[Path]) -> list[Path]:
    """Return the runs, one of those that differ in the merge alone: their source models are the same."""
    return list({training_identity(RunDirectory.find(path).recipe()): path for path in reversed(paths)}.values())[::-1]


def _print(found: Sequence[Regrets]) -> None:
    rules: Mapping[str, Sequence[float]] = {rule: [one.values[rule] for one in found] for rule in found[0].values}
    oracles = [one.oracle for one in found]
    regrets = {
        rule: [oracle - value for oracle, value in zip(oracles, values, strict=True)] for rule, values in rules.items()
    }
    rows = [(rule, _percent(estimate(rules[rule])), _percent(estimate(own))) for rule, own in regrets.items()]
    console.table(
        ("chosen by", "held-out accuracy, %", "regret, points"), [*rows, (_ORACLE, _percent(estimate(oracles)), "0.0")]
    )
    runs = "1 run" if len(found) == 1 else f"{len(found)} runs"
    notes = dict.fromkeys(note for one in found for note in one.searched.notes)
    lines = [
        "",
        f"Over {runs}, mean ± standard error. Regret is what the best of the tried merges scores more on the held-out "
        "domain, which no rule has seen; a random candidate is the mean of all.",
        *notes,
    ]
    console.result("\n".join(lines))
    console.result_json(
        {
            "rules": {rule: {"held_out": _facts(rules[rule]), "regret": _facts(own)} for rule, own in regrets.items()},
            "oracle": _facts(oracles),
            "runs": [_run(one) for one in found],
        }
    )


def _run(one: Regrets) -> Mapping[str, object]:
    return {
        "run": one.path,
        "values": dict(one.values),
        "oracle": one.oracle,
        "best": str(one.best),
        "chosen": str(one.chosen),
        "in_domain_would_choose": str(one.in_domain),
        "leaking": one.searched.leaking,
    }


def _facts(values: Sequence[float]) -> Mapping[str, object]:
    own = estimate(values)
    return {"mean": own.mean, "standard_error": own.standard_error, "n": own.n}


def _percent(own: Estimate) -> str:
    error = "" if own.standard_error is None else f" ± {100 * own.standard_error:.1f}"
    return f"{100 * own.mean:.1f}{error}"
