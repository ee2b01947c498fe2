from __future__ import annotations

import torch

from hamdg.algorithms.ham.sample_log import Sample, SampleLog

DOMAINS = ["cartoon", "cartoon", "photo", "photo", "photo"]
POSITIONS = torch.tensor([7, 3, 9, 1, 5])
CONFIDENCES = torch.tensor([0.75, 0.125, 0.25, 0.875, 0.5])


def record(book: SampleLog, step: int, model: str = "art") -> None:
    book.record(step, model, DOMAINS, POSITIONS, CONFIDENCES, CONFIDENCES > 0.5, torch.tensor(0.5))


def test_moments_are_spread_from_the_first_to_the_last_step() -> None:
    assert SampleLog(100).moments == {0, 33, 66, 99}
    assert SampleLog(2).moments == {0, 1}
    assert SampleLog(1).moments == {0}
    assert SampleLog(10, moments=1).moments == {0}


def test_the_first_accepted_and_the_least_confident_rejected_are_kept() -> None:
    book = SampleLog(10, per_kind=2)
    record(book, 9)

    assert book.samples == [
        Sample(10, "art", "cartoon", 7, True, 0.75, 0.5),
        Sample(10, "art", "photo", 1, True, 0.875, 0.5),
        Sample(10, "art", "cartoon", 3, False, 0.125, 0.5),
        Sample(10, "art", "photo", 9, False, 0.25, 0.5),
    ]


def test_the_book_stays_small() -> None:
    book = SampleLog(1000, moments=4, per_kind=2)
    for step in range(1000):
        for model in ("art", "photo"):
            record(book, step, model)

    assert len(book.samples) == 4 * 2 * 2 * 2
    assert {sample.step for sample in book.samples} == {1, 334, 667, 1000}


def test_nothing_to_accept_or_reject_is_no_problem() -> None:
    for bar, accepted in ((0.0, True), (1.0, False)):
        book = SampleLog(1)
        book.record(0, "art", DOMAINS, POSITIONS, CONFIDENCES, CONFIDENCES.gt(bar), torch.tensor(bar))
        assert [sample.accepted for sample in book.samples] == [accepted] * 3


def test_the_state_survives_a_round_trip() -> None:
    book, other = SampleLog(10), SampleLog(10)
    record(book, 0)
    other.load_state_dict(book.state_dict())

    assert other.samples == book.samples
    assert len(other.samples) == 5
