from __future__ import annotations

import re

import pytest

from hamdg.data.benchmark import Benchmark
from hamdg.data.registry import benchmark, benchmarks
from hamdg.errors import ConfigError
from hamdg.mini import CLASSES, DOMAINS


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


def test_the_five_benchmarks_follow_the_embedded_one() -> None:
    assert [one.name for one in benchmarks()] == ["mini", "pacs", "vlcs", "officehome", "terra", "domainnet"]
    assert all(benchmark(one.name) is one for one in benchmarks())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("minni", "mini"),
        ("PACS", "pacs"),
        ("vlsc", "vlcs"),
        ("office_home", "officehome"),
        ("OfficeHomeDataset_10072016", "officehome"),
        ("TerraIncognita", "terra"),
        ("terra_incognita", "terra"),
        ("domain-net", "domainnet"),
        ("Domain Net", "domainnet"),
    ],
)
def test_an_unknown_benchmark_is_answered_with_the_nearest(name: str, meant: str) -> None:
    message = f"`benchmark`: there is no benchmark `{name}`; did you mean `{meant}`?"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        benchmark(name)


def test_a_benchmark_like_no_other_is_answered_with_all() -> None:
    message = (
        "`benchmark`: there is no benchmark `imagenet`; "
        "it can be `mini`, `pacs`, `vlcs`, `officehome`, `terra`, `domainnet`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        benchmark("imagenet")
