"""What a recipe must obey beyond its types; every rule is a sentence."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import NamedTuple

from hamdg.config.keys import algorithm_of, parts_of
from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.data.registry import benchmark
from hamdg.data.resolve import benchmark_of, words_of
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path
from hamdg.text import excerpt


class Problem(NamedTuple):
    """One value that makes no sense.

    Args:
        key: Its dotted key.
        sentence: What is wrong and what to write instead, without the closing full stop.
    """

    key: str
    sentence: str


class Range(NamedTuple):
    """The numbers a key may have.

    Args:
        key: The dotted key.
        low: Smallest number.
        high: Largest number.
        words: The range in words.
        open_low: `low` itself is not allowed.
        open_high: `high` itself is not allowed.
        most: Largest number that memory and disks hold, where nothing else sets one.
    """

    key: str
    low: float
    high: float
    words: str
    open_low: bool = False
    open_high: bool = False
    most: float = math.inf

    def holds(self, number: float) -> bool:
        """Tell whether `number` lies in the range."""
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return above and below and math.isfinite(number)


# More steps, images or threads than anybody has use for; without a limit, a slip of the keyboard fills the memory.
_STEPS = 1_000_000
_IMAGES = 100_000
_RENDERED = 20_000
THREADS = 1_024
# The longest name of a file on the usual file systems.
_NAME = 255


def _at_least(key: str, low: int, most: float = math.inf) -> Range:
    return Range(key, low, math.inf, f"{low} or more", most=most)


def _positive(key: str) -> Range:
    return Range(key, 0, math.inf, "above 0", open_low=True)


RANGES = (
    _at_least("seed", 0),
    _at_least("data.batch_size", 1, _IMAGES),
    Range("data.validation_fraction", 0, 1, "between 0 and 1, both excluded", open_low=True, open_high=True),
    _at_least("data.subset", 1),
    _at_least("data.shots", 1),
    _at_least("data.mini.seed", 0),
    _at_least("data.mini.images_per_class", 2, _RENDERED),
    Range("data.mini.image_size", 32, 64, "between 32 and 64"),
    Range("data.mini.spurious", 0, 1, "between 0 and 1"),
    _at_least("data.mini.imbalance", 1),
    _at_least("train.steps", 1, _STEPS),
    _positive("train.lr"),
    _at_least("train.weight_decay", 0),
    _at_least("train.warmup", 0, _STEPS),
    _at_least("train.clip_norm", 0),
    _at_least("train.check_every", 1, _STEPS),
    _at_least("ham.harmonization.every", 1, _STEPS),
    _at_least("ham.harmonization.weight", 0),
    Range("ham.harmonization.minority_scale", 0, 1, "between 0 and 1"),
    Range("history.start", 0, 1, "0 or more and below 1", open_high=True),
    _at_least("history.every", 1, _STEPS),
    Range("history.decay", 0, 1, "0 or more and below 1", open_high=True),
    _positive("history.beta"),
    _at_least("history.keep", 1, _STEPS),
    _at_least("history.n_s", 1, _STEPS),
    _at_least("history.n_e", 1, _STEPS),
    _at_least("history.r", 1),
    _at_least("merge.examples", 1),
    _positive("controls.erm_lr"),
    _at_least("runtime.threads", 0, THREADS),
    _at_least("runtime.checkpoint_every", 1, _STEPS),
    _at_least("runtime.log_every", 1, _STEPS),
)


def problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield everything in `recipe` that makes no sense, in the order of its keys."""
    paths = list(_path_problems(recipe))
    yield from paths or _domain_problems(recipe)
    for rule in RANGES:
        if algorithm_of(rule.key) not in (None, recipe.algorithm):
            continue
        number = value_at(recipe, rule.key)
        assert number is None or isinstance(number, int | float)
        if number is not None and not rule.holds(number):
            yield Problem(rule.key, f"Expected `{rule.key}` to be {rule.words}, but got `{number}`")
        elif number is not None and number > rule.most:
            yield Problem(rule.key, f"Expected `{rule.key}` to be at most {rule.most:,}, but got `{number}`")
    yield from place_problems(recipe)
    yield from _store_problems(recipe)
    yield from _noise_problems(recipe)
    yield from _imbalance_problems(recipe)
    yield from _prompt_problems(recipe)
    train = recipe.train
    if train.warmup > train.steps:
        sentence = (
            f"`train.warmup` ({train.warmup}) is longer than the run, which has `train.steps` ({train.steps}); "
            "shorten the warm-up or train longer"
        )
        yield Problem("train.warmup", sentence)
    yield from _valley_problems(recipe)


def value_at(recipe: Recipe, key: str) -> object:
    """Return the value of a dotted key."""
    value: object = recipe
    for name in parts_of(key):
        value = getattr(value, name)
    return value


def _path_problems(recipe: Recipe) -> Iterator[Problem]:
    for key in ("data.root", "data.lists", "data.cache", "model.weights", "runtime.root"):
        text = value_at(recipe, key)
        if not isinstance(text, str):
            continue
        if "\0" in text:
            yield Problem(key, f"`{key}` is `{excerpt(text)}`, but no path has that character")
            continue
        if key in ("model.weights", "runtime.root") and any("\ud800" <= one <= "\udfff" for one in text):
            yield Problem(key, f"`{key}` is `{excerpt(text)}`, which is not UTF-8, as safetensors wants it")
        if (longest := max(map(len, os.fsencode(text).split(b"/")))) > _NAME:
            sentence = (
                f"`{key}` has a name of {longest} bytes, `{excerpt(text)}`, but folders and files have {_NAME} at most"
            )
            yield Problem(key, sentence)
        try:
            user_path(text, key)
        except ConfigError as error:
            yield Problem(key, _without_stop(error))


def _domain_problems(recipe: Recipe) -> Iterator[Problem]:
    try:
        known = benchmark_of(recipe)
    except (ConfigError, DataError) as error:
        places = {"data.lists": recipe.data.lists, "data.root": recipe.data.root, "data.hub": recipe.data.hub}
        given = [place for place, value in places.items() if value and recipe.benchmark == CUSTOM]
        key = given[0] if given else "benchmark"
        yield Problem(key, _without_stop(error))
        return
    try:
        known.sources(recipe.held_out, recipe.excluded)
    except ConfigError as error:
        yield Problem("excluded" if str(error).startswith("`excluded`") else "held_out", _without_stop(error))
    try:
        words_of(recipe)
    except ConfigError as error:
        yield Problem("data.words", _without_stop(error))


def place_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield what makes no sense in the keys that say where the images are."""
    data = recipe.data
    if recipe.benchmark == "mini" and (data.root or data.hub or data.lists):
        key = "data.root" if data.root else "data.hub" if data.hub else "data.lists"
        yield Problem(key, f"`{key}` names images, but the benchmark `mini` renders its own; leave it out")
    elif data.root and data.hub:
        yield Problem("data.hub", "`data.root` and `data.hub` both name the images; keep one of them")
    elif data.lists and data.hub:
        yield Problem("data.hub", "`data.lists` and `data.hub` both name the images; keep one of them")
    elif data.domains is not None and recipe.benchmark != CUSTOM:
        sentence = f"`data.domains` belongs to `benchmark: {CUSTOM}`; `{recipe.benchmark}` has its own domains"
        yield Problem("data.domains", f"{sentence}, so leave it out")
    elif data.domains == []:
        yield Problem("data.domains", "`data.domains` is empty; name two domains or more, or leave it out to use all")
    elif data.revision and not data.hub:
        yield Problem("data.revision", "`data.revision` belongs to `data.hub`, which is not given; leave it out")


def _store_problems(recipe: Recipe) -> Iterator[Problem]:
    if recipe.data.store == "compressed" and not recipe.data.decode_once and recipe.benchmark != "mini":
        sentence = (
            "`data.store` is `compressed`, but with `data.decode_once` `false` nothing is kept, and files give other "
            "pixels; leave one of them out"
        )
        yield Problem("data.store", sentence)


def _without_stop(error: Exception) -> str:
    return str(error).removesuffix(".")


def _noise_problems(recipe: Recipe) -> Iterator[Problem]:
    key, noise = "data.mini.label_noise", recipe.data.mini.label_noise
    rates = noise if isinstance(noise, dict) else {"": noise}
    rule = Range(key, 0, 1, "0 or more and below 1", open_high=True)
    for domain, rate in rates.items():
        if domain and domain not in benchmark("mini").domains:
            names = ", ".join(f"`{name}`" for name in benchmark("mini").domains)
            yield Problem(key, f"`{key}` names the domain `{domain}`, but `mini` has {names}")
        elif not rule.holds(rate):
            yield Problem(key, f"Expected `{key}` to be {rule.words}, but got `{rate}`")


def _imbalance_problems(recipe: Recipe) -> Iterator[Problem]:
    key, mini = "data.mini.imbalance", recipe.data.mini
    if mini.imbalance >= 1 and round(mini.images_per_class / mini.imbalance) < 2:
        sentence = (
            f"`{key}` of `{mini.imbalance}` leaves the rarest class fewer than 2 of `{mini.images_per_class}` "
            "images; lower it or raise `data.mini.images_per_class`"
        )
        yield Problem(key, sentence)


def _valley_problems(recipe: Recipe) -> Iterator[Problem]:
    train, needed = recipe.train, recipe.history.n_s
    if recipe.history.kind != "swad" or train.check_every < 1:
        return
    checks = math.ceil(train.steps / train.check_every)
    if checks < needed:
        sentence = (
            f"`history.kind` `swad` needs `history.n_s` ({needed}) or more validations to find a valley, but "
            f"`train.steps` ({train.steps}) with `train.check_every` ({train.check_every}) give {checks}; lower "
            "`train.check_every` or train longer"
        )
        yield Problem("history.kind", sentence)


def _prompt_problems(recipe: Recipe) -> Iterator[Problem]:
    key, prompts = "model.prompts", recipe.model.prompts
    if prompts == []:
        yield Problem(key, f'`{key}` is empty; give at least one template, such as `["a photo of a {{}}."]`')
    for prompt in prompts or ():
        if prompt.count("{}") != 1:
            yield Problem(
                key, f"Expected every template of `{key}` to have one `{{}}` for the class, but got `{prompt}`"
            )
