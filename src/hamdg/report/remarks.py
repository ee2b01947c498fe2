"""Remarks on degenerate runs: what their numbers mean, one rule each, with the reason for its threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hamdg.report.evidence import Evidence
from hamdg.report.gaps import ERRORS, Gap, gap_to
from hamdg.report.table import percent, start_label, tested_images
from hamdg.runs.drawings import drawings_of
from hamdg.runs.merge_figures import BECOME_ONE, ONE, MergeFacts, whole_cosines
from hamdg.runs.predictions import TargetPredictions
from hamdg.runs.record import Record, Row, known, merge_facts
from hamdg.text import listed_in_words

# A loss of 0.95 ln K: the right class of K gets, as a geometric mean, a probability of K^-0.95, where guessing gives
# it K^-1: of 7 classes 0.157 in place of 0.143.
CHANCE_LOSS = 0.95
# A loss may be high for another reason: a penalty, or wrong labels. Then the accuracy on the model's own hold-out set
# is more than a fifth of the way from guessing to perfect.
LEARNED = 0.2
# One class in at least 95 % of all predictions is what a constant model with a few slips does. Where that class really
# is that frequent, it is no fault: its share must also be 1.5 times the true one.
CONSTANT, TOO_OFTEN = 0.95, 1.5
# Image classifiers as they are trained have calibration errors of typically 4 to 10 %
# (https://arxiv.org/abs/1706.04599, section 5).
MISCALIBRATED = 0.15


@dataclass(frozen=True)
class Remark:
    """A sentence that the reader of a page must know: a `problem` of the run, or a `caution` in reading it."""

    kind: Literal["problem", "caution"]
    text: str


Rule = Callable[[Record, Evidence], Remark | None]


def remarks(record: Record, found: Evidence) -> list[Remark]:
    """Return the remarks on a run, problems first.

    Args:
        record: The run.
        found: What else it left.
    """
    said = [remark for rule in RULES if (remark := rule(record, found)) is not None]
    return sorted(said, key=lambda one: one.kind != "problem")


def not_finite(record: Record, found: Evidence) -> Remark | None:
    """Non-finite scores or losses; a single one counts, since it spreads to everything computed from it."""
    count = images = 0
    for target in _targets(found):
        confidence = target.confidence.get(record["rows"][-1]["key"], np.zeros(0, np.float32))
        count, images = count + int((~np.isfinite(confidence)).sum()), images + len(confidence)
    losses = [name for name, values in _losses(found) if not all(map(math.isfinite, values))]
    if count:
        return Remark(
            "problem",
            f"The result's scores are NaN or infinite for {count:,} of {images:,} images: its weights hold NaN or "
            "infinity, and its accuracy means nothing. Look at the loss below, and lower train.lr.",
        )
    if losses:
        return Remark(
            "problem",
            f"The loss of {listed_in_words(losses)} became NaN or infinite during training: what followed means "
            "nothing. Lower train.lr.",
        )
    return None


def learned_nothing(record: Record, found: Evidence) -> Remark | None:
    """A training loss that ends at the level of guessing."""
    guessing = math.log(len(record["classes"]))
    ends = {name: end for name, values in _losses(found) if math.isfinite(end := _end(values))}
    knows = _last(found, f"validation/{record['metric']}")
    least = LEARNED + (1 - LEARNED) / len(record["classes"])
    flat = [name for name, end in ends.items() if end >= CHANCE_LOSS * guessing and knows.get(name, 0.0) < least]
    if not flat:
        return None
    whose = "" if len(flat) == len(ends) else f" of {listed_in_words(flat)}"
    worst, classes = max(ends[name] for name in flat), len(record["classes"])
    return Remark(
        "problem",
        f"The training loss{whose} ended at {worst:.2f}, and guessing among {classes} classes costs ln {classes} = "
        f"{guessing:.2f}: the training taught nothing.",
    )


def did_not_move(record: Record, found: Evidence) -> Remark | None:
    """Models that did not move: updates of length 0, which no merge changes."""
    facts = merge_facts(record)
    if facts is None or not facts["norms"] or any(facts["norms"].values()):
        return None
    return Remark(
        "problem", "No model moved from its start: all updates have length 0, and the result is the start model."
    )


def sources_are_one(record: Record, found: Evidence) -> Remark | None:
    """Source models whose updates are the same: the merge of equal models is any one of them."""
    facts = merge_facts(record)
    whole = {} if facts is None else whole_cosines(facts)
    if facts is None or not whole or min(whole.values()) < ONE:
        return None
    return Remark(
        "caution",
        f"{BECOME_ONE}: the cosine of their updates is {_lowest(whole)}{_apart(facts, whole)}. "
        "There was nothing left to merge, and this run says nothing about the merge method: any average "
        "of them is nearly the same model.",
    )


def below_start(record: Record, found: Evidence) -> Remark | None:
    """A result that is worse than the model that training started from."""
    gap = gap_to(record, found.predictions, _start(record))
    if gap is None or gap.value >= 0:
        return None
    return Remark(
        "problem" if gap.is_clear else "caution",
        f"The result is {_points(gap.value)} below {start_label(record)}: on {_targets_in_words(record)}, training and "
        f"merging made the model worse than it was before{_doubt(gap)}.",
    )


def below_average(record: Record, found: Evidence) -> Remark | None:
    """A merge that is worse than the plain average of the same models."""
    averages = [row for row in record["rows"][:-1] if row["key"].startswith("uniform") and known(row["held_out"])]
    best = max(averages, key=lambda row: row["held_out"], default=None)
    gap = gap_to(record, found.predictions, best)
    if best is None or gap is None or gap.value >= 0:
        return None
    return Remark(
        "problem" if gap.is_clear else "caution",
        f"A plain average of the same models ({best['label']}) is {_points(gap.value)} better than the result: here "
        f"the merge method gained nothing{_doubt(gap)}.",
    )


def control_is_better(record: Record, found: Evidence) -> Remark | None:
    """A control that beats the result by more than chance."""
    rival = _control(record)
    gap = gap_to(record, found.predictions, rival)
    if rival is None or gap is None or gap.value >= 0 or not gap.is_clear:
        return None
    return Remark(
        "problem",
        f"{rival['label']}, trained on the same images, is {_points(gap.value)} better than the result, which is more "
        f"than chance makes of these images ({ERRORS:.0f} standard errors: {_points(ERRORS * gap.error)}).",
    )


def too_few_images(record: Record, found: Evidence) -> Remark | None:
    """A difference to the control that may be chance."""
    control = _control(record)
    rival = control or _start(record)
    gap = gap_to(record, found.predictions, rival)
    if rival is None or gap is None or gap.is_clear:
        return None
    if control is None and gap.value < 0:
        return None  # `below_start` has said it
    direction = "above" if gap.value > 0 else "below"
    place = f"{_points(gap.value)} {direction}" if gap.value else "as good as"
    how = "compared image by image" if gap.paired else "as if the two were tested on different images"
    return Remark(
        "caution",
        f"The result is {place} {rival['label']}, and {tested_images(record)} cannot tell this from no "
        f"difference at all: two standard errors, {how}, are {_points(ERRORS * gap.error)}. Only more images, domains "
        "or seeds can.",
    )


def held_out_is_source(record: Record, found: Evidence) -> Remark | None:
    """A held-out domain that has the files of a source, under another name."""
    contents = {name: own.get("contents") for name, own in record.get("splits", {}).items()}
    copies = [
        f"{target} has the files of {source}"
        for target in record["targets"]
        for source in record["sources"]
        if contents.get(target) is not None and contents[target] == contents.get(source)
    ]
    if not copies:
        return None
    return Remark(
        "problem",
        f"The result is tested on images of a source domain: {listed_in_words(copies)}. Its accuracy there says "
        "nothing of unseen domains.",
    )


def held_out_in_another_light(record: Record, found: Evidence) -> Remark | None:
    """A held-out domain that shows the drawings of a source: one is a copy of the other, or both of a third."""
    bench = record["benchmark"]
    copies = [
        f"{target} has those of {source}"
        for target in record["targets"]
        for source in record["sources"]
        if drawings_of(bench, target) == drawings_of(bench, source)
    ]
    if not copies:
        return None
    return Remark(
        "problem",
        f"The result is tested on drawings that it has learned from: {listed_in_words(copies)}, in another light. Its "
        "accuracy there says nothing of unseen drawings.",
    )


def at_chance(record: Record, found: Evidence) -> Remark | None:
    """A result that is no better than guessing: within two standard errors of 1 / K, or below."""
    row, guessing = record["rows"][-1], 1 / len(record["classes"])
    error = row["standard_error"] if known(row["standard_error"]) else 0.0
    if record["metric"] != "accuracy" or not known(row["held_out"]) or row["held_out"] > guessing + ERRORS * error:
        return None
    return Remark(
        "problem",
        f"The result is no better than guessing: {percent(row['held_out'])} % of {tested_images(record)} are "
        f"right, and one of {len(record['classes'])} classes at random is right for {percent(guessing)} %.",
    )


def one_class(record: Record, found: Evidence) -> Remark | None:
    """A result that predicts one class for nearly all images."""
    key, classes = record["rows"][-1]["key"], record["classes"]
    for target in _targets(found):
        if key not in target.predicted:
            continue
        answers, truth = (np.bincount(one, minlength=len(classes)) for one in (target.predicted[key], target.labels))
        most, images = int(answers.argmax()), len(target.labels)
        if images and answers[most] >= max(CONSTANT * images, TOO_OFTEN * truth[most]):
            share = f"{answers[most]:,} of {images:,} images, {truth[most]:,} of which are"
            return Remark(
                "problem",
                f'The result answers "{classes[most]}" for {share}: it has collapsed to one class, and its accuracy is '
                "that class's share.",
            )
    return None


def badly_calibrated(record: Record, found: Evidence) -> Remark | None:
    """A result whose confidences cannot be taken for probabilities."""
    row = record["rows"][-1]
    errors = {name: metrics.get("calibration_error") for name, metrics in row["targets"].items()}
    bad = {name: error for name, error in errors.items() if isinstance(error, float) and error >= MISCALIBRATED}
    if not bad:
        return None
    name = max(bad, key=lambda one: bad[one])
    where = f" on {name}" if len(errors) > 1 else ""
    return Remark(
        "caution",
        f"The result's confidences are not probabilities{where}: on average they are {_points(bad[name])} away from "
        f"its accuracy{_lean(found, name, row['key'])}. Calibrate them before relying on them.",
    )


RULES: Sequence[Rule] = (
    held_out_is_source,
    held_out_in_another_light,
    not_finite,
    learned_nothing,
    did_not_move,
    one_class,
    at_chance,
    below_start,
    control_is_better,
    sources_are_one,
    below_average,
    too_few_images,
    badly_calibrated,
)


def _control(record: Record) -> Row | None:
    """Return the row of the most important control."""
    return next((row for row in record["rows"] if row["key"] in record["controls"][-1:]), None)


def _start(record: Record) -> Row | None:
    """Return the row of the model that training started from."""
    return next((row for row in record["rows"] if row["key"] == "zero_shot"), None)


def _targets(found: Evidence) -> Sequence[TargetPredictions]:
    return [] if found.predictions is None else list(found.predictions.targets.values())


def _losses(found: Evidence) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield every model's training loss over the steps."""
    for step in found.steps.values():
        for name, series in step.metrics.by_source("loss").items():
            yield name or "the model", series.values


def _last(found: Evidence, metric: str) -> dict[str, float]:
    """Return the last value of a metric, by model."""
    steps = found.steps.values()
    return {
        name or "the model": one.values[-1] for step in steps for name, one in step.metrics.by_source(metric).items()
    }


def _end(values: Sequence[float]) -> float:
    """Return the mean of the last tenth, since single steps jump."""
    last = values[-max(1, len(values) // 10) :]
    return sum(last) / len(last)


def _lowest(cosines: Mapping[str, float]) -> str:
    lowest = f"{min(cosines.values()):.3f}"
    return lowest if lowest == "1.000" else f"at least {lowest}"


def _apart(facts: MergeFacts, cosines: Mapping[str, float]) -> str:
    """Return in words how far apart the models are, in lengths of the longest update."""
    longest = max(facts["norms"].values(), default=0.0)
    if not longest:
        return ""
    square = 0.0
    for pair, cosine in cosines.items():
        one, other = (facts["norms"].get(name, 0.0) for name in pair.partition("|")[::2])
        square = max(square, one**2 + other**2 - 2 * one * other * cosine)
    return f", and they are at most {100 * math.sqrt(max(square, 0.0)) / longest:.1f} % of an update's length apart"


def _lean(found: Evidence, target: str, key: str) -> str:
    """Return in words whether the confidences are too high or too low."""
    predictions = {} if found.predictions is None else found.predictions.targets
    if target not in predictions or key not in predictions[target].confidence:
        return ""
    one = predictions[target]
    lean = float(one.confidence[key].mean(dtype=float) - (one.predicted[key] == one.labels).mean())
    return f", {'above' if lean > 0 else 'below'} it for the most part" if math.isfinite(lean) else ""


def _doubt(gap: Gap) -> str:
    return "" if gap.is_clear else f" (within two standard errors, {_points(ERRORS * gap.error)}: it may be chance)"


def _points(value: float) -> str:
    return f"{100 * abs(value):.1f} points"


def _targets_in_words(record: Record) -> str:
    return listed_in_words(record["targets"])
