from __future__ import annotations

import re

import pytest

from hamdg import data
from hamdg.data.benchmark import Benchmark
from hamdg.data.registry import GROUP, benchmark, builtin, names
from hamdg.errors import ConfigError
from hamdg.mini import CLASSES, DOMAINS, scenes
from tests.conftest import Plugin


def test_mini_is_registered_as_it_is_rendered() -> None:
    mini = benchmark("mini")

    assert mini in builtin().values()
    assert mini.classes == tuple(CLASSES)
    assert mini.domains == tuple(DOMAINS) == tuple(sorted(DOMAINS))


def test_mini_scenes_is_registered_as_it_is_rendered() -> None:
    found = benchmark("mini-scenes")
    assert (found.classes, found.domains) == (scenes.CLASSES, scenes.DOMAINS)
    assert found.domains == tuple(sorted(found.domains))
    assert found.task == "segmentation"


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
    assert names() == tuple(builtin()) == ("domainnet", "mini", "mini-scenes", "officehome", "pacs", "terra", "vlcs")
    assert all(benchmark(name) is one and one.name == name for name, one in builtin().items())


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
        "it can be `domainnet`, `mini`, `mini-scenes`, `officehome`, `pacs`, `terra`, `vlcs`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        benchmark("imagenet")


WEATHER = """
from hamdg.data import Benchmark

WEATHER = Benchmark("weather", ("fog", "sun"), ("bike", "car"), title="Weather")
OTHER = 7
"""


def test_a_package_brings_a_benchmark(plugin: Plugin) -> None:
    plugin("weather-benchmark", GROUP, {"weather": "weather_benchmark:WEATHER"}, WEATHER)

    assert names() == (*builtin(), "weather")
    assert benchmark("weather").classes == ("bike", "car")
    with pytest.raises(ConfigError, match="did you mean `weather`"):
        benchmark("wether")


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("weather", "weather_benchmark:OTHER", WEATHER, "names a `int`; it must name a `hamdg.data.Benchmark` called"),
        ("rain", "weather_benchmark:WEATHER", WEATHER, "names a benchmark called `weather`; it must name"),
        ("weather", "weather_benchmark:WEATHER", "1 / 0", "of the package `weather-benchmark` cannot be loaded"),
    ],
    ids=["no benchmark", "another name", "broken"],
)
def test_what_is_no_benchmark_is_refused(plugin: Plugin, name: str, value: str, code: str, words: str) -> None:
    plugin("weather-benchmark", GROUP, {name: value}, code)

    with pytest.raises(ConfigError, match=re.escape(words)):
        benchmark(name)
    assert benchmark("mini").name == "mini"


def test_a_package_takes_no_name_of_ours(plugin: Plugin) -> None:
    plugin("weather-benchmark", GROUP, {"pacs": "weather_benchmark:WEATHER"}, WEATHER)

    assert names() == tuple(builtin())
    assert benchmark("pacs").title == "PACS"


def test_the_function_and_the_class_are_had_from_the_package() -> None:
    assert data.benchmark("pacs") is builtin()["pacs"]
    assert data.Benchmark is Benchmark
