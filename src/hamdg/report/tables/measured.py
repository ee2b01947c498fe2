"""The single numbers of a table: one a run and shown model, each with what it can be sorted by."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hamdg.errors import ConfigError
from hamdg.report.collection import FoundRun
from hamdg.report.tables.metrics import is_of_training, is_per_class, value_of
from hamdg.report.tables.model import Metric, Trial
from hamdg.report.tables.options import (
    ALL,
    CLASS,
    EVERY_SOURCE,
    MODEL,
    OWN_KEYS,
    RESULT,
    TARGET,
    Absent,
    TableOptions,
)
from hamdg.runs.record import Row
from hamdg.runs.settings import settings, text_of
from hamdg.text import did_you_mean, excerpt, listed

ZERO_SHOT = "zero_shot"
# A key that says nothing about a run.
NOTHING = ""
# What the model that training started from does not depend on.
_OF_TRAINING = ("algorithm", "label", "variant")
# What single numbers of a model say.
_OF_NUMBERS = (TARGET, CLASS)


@dataclass(frozen=True, slots=True)
class Measured:
    """One number.

    Args:
        run: The run.
        rows: The rows of its record that it comes from: one, or all source models.
        model: Key of the model.
        is_result: Whether the model is what the run was made for.
        trial: What it is paired by.
        values: What it says by the keys that were asked for, as text.
        settings: All values of its recipe's sections, by dotted key.
        kind: The same for runs that differ in nothing but seed and held-out domain.
        excluded: The domains that the run neither trained on nor tested.
        value: The number.
    """

    run: FoundRun
    rows: Sequence[Row]
    model: str
    is_result: bool
    trial: Trial
    values: Mapping[str, str]
    settings: Mapping[str, object]
    kind: int
    excluded: frozenset[str]
    value: float

    @property
    def model_label(self) -> str:
        """What people read of the model."""
        return "source models (mean)" if self.model == EVERY_SOURCE else self.rows[0]["label"]

    @property
    def is_start(self) -> bool:
        """Whether it is the model that training started from, which is the same for all methods."""
        return self.model == ZERO_SHOT


def measure(
    runs: Iterable[FoundRun], metric: Metric, keys: Collection[str], options: TableOptions
) -> tuple[list[Measured], list[Absent]]:
    """Return the numbers of all runs that are asked for, and which of these runs have none.

    Args:
        runs: The runs.
        metric: What is shown of them.
        keys: What they are sorted by.
        options: Which models are shown, and what the runs have to say.

    Raises:
        ConfigError: No run has a key, a value or a model that is asked for.
    """
    asked = list(dict.fromkeys([*keys, *options.where]))
    found, absent, texts, models = [], [], _Texts(), set[str]()
    kinds: dict[tuple[object, ...], int] = {}
    for run in runs:
        values = settings(run.summary.config, run.summary.algorithm)
        own = texts.of(run, values, asked)
        texts.note(own, [key for key in options.where if key not in _OF_NUMBERS])
        models |= {row["key"] for row in run.summary.rows}
        kind = kinds.setdefault(_kind(run, values), len(kinds))
        trial = Trial(run.summary.benchmark, run.summary.held_out, run.summary.seed)
        excluded = _excluded(values)
        for model, rows in _models(run, options.models).items():
            if not passes({**own, MODEL: model}, options.where):
                continue
            is_result = model == run.summary.result["key"]
            # What a run without training was made for is told apart as other results are.
            said = {**own, MODEL: model} if is_result else _said(own, model)
            numbers = _numbers(run, rows, model, metric, by_target=TARGET in asked)
            for of_class, _ in numbers:
                texts.note(of_class, [key for key in options.where if key in of_class])
            if not numbers and not (model == ZERO_SHOT and is_of_training(metric)):
                absent.append(Absent(said | _place(run), f"{metric.label} was not measured"))
            found += [
                Measured(run, rows, model, is_result, trial, said | of_class, values, kind, excluded, value)
                for of_class, value in numbers
                if passes(of_class, options.where)
            ]
    texts.check(asked, options.where)
    _check_models(options.models, models)
    return found, absent


def same_text(first: str, second: str) -> bool:
    """Return whether two texts say the same: `1e-3` is `0.001`."""
    if first == second:
        return True
    try:
        return float(first) == float(second)
    except ValueError:
        return False


class _Texts:
    """What runs say by keys, and which keys and values were met, for messages."""

    def __init__(self) -> None:
        self.known: dict[str, None] = dict.fromkeys(OWN_KEYS)
        self.met: dict[str, dict[str, None]] = {}
        self._seen: dict[int, object] = {}

    def of(self, run: FoundRun, values: Mapping[str, object], keys: Sequence[str]) -> dict[str, str]:
        """Return what a run says by some keys."""
        summary = run.summary
        own = {
            "algorithm": summary.algorithm,
            "label": summary.label,
            "variant": summary.variant or summary.label,
            "benchmark": summary.benchmark,
            "held_out": summary.held_out,
            "condition": summary.condition,
            "seed": str(summary.seed),
        }
        if id(values) not in self._seen:
            self._seen[id(values)] = values
            self.known |= dict.fromkeys(values)
        return {
            key: own[key] if key in own else text_of(values[key]) if key in values else NOTHING
            for key in keys
            if key not in (MODEL, *_OF_NUMBERS)
        }

    def note(self, said: Mapping[str, str], where: Iterable[str]) -> None:
        """Note what a run says by the keys that choose among runs."""
        for key in where:
            self.met.setdefault(key, {})[said.get(key, NOTHING)] = None

    def check(self, keys: Iterable[str], where: Mapping[str, Sequence[str]]) -> None:
        """Raise if no run has a key that was asked for, or says what it had to say."""
        for key in keys:
            if key not in self.known and key != CLASS:
                hint = did_you_mean(key, self.known, f"it can be {listed(OWN_KEYS)}, or a key of a recipe.")
                raise ConfigError(f"No run has a key `{excerpt(key)}`; {hint}")
        for key, allowed in where.items():
            met = list(self.met.get(key, {}))
            for one in allowed if key != MODEL else ():
                if not any(same_text(text, one) for text in met):
                    hint = did_you_mean(one, met, f"there are {listed(met, 12)}.")
                    raise ConfigError(f"No run has `{excerpt(one)}` as `{key}`; {hint}")


def _kind(run: FoundRun, values: Mapping[str, object]) -> tuple[object, ...]:
    """Return what runs share that differ in seed and held-out domain alone; equal settings are one object."""
    summary = run.summary
    facts = (summary.data_digest, summary.average, tuple(summary.prompts), tuple(summary.classes))
    return (id(values), summary.algorithm, *facts, is_without_domains(run))


def is_without_domains(run: FoundRun) -> bool:
    """Return whether a run did without a domain, so that its images are others."""
    return len(run.summary.sources) + len(run.summary.targets) < len(run.summary.domains)


def _excluded(values: Mapping[str, object]) -> frozenset[str]:
    excluded = values.get("excluded")
    return frozenset(text_of(name) for name in excluded) if isinstance(excluded, list) else frozenset()


def passes(said: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> bool:
    """Return whether what a run says is what it has to say."""
    return all(any(same_text(said[key], one) for one in allowed) for key, allowed in where.items() if key in said)


def _said(own: Mapping[str, str], model: str) -> dict[str, str]:
    said = {**own, MODEL: model}
    if model == ZERO_SHOT:
        # It is the same for all that start from it, and stands in a table once.
        said |= {key: NOTHING for key in own if key in _OF_TRAINING or _is_of_training(key)}
    return said


def _is_of_training(key: str) -> bool:
    return "." in key and key.partition(".")[0] not in ("data", "model")


def _place(run: FoundRun) -> dict[str, str]:
    return {"held_out": run.summary.held_out, "seed": str(run.summary.seed), "benchmark": run.summary.benchmark}


def _models(run: FoundRun, asked: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows of the models that are asked for, by key."""
    rows = run.summary.rows
    sources = [row for row in rows if row["group"] == "source"]
    if ALL in asked:
        own = {row["key"]: [row] for row in rows if row["group"] != "source" and row["key"] not in run.summary.controls}
        result = own.pop(rows[-1]["key"])
        return {**own, **({EVERY_SOURCE: sources} if sources else {}), rows[-1]["key"]: result}
    found = {}
    for key in asked:
        if key == EVERY_SOURCE and sources:
            found[key] = sources
        for row in rows:
            if row["key"] == (rows[-1]["key"] if key == RESULT else key):
                found[row["key"]] = [row]
    return found


def _check_models(asked: Sequence[str], known: Collection[str]) -> None:
    choices = [RESULT, ALL, EVERY_SOURCE, *sorted(known)]
    for key in asked:
        if key not in choices:
            hint = did_you_mean(key, choices, f"there are {listed(choices, 12)}.")
            raise ConfigError(f"No run has a model `{excerpt(key)}`; {hint}")


def mean_name(run: FoundRun) -> str:
    """Return what tables call the mean over the domains that a run holds out at once."""
    return "harmonic mean" if run.summary.average == "harmonic" else "mean"


def _numbers(
    run: FoundRun, rows: Sequence[Row], model: str, metric: Metric, by_target: bool
) -> list[tuple[dict[str, str], float]]:
    """Return a model's number, or one for each class and target with their names; of several targets, the mean too."""
    summary, found = run.summary, []
    if model == ZERO_SHOT and is_of_training(metric):
        return []
    targets: dict[str, str | None] = {} if is_of_training(metric) else {name: name for name in summary.targets}
    if len(targets) != 1:
        targets[mean_name(run)] = None
    classes: dict[str, int | None] = {name: number for number, name in enumerate(summary.classes)}
    per_class = is_per_class(metric, rows[0]["targets"])
    for of_target, target in targets.items() if by_target else [("", None)]:
        for of_class, number in classes.items() if per_class else [("", None)]:
            said = {TARGET: of_target} if by_target else {}
            value = value_of(summary, rows, metric, number, target)
            if value is not None:
                found.append((said | ({CLASS: of_class} if per_class else {}), value))
    return found
