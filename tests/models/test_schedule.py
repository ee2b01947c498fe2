from __future__ import annotations

import math

import pytest

from hamdg.models.schedule import warm_constant, warm_cosine


def test_the_schedule_rises_linearly_and_falls_like_half_a_cosine() -> None:
    found = [warm_cosine(step, warmup=4, steps=12) for step in range(12)]

    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4] == 1.0
    assert found[8] == pytest.approx(0.5)
    assert found[6] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[-1] > 0
    assert warm_cosine(12, warmup=4, steps=12) == warm_cosine(30, warmup=4, steps=12) == pytest.approx(0)


def test_a_schedule_without_decay_or_warmup_is_defined() -> None:
    assert [warm_cosine(step, warmup=3, steps=3) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert warm_cosine(0, warmup=0, steps=1) == 1


def test_a_constant_rate_rises_linearly_and_stays() -> None:
    assert [warm_constant(step, warmup=4, steps=8) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert [warm_constant(step, warmup=0, steps=2) for step in range(3)] == [1, 1, 1]
