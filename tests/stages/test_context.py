from __future__ import annotations

import os
import platform
import resource

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.stages.machine import keep_freed_memory, set_threads


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


def faults(size: int) -> int:
    """Return for how many pages of a new block of memory the system was asked."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(size, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    size, page = 1 << 27, os.sysconf("SC_PAGE_SIZE")
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    assert keep_freed_memory()
    # glibc finds a freed block for an aligned one of the same size only when it has neighbors to join.
    assert min(faults(size) for _ in range(20)) < size / page / 10
    # What is larger than any layer needs goes back at once.
    assert faults(5 * size) == pytest.approx(5 * size / page, rel=0.1)
    assert faults(5 * size) == pytest.approx(5 * size / page, rel=0.1)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert not keep_freed_memory()
