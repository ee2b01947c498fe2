from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hamdg.report.evidence import Evidence
from hamdg.report.page import report_html
from hamdg.report.remarks import (
    RULES,
    Remark,
    at_chance,
    badly_calibrated,
    below_average,
    below_start,
    control_is_better,
    did_not_move,
    held_out_in_another_light,
    held_out_is_source,
    learned_nothing,
    not_finite,
    one_class,
    remarks,
    sources_are_one,
    too_few_images,
)
from hamdg.runs.predictions import Predictions, TargetPredictions
from hamdg.runs.record import Record, merge_facts
from tests.report.made import losses, predictions

NOTHING = Evidence()


def set_rows(record: Record, **values: float) -> None:
    """Give rows another headline."""
    for row in record["rows"]:
        row["held_out"] = values.get(row["key"], row["held_out"])


def two_models(record: Record, both: int, first: int, second: int, neither: int) -> Evidence:
    """Return predictions of the result and of `erm_sma` of which so many are right of both, of one and of neither."""
    images = both + first + second + neither
    own = np.repeat([0, 0, 1, 1], [both, first, second, neither])
    other = np.repeat([0, 1, 0, 1], [both, first, second, neither])
    sure = np.full(images, 0.5, np.float32)
    target = TargetPredictions(
        np.zeros(images, np.int64), {"ham": own, "erm_sma": other}, {"ham": sure, "erm_sma": sure}
    )
    set_rows(record, ham=(both + first) / images, erm_sma=(both + second) / images)
    record["n_held_out"] = images
    return Evidence(predictions=Predictions({"sketch": target}))


def test_a_sound_run_has_nothing_to_be_said_of(ham: Record) -> None:
    set_rows(ham, ham=0.9)
    found = Evidence(losses({"photo": [1.9, 1.0, 0.3]}), predictions(ham, 700))
    assert remarks(ham, found) == []
    assert "Remarks" not in report_html(ham, found)


def test_scores_that_are_no_numbers(ham: Record) -> None:
    found = predictions(ham, 140)
    found.targets["sketch"].confidence["ham"][:3] = np.nan
    said = not_finite(ham, Evidence(predictions=found))
    assert said is not None
    assert said.kind == "problem"
    assert said.text.startswith("The result's scores are NaN or infinite for 3 of 140 images: its weights hold NaN")
    lost = not_finite(ham, Evidence(losses({"photo": [1.0, math.nan], "cartoon": [1.0, 0.5]})))
    assert lost is not None
    assert lost.text.startswith("The loss of photo became NaN or infinite")
    assert not_finite(ham, Evidence(losses({"photo": [1.0]}), predictions(ham))) is None


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (math.log(7), "The training loss ended at 1.95, and guessing among 7 classes costs ln 7 = 1.95: the training"),
        (0.96 * math.log(7), "The training loss ended at 1.87"),
        (0.94 * math.log(7), None),
    ],
)
def test_a_loss_flat_at_guessing(ham: Record, end: float, said: str | None) -> None:
    found = learned_nothing(ham, Evidence(losses({"photo": [1.2] * 90 + [end] * 10, "cartoon": [end] * 10})))
    assert (found is None) is (said is None)
    assert said is None or (found is not None and found.text.startswith(said) and found.kind == "problem")


def test_only_the_models_that_learned_nothing_are_named(ham: Record) -> None:
    found = learned_nothing(ham, Evidence(losses({"photo": [2.0], "cartoon": [0.5]})))
    assert found is not None
    assert found.text.startswith("The training loss of photo ended at 2.00")


def test_a_high_loss_of_a_model_that_has_learned_is_no_guessing(ham: Record) -> None:
    # A fifth of the way from 1/7 to 1 is 0.314.
    assert learned_nothing(ham, Evidence(losses({"photo": [2.5]}, {"photo": 0.32}))) is None
    assert learned_nothing(ham, Evidence(losses({"photo": [2.5]}, {"photo": 0.31}))) is not None


def test_models_that_did_not_move(ham: Record) -> None:
    assert did_not_move(ham, NOTHING) is None
    facts = merge_facts(ham)
    assert facts is not None
    facts["norms"] = dict.fromkeys(facts["norms"], 0.0)
    found = did_not_move(ham, NOTHING)
    assert found is not None
    assert found.text == "No model moved from its start: all updates have length 0, and the result is the start model."


def test_source_models_that_are_one(ham: Record) -> None:
    assert sources_are_one(ham, NOTHING) is None
    facts = merge_facts(ham)
    assert facts is not None
    for cosines in facts["cosines"].values():
        cosines[""] = 0.996
    facts["norms"] = dict.fromkeys(facts["norms"], 2.0)
    found = sources_are_one(ham, NOTHING)
    assert found is not None
    # Two vectors of length 2 with that cosine are 2 * sqrt(2 * 0.004) apart.
    assert found.text.startswith(
        "The source models have become one: the cosine of their updates is at least 0.996, and they are at most 8.9 % "
        "of an update's length apart. There was nothing left to merge"
    )
    facts["cosines"]["cartoon|photo"][""] = 0.994
    assert sources_are_one(ham, NOTHING) is None


def test_a_result_below_the_start(ham: Record) -> None:
    assert below_start(ham, NOTHING) is None
    set_rows(ham, ham=0.5)
    found = below_start(ham, NOTHING)
    assert found is not None
    assert found.kind == "problem"
    assert found.text == (
        "The result is 10.1 points below zero-shot: on sketch, training and merging made the model worse than it was "
        "before."
    )
    set_rows(ham, ham=0.6)
    near = below_start(ham, NOTHING)
    assert near is not None
    assert near.kind == "caution"
    # Unpaired: 2 * hypot(0.0185, 0.0171).
    assert near.text.endswith("(within two standard errors, 5.0 points: it may be chance).")


def test_a_merge_below_the_plain_average(ham: Record) -> None:
    assert below_average(ham, NOTHING) is None
    set_rows(ham, ham=0.6)
    found = below_average(ham, NOTHING)
    assert found is not None
    assert found.text == (
        "A plain average of the same models (uniform mean of the histories) is 10.3 points better than the result: "
        "here the merge method gained nothing."
    )


def test_a_control_that_is_better(ham: Record) -> None:
    clear = control_is_better(ham, two_models(ham, both=60, first=5, second=30, neither=5))
    assert clear is not None
    # The gains are 5 times +1, 30 times -1 and 65 times 0: mean -0.25, variance 0.35 - 0.0625.
    wanted = 200 * math.sqrt((0.35 - 0.0625) / 100)
    assert clear.text == (
        "ERM + SMA (pooled), trained on the same images, is 25.0 points better than the result, which is more than "
        f"chance makes of these images (2 standard errors: {wanted:.1f} points)."
    )
    assert control_is_better(ham, two_models(ham, both=60, first=30, second=5, neither=5)) is None
    assert control_is_better(ham, two_models(ham, both=60, first=15, second=20, neither=5)) is None


def test_too_few_images_for_a_difference(ham: Record) -> None:
    found = too_few_images(ham, two_models(ham, both=60, first=15, second=20, neither=5))
    assert found is not None
    wanted = 200 * math.sqrt((0.35 - 0.0025) / 100)
    assert found.text == (
        "The result is 5.0 points below ERM + SMA (pooled), and 100 images cannot tell this from no difference at all: "
        f"two standard errors, compared image by image, are {wanted:.1f} points. Only more images, domains or seeds "
        "can."
    )
    assert too_few_images(ham, two_models(ham, both=60, first=5, second=30, neither=5)) is None
    unpaired = too_few_images(ham, NOTHING)
    assert unpaired is None or "as if the two were tested on different images" in unpaired.text


def test_a_difference_to_the_start_is_remarked_once(ham: Record) -> None:
    ham["controls"] = []
    set_rows(ham, ham=0.605)
    above = too_few_images(ham, NOTHING)
    assert above is not None
    assert "above zero-shot" in above.text
    assert below_start(ham, NOTHING) is None
    set_rows(ham, ham=0.6)
    assert too_few_images(ham, NOTHING) is None
    assert below_start(ham, NOTHING) is not None


def test_a_held_out_domain_with_the_files_of_a_source(ham: Record) -> None:
    ham["splits"] = {name: {"contents": name} for name in (*ham["sources"], *ham["targets"])}
    assert held_out_is_source(ham, NOTHING) is None
    ham["splits"][ham["targets"][0]]["contents"] = "photo"
    found = held_out_is_source(ham, NOTHING)
    assert found == Remark(
        "problem",
        "The result is tested on images of a source domain: sketch has the files of photo. Its accuracy there says "
        "nothing of unseen domains.",
    )


@pytest.mark.parametrize(
    ("target", "source", "said"),
    [
        ("sketch", "sketch_dark", "sketch has those of sketch_dark"),
        ("photo_fog", "photo", "photo_fog has those of photo"),
        ("photo_fog", "photo_dark", "photo_fog has those of photo_dark"),
        ("sketch", "photo_dark", None),
    ],
)
def test_a_held_out_domain_with_the_drawings_of_a_source(ham: Record, target: str, source: str, said: str) -> None:
    ham["targets"], ham["sources"] = [target], ["art_painting", source]
    found = held_out_in_another_light(ham, NOTHING)
    assert found == (
        None
        if said is None
        else Remark(
            "problem",
            f"The result is tested on drawings that it has learned from: {said}, in another light. Its accuracy there "
            "says nothing of unseen drawings.",
        )
    )
    # Domains of that name in other benchmarks are domains of their own.
    ham["benchmark"] = "pacs"
    assert held_out_in_another_light(ham, NOTHING) is None


def test_targets_that_differ_in_light_alone_are_no_problem(ham: Record) -> None:
    ham["targets"], ham["sources"] = ["art_painting", "art_painting_dark"], ["photo"]
    assert held_out_in_another_light(ham, NOTHING) is None


def test_a_result_that_guesses(ham: Record) -> None:
    assert at_chance(ham, NOTHING) is None
    set_rows(ham, ham=0.15)
    found = at_chance(ham, NOTHING)
    assert found is not None
    assert found.text == (
        "The result is no better than guessing: 15.0 % of 700 images are right, and one of 7 classes at random is "
        "right for 14.3 %."
    )


def test_a_result_that_answers_one_class(ham: Record) -> None:
    found = predictions(ham, 140)
    assert one_class(ham, Evidence(predictions=found)) is None
    found.targets["sketch"].predicted["ham"][:] = 3
    said = one_class(ham, Evidence(predictions=found))
    assert said is not None
    assert said.text.startswith('The result answers "guitar" for 140 of 140 images, 20 of which are: it has collapsed')
    # Where nearly all images are of that class, it is no fault.
    found.targets["sketch"].labels[:130] = 3
    assert one_class(ham, Evidence(predictions=found)) is None


def test_confidences_that_are_no_probabilities(ham: Record) -> None:
    metrics = ham["rows"][-1]["targets"]["sketch"]
    metrics["calibration_error"] = 0.149
    assert badly_calibrated(ham, NOTHING) is None
    metrics["calibration_error"] = 0.213
    found = predictions(ham, 140)
    found.targets["sketch"].confidence["ham"][:] = 1.0
    said = badly_calibrated(ham, Evidence(predictions=found))
    assert said is not None
    assert said.text.startswith(
        "The result's confidences are not probabilities: on average they are 21.3 points away from its accuracy, above "
        "it for the most part."
    )


def test_problems_come_first_and_stand_on_the_page(ham: Record) -> None:
    set_rows(ham, ham=0.13)
    ham["rows"][-1]["targets"]["sketch"]["calibration_error"] = 0.5
    found = replace(NOTHING, steps=losses({"photo": [2.0]}))
    kinds = [one.kind for one in remarks(ham, found)]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"problem", "caution"}
    html = report_html(ham, found)
    assert html.count('<li class="problem"><b>Problem</b>') == kinds.count("problem")
    assert html.count('<li class="caution"><b>Note</b>') == kinds.count("caution")


def test_every_rule_says_what_it_is_about_and_takes_a_record_alone(ham: Record, erm: Record) -> None:
    for rule in RULES:
        assert rule.__doc__
        for record in (ham, erm):
            rule(record, NOTHING)
