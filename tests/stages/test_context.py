from __future__ import annotations

import os

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.stages.machine import set_threads


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of threads that torch was given."""
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    return given


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("4,2", 4), (" 5 , 1", 5), ("", len(os.sched_getaffinity(0)))]
)
def test_threads_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, threads: list[int], text: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert set_threads(0) == expected
    assert set_threads(2) == 2
    assert threads == [expected, 2]


@pytest.mark.parametrize("text", ["many", "-3", "0", "1000000", "\u0663", ",4", "2.5"])
def test_what_is_no_number_of_threads_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    with pytest.raises(ConfigError) as caught:
        set_threads(0)
    assert str(caught.value) == (
        "Expected the environment variable `OMP_NUM_THREADS` to be a number from 1 to 1,024, but got "
        f"`{text}`; correct it, or give `--runtime.threads`."
    )
    assert set_threads(1) == 1
