from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hamdg.cohort.swad import ValleyFacts, describe_valley, too_short, valley_facts
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.merge.swad_average import SwadAverage


def facts(found: bool, ended: bool) -> ValleyFacts:
    return ValleyFacts(found=found, ended=ended, first_step=4, last_step=9, states=3, threshold=1.5 if found else None)


@pytest.mark.parametrize(
    ("found", "ended", "said"),
    [
        (True, True, "SWAD is the mean of 3 states, of steps 4 to 9; its valley ended"),
        (True, False, "SWAD is the mean of 3 states, of steps 4 to 9; its valley had not ended with the training"),
        (
            False,
            False,
            "no valley of the validation loss began, so SWAD is the mean of 3 states, of steps 4 to 9: all there are",
        ),
    ],
)
def test_valleys_in_words(found: bool, ended: bool, said: str) -> None:
    assert describe_valley(facts(found, ended)) == said


def test_a_training_too_short_for_the_window_keeps_the_last_model_and_says_so() -> None:
    config = HistoryConfig("swad")
    found = valley_facts(config, [5, 10, 15, 20], {10: 2.0, 20: 1.0})
    assert found == ValleyFacts(found=False, ended=False, first_step=20, last_step=20, states=1, threshold=None)
    assert describe_valley(found) == "too few validations to find a valley, so SWAD is the last model, of step 20"
    # Of 200 steps, the last is always validated.
    for every, count in ((100, 2), (150, 2), (1000, 1)):
        assert too_short(config, TrainConfig(check_every=every)) == (
            "SWAD needs 3 validations (`history.n_s`) to find a valley, but `train.steps` (200) with "
            f"`train.check_every` ({every}) give {count}: the last model is kept. Lower `train.check_every` or train "
            "longer."
        )
    assert not too_short(config, TrainConfig(check_every=99))
    assert not too_short(HistoryConfig("swad", n_s=2), TrainConfig(check_every=100))
    assert not too_short(HistoryConfig("mean"), TrainConfig(check_every=1000))


@settings(deadline=None, max_examples=150)
@given(
    losses=st.lists(st.integers(1, 40).map(lambda eighths: eighths / 8), min_size=1, max_size=20),
    every=st.integers(1, 4),
    check_every=st.integers(1, 4),
    n_s=st.integers(1, 4),
    n_e=st.integers(1, 3),
    r=st.sampled_from([1.0, 1.25]),
)
def test_the_facts_are_those_of_the_average(
    losses: list[float], every: int, check_every: int, n_s: int, n_e: int, r: float
) -> None:
    assume(len(losses) >= n_s)
    last = check_every * len(losses)
    states = {*range(every, last + 1, every), *range(check_every, last + 1, check_every)}
    average, checks = SwadAverage(n_s, n_e, r), {}
    for step in range(1, last + 1):
        if step in states:
            average.update([torch.tensor([float(step)], dtype=torch.float64)])
        if step % check_every == 0:
            checks[step] = losses[step // check_every - 1]
            average.validated(checks[step])
    found = valley_facts(HistoryConfig("swad", every=every, n_s=n_s, n_e=n_e, r=r), states, checks)

    assert found["states"] == average.count
    assert found["ended"] == average.ended
    between = [step for step in sorted(states) if found["first_step"] <= step <= found["last_step"]]
    assert len(between) == found["states"]
    assert average.value()[0].item() == pytest.approx(sum(between) / len(between))
    if not found["found"]:
        assert len(between) == len(states)
