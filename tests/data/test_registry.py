from __future__ import annotations

import re

import pytest

from hamdg.data.mini import CLASSES, DOMAINS
from hamdg.data.registry import Benchmark, benchmark, benchmarks
from hamdg.errors import ConfigError


def test_mini_is_registered_as_it_is_rendered() -> None:
    mini = benchmark("mini")

    assert mini in benchmarks()
    assert mini.classes == tuple(CLASSES)
    assert mini.domains == tuple(DOMAINS) == tuple(sorted(DOMAINS))


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("art_painting", "art_painting"),
        ("Art Painting", "art_painting"),
        ("art", "art_painting"),
        ("A", "art_painting"),
        ("SKETCH", "sketch"),
        ("s", "sketch"),
        ("p", "photo"),
        ("c", "cartoon"),
    ],
)
def test_short_names_mean_their_domain(text: str, domain: str) -> None:
    assert benchmark("mini").domain(text) == domain
    assert benchmark("mini").sources(text) == tuple(name for name in DOMAINS if name != domain)


def test_an_unknown_domain_is_answered_with_the_known_ones() -> None:
    message = (
        "`held_out`: benchmark `mini` has no domain `clipart`; it has `art_painting`, `cartoon`, `photo`, `sketch`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        benchmark("mini").domain("clipart")


def test_a_single_domain_leaves_nothing_to_train_on() -> None:
    message = (
        "`held_out`: benchmark `lonely` has only the domain `photo`, which leaves none to train on; "
        "use a benchmark with two domains or more."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Benchmark("lonely", ("photo",), ("dog",)).sources("photo")


@pytest.mark.parametrize(("name", "hint"), [("minni", "did you mean `mini`?"), ("imagenet", "it can be `mini`, `pacs`.")])
def test_an_unknown_benchmark_is_answered_with_the_nearest(name: str, hint: str) -> None:
    message = f"`benchmark`: there is no benchmark `{name}`; {hint}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        benchmark(name)
