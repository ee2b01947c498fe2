from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, get_args, get_origin

import pytest

from hamdg.config import checks, keys
from hamdg.config.checks import problems
from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig, Recipe, TrainConfig
from hamdg.data.benchmark import Benchmark
from hamdg.errors import ConfigError
from hamdg.mini.benchmark import SIZES
from hamdg.values import Range, plain


def first(recipe: Recipe) -> str:
    return next(problems(recipe)).sentence


def numbers(kind: object, ranged: bool = False) -> Iterator[bool]:
    """Yield of every number in a type whether it has a range; written apart from the code that reads types."""
    if get_origin(kind) is Annotated:
        inner, *extras = get_args(kind)
        yield from numbers(inner, any(isinstance(extra, Range) for extra in extras))
    elif kind in (int, float):
        yield ranged
    elif kind != list[str | int]:  # names
        for inner in get_args(kind):
            yield from numbers(inner)


def test_the_defaults_make_sense() -> None:
    assert list(problems(Recipe())) == []


def test_a_clip_has_its_own_side_of_images() -> None:
    assert first(replace(Recipe(), model=ModelConfig(image_size=48))) == (
        "`model.image_size` is for image classifiers, but `mini-rn` is a CLIP, which has its own side; leave it out"
    )
    assert list(problems(replace(Recipe(), model=ModelConfig("mini-resnet8", image_size=48)))) == []


# Sections whose keys belong to others: merge methods, loggers, dashboards.
OPEN = ("merge.options", "tracking.options", "tracking.config")


def test_every_number_of_a_recipe_has_a_range() -> None:
    kinds = {key: kind for key, kind in {**keys.shared(), **keys.own("ham")}.items() if not isinstance(kind, type)}
    ranged = {key: [*numbers(kind)] for key, kind in kinds.items() if not key.startswith(OPEN)}
    assert sum(map(len, ranged.values())) > 30
    assert [key for key, found in ranged.items() if not all(found)] == []
    # A bare number would be a plain type.
    assert not {key for key, kind in {**keys.shared(), **keys.own("ham")}.items() if kind in (int, float)}


def test_the_sides_of_images_are_those_that_the_renderer_takes() -> None:
    _, (sides,) = plain(keys.shared()["data.mini.image_size"])
    assert isinstance(sides, Range)
    assert (sides.low, sides.high) == SIZES


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--train.steps=0", "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `0`"),
        ("--seed=-1", "Expected `seed` to be an integer of at least 0, but got `-1`"),
        ("--data.batch_size=0", "Expected `data.batch_size` to be an integer between 1 and 100,000, but got `0`"),
        (
            "--data.validation_fraction=1",
            "Expected `data.validation_fraction` to be a number above 0 and below 1, but got `1`",
        ),
        (
            "--data.mini.image_size=65",
            "Expected `data.mini.image_size` to be an integer between 32 and 64, but got `65`",
        ),
        ("--data.shots=0", "Expected `data.shots` to be an integer of at least 1, but got `0`"),
        ("--data.subset=0", "Expected `data.subset` to be an integer of at least 1, but got `0`"),
        ("--train.lr=0", "Expected `train.lr` to be a number above 0, but got `0`"),
        ("--train.lr=1e999", "Expected `train.lr` to be a number above 0, but got `inf`"),
        ("--train.clip_norm=-1", "Expected `train.clip_norm` to be a number of at least 0, but got `-1`"),
        ("--history.start=1", "Expected `history.start` to be a number of at least 0 and below 1, but got `1`"),
        ("--history.every=0", "Expected `history.every` to be an integer between 1 and 1,000,000, but got `0`"),
        ("--history.n_s=0", "Expected `history.n_s` to be an integer between 1 and 1,000,000, but got `0`"),
        ("--history.n_e=0", "Expected `history.n_e` to be an integer between 1 and 1,000,000, but got `0`"),
        ("--history.r=0.9", "Expected `history.r` to be a number of at least 1, but got `0.9`"),
        ("--merge.examples=0", "Expected `merge.examples` to be an integer of at least 1, but got `0`"),
        ("--runtime.threads=-1", "Expected `runtime.threads` to be an integer between 0 and 1,024, but got `-1`"),
        (
            "--runtime.threads=1000000",
            "Expected `runtime.threads` to be an integer between 0 and 1,024, but got `1000000`",
        ),
        (
            "--train.steps=1e15",
            "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `1000000000000000`",
        ),
        (
            "--data.batch_size=1e6",
            "Expected `data.batch_size` to be an integer between 1 and 100,000, but got `1000000`",
        ),
        (
            "--data.mini.images_per_class=1e11",
            "Expected `data.mini.images_per_class` to be an integer between 2 and 20,000, but got `100000000000`",
        ),
        ("--seed=1e300", "Expected `seed` to be an integer of at least 0, but got `1e+300`"),
        ("--train.steps=1:30", "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `1:30`"),
        ("--train.steps=010", "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `010`"),
        (
            "--train.steps=" + "9" * 39,
            "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `" + "9" * 39 + "`",
        ),
    ],
)
def test_numbers_out_of_range(override: str, said: str) -> None:
    with pytest.raises(ValueError, match="Expected") as caught:
        read_recipe(None, [override])
    assert str(caught.value) == f"{said} (on the command line)."


@pytest.mark.parametrize("override", ["--merge.examples=1", "--history.start=0", "--data.mini.spurious=1"])
def test_the_ends_of_a_range_are_in_it(override: str) -> None:
    read_recipe(None, [override])


def test_label_noise_is_checked_by_domain() -> None:
    unknown = Recipe(data=DataConfig(mini=MiniConfig(label_noise={"draft": 0.1})))
    assert first(unknown) == (
        "`data.mini.label_noise` names the domain `draft`, which `mini` does not have; its domains are `art_painting`, "
        "`cartoon`, `photo`, `sketch`"
    )
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, ["--data.mini.label_noise={photo: 1}"])
    assert str(caught.value) == (
        "Expected `data.mini.label_noise.photo` to be a number of at least 0 and below 1, but got `1` "
        "(on the command line)."
    )


def test_label_noise_knows_the_copies_that_there_are() -> None:
    noisy = ["--data.mini.label_noise={photo_dark: 0.2}"]
    recipe = read_recipe(None, [*noisy, "--data.mini.copies=[photo_dark, photo_fog]"])
    assert recipe.data.mini.label_noise == {"photo_dark": 0.2}
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, [*noisy, "--data.mini.copies=[photo_fog]"])
    assert str(caught.value) == (
        "`data.mini.label_noise` names the domain `photo_dark`, which `mini` does not have; its domains are "
        "`art_painting`, `cartoon`, `photo`, `sketch`, `photo_fog` (on the command line)."
    )


def test_imbalance_must_leave_two_images_of_the_rarest_class() -> None:
    assert list(problems(Recipe(data=DataConfig(mini=MiniConfig(imbalance=50))))) == []
    assert first(Recipe(data=DataConfig(mini=MiniConfig(imbalance=80.0)))) == (
        "`data.mini.imbalance` of `80.0` leaves the rarest class fewer than `2` of `100` images; "
        "lower it or raise `data.mini.images_per_class`"
    )


def test_prompts_need_one_place_for_the_class() -> None:
    assert first(Recipe(model=ModelConfig(prompts=[]))) == (
        '`model.prompts` is empty; give at least one template, such as `["a photo of a {}."]`'
    )
    assert first(Recipe(model=ModelConfig(prompts=["a {}.", "a dog"]))) == (
        "Expected every template of `model.prompts` to have one `{}` for the class, but got `a dog`"
    )


def test_warm_up_must_fit_into_the_run() -> None:
    assert list(problems(Recipe(train=TrainConfig(steps=20, warmup=20)))) == []
    assert first(Recipe(train=TrainConfig(steps=19, warmup=20))) == (
        "`train.warmup` (20) is longer than the run, which has `train.steps` (19); shorten the warm-up or train longer"
    )


def test_one_domain_leaves_none_to_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = Benchmark("mini", ("sketch",), ("dog", "cat"))
    monkeypatch.setattr(checks, "benchmark_of", lambda _: lonely)
    assert first(Recipe()) == (
        "`held_out`: benchmark `mini` has only the domain `sketch`, which leaves none to train on; "
        "use a benchmark with two domains or more"
    )


@pytest.mark.parametrize(
    ("benchmark", "data", "key", "sentence"),
    [
        (
            "mini",
            {"root": "pictures"},
            "data.root",
            "`data.root` names images, but the benchmark `mini` renders its own; leave it out",
        ),
        (
            "mini",
            {"hub": "me/birds"},
            "data.hub",
            "`data.hub` names images, but the benchmark `mini` renders its own; leave it out",
        ),
        (
            "mini",
            {"lists": "l.csv"},
            "data.lists",
            "`data.lists` names images, but the benchmark `mini` renders its own; leave it out",
        ),
        (
            "pacs",
            {"lists": "a", "hub": "b"},
            "data.hub",
            "`data.lists` and `data.hub` both name the images; keep one of them",
        ),
        (
            "pacs",
            {"domains": ["photo", "sketch"]},
            "data.domains",
            "`data.domains` belongs to `benchmark: custom`; `pacs` has its own domains, so leave it out",
        ),
        (
            "pacs",
            {"root": "a", "hub": "b"},
            "data.hub",
            "`data.root` and `data.hub` both name the images; keep one of them",
        ),
        (
            "pacs",
            {"revision": "abc"},
            "data.revision",
            "`data.revision` belongs to `data.hub`, which is not given; leave it out",
        ),
    ],
)
def test_images_are_named_once_and_where_they_are_used(
    benchmark: str, data: dict[str, object], key: str, sentence: str
) -> None:
    recipe = Recipe(benchmark=benchmark, data=replace(DataConfig(), **data))  # type: ignore[arg-type]
    assert [(problem.key, problem.sentence) for problem in problems(recipe)] == [(key, sentence)]


def test_an_unknown_benchmark_is_named_once() -> None:
    found = [problem.key for problem in problems(replace(Recipe(), benchmark="x", held_out="y"))]
    assert found == ["benchmark"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "data.root",
            "~nouser/x",
            "`data.root` is `~nouser/x`, but `~nouser` has no home folder here; write the path out",
        ),
        (
            "runtime.root",
            f"a/{'x' * 300}",
            f"`runtime.root` has a name of 300 bytes, `a/{'x' * 78}... (302 characters)`, but folders and files have "
            "255 at most",
        ),
        ("data.cache", "a\0b", "`data.cache` is `a\\x00b`, but no path has that character"),
        ("data.cache", "a\ud800b", "`data.cache` is `a\\ud800b`, but no path has that character"),
        ("model.weights", "\udf00", "`model.weights` is `\\udf00`, but no path has that character"),
        (
            "model.weights",
            "caf\udce9.pt",
            "`model.weights` is `caf\\udce9.pt`, which is not UTF-8, as safetensors wants it",
        ),
    ],
)
def test_paths_that_cannot_be_are_told_first(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, ["--benchmark=custom", f"--{key}={value}"])
    assert str(caught.value) == f"{said} (on the command line)."
