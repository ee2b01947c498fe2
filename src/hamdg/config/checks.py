"""What a recipe must obey beyond its types; every rule is a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from hamdg.config.data import CROPPING, CUSTOM, RENDERED, imbalance_problem, noise_problem
from hamdg.config.keys import value_at
from hamdg.config.recipe import Recipe
from hamdg.config.tracking import tracking_problems
from hamdg.data.benchmark import prompt_problem
from hamdg.data.class_rows import class_rows
from hamdg.data.conflicts import with_own_names
from hamdg.data.registry import benchmark
from hamdg.data.resolve import benchmark_of, words_of
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path
from hamdg.text import excerpt, is_encodable


class Problem(NamedTuple):
    """One value that makes no sense.

    Args:
        key: Its dotted key.
        sentence: What is wrong and what to write instead, without the closing full stop.
    """

    key: str
    sentence: str


# The longest name of a file on the usual file systems.
_NAME = 255


def problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield everything in `recipe` that makes no sense, in the order of its keys."""
    paths = list(_path_problems(recipe))
    yield from paths or [*_map_problems(recipe), *_domain_problems(recipe)]
    yield from place_problems(recipe)
    yield from _store_problems(recipe)
    yield from _mini_problems(recipe)
    yield from _prompt_problems(recipe)
    yield from _model_problems(recipe)
    yield from _view_problems(recipe)
    yield from _text_problems(recipe)
    yield from _head_problems(recipe)
    yield from _learned_head_problems(recipe)
    train = recipe.train
    if train.warmup > train.steps:
        sentence = (
            f"`train.warmup` ({train.warmup}) is longer than the run, which has `train.steps` ({train.steps}); "
            "shorten the warm-up or train longer"
        )
        yield Problem("train.warmup", sentence)
    for key, sentence in tracking_problems(recipe.tracking):
        yield Problem(key, sentence)
    yield from _share_problems(recipe)


def _path_problems(recipe: Recipe) -> Iterator[Problem]:
    for key in ("data.root", "data.lists", "data.cache", "model.weights", "runtime.root"):
        text = value_at(recipe, key)
        if not isinstance(text, str):
            continue
        if "\0" in text or not is_encodable(text):
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
    else:
        try:
            with_own_names(recipe)
        except ConfigError as error:
            # Every sentence begins with its key.
            yield Problem(str(error).split("`")[1], _without_stop(error))
    try:
        words_of(recipe)
    except ConfigError as error:
        yield Problem("data.words", _without_stop(error))


def place_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield what makes no sense in the keys that say where the images are."""
    data = recipe.data
    if recipe.benchmark in RENDERED and (data.root or data.hub or data.lists):
        key = "data.root" if data.root else "data.hub" if data.hub else "data.lists"
        yield Problem(
            key, f"`{key}` names images, but the benchmark `{recipe.benchmark}` renders its own; leave it out"
        )
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
    if recipe.data.store == "compressed" and not recipe.data.decode_once and recipe.benchmark not in RENDERED:
        sentence = (
            "`data.store` is `compressed`, but with `data.decode_once` `false` nothing is kept, and files give other "
            "pixels; leave one of them out"
        )
        yield Problem("data.store", sentence)


def _map_problems(recipe: Recipe) -> Iterator[Problem]:
    data = recipe.data
    if data.ids is not None and recipe.benchmark != CUSTOM:
        yield Problem("data.ids", f"`data.ids` belongs to `benchmark: {CUSTOM}`; leave it out of `{recipe.benchmark}`")
    elif data.ids is not None and (data.lists or data.hub):
        key = "data.lists" if data.lists else "data.hub"
        yield Problem(key, f"`{key}` names images with a class each, but `data.ids` means label maps; keep one of them")
    if data.augment in CROPPING and _task(recipe) == "segmentation":
        sentence = f"`data.augment` is `{data.augment}`, which does not move label maps along with their images"
        yield Problem("data.augment", f"{sentence}; choose `none` or `flip_shift`")


def _task(recipe: Recipe) -> str:
    try:
        return benchmark_of(recipe).task
    except (ConfigError, DataError):  # which is said of another key
        return ""


def _without_stop(error: Exception) -> str:
    return str(error).removesuffix(".")


def _mini_problems(recipe: Recipe) -> Iterator[Problem]:
    mini = recipe.data.mini
    if sentence := noise_problem(mini, benchmark("mini").domains):
        yield Problem("data.mini.label_noise", sentence)
    if sentence := imbalance_problem(mini):
        yield Problem("data.mini.imbalance", sentence)


def _model_problems(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    if model.image_size is not None and model.has_text:
        sentence = f"`model.image_size` is for image classifiers, but `{model.name}` is a CLIP, which has its own side"
        yield Problem("model.image_size", f"{sentence}; leave it out")
    for key in ("model.frozen_blocks", "model.fold_batchnorm"):
        if value_at(recipe, key) and (model.has_text or model.segments):
            kind = "a CLIP" if model.has_text else "a segmentation network"
            yield Problem(key, f"`{key}` is for image classifiers, but `{model.name}` is {kind}; leave it out")
    if model.fold_batchnorm and model.statistics == "live":
        sentence = "`model.fold_batchnorm` makes the statistics of BatchNorm a part of the weights, but with"
        yield Problem("model.fold_batchnorm", f"{sentence} `model.statistics` `live` they move; leave one of them out")
    task = _task(recipe)
    if task == "segmentation" and not model.segments:
        sentence = f"`{recipe.benchmark}` has label maps, and `{model.name}` gives a whole image one class"
        yield Problem("model.name", f"{sentence}; set `model.name` to a segmentation network, such as `mini-unet`")
    if task == "classification" and model.segments:
        sentence = f"`{model.name}` gives every pixel a class, but the images of `{recipe.benchmark}` have one each"
        yield Problem("model.name", f"{sentence}; set `model.name` to another model, such as `mini-rn`")
    if model.segments and model.text_head != "prompts":
        sentence = f"`model.text_head` is `{model.text_head}`, but the last layers of a segmentation network are drawn"
        yield Problem("model.text_head", f"{sentence} by the seed; leave it out")


def _view_problems(recipe: Recipe) -> Iterator[Problem]:
    key, views = "data.views", recipe.data.views
    if views is None:
        return
    start = f"`{key}` is {views}, but "
    if not recipe.model.frozen_blocks:
        yield Problem(key, f"{start}without `model.frozen_blocks` no layer stays as it is; set that, or leave it out")
    elif not recipe.settings.takes_activations:
        sentence = f"{start}the algorithm `{recipe.algorithm}` looks at images, not at activations of frozen layers"
        yield Problem(key, f"{sentence}; leave it out")
    elif views > 1 and recipe.data.augment == "none":
        sentence = f"{start}with `data.augment` `none` all views of an image are the same; set it to 1"
        yield Problem(key, f"{sentence}, or choose an augmentation")


def _text_problems(recipe: Recipe) -> Iterator[Problem]:
    model, start = recipe.model, "`model.text_tower` is `trained`, but "
    if model.trains_text and not model.has_text:
        yield Problem("model.text_tower", f"{start}`{model.name}` has no text tower; leave it out, or choose a CLIP")
    elif model.trains_text and model.text_head != "prompts":
        sentence = f"{start}with `model.text_head` `{model.text_head}` no text stands for the classes"
        yield Problem("model.text_tower", f"{sentence}; leave one of them out")


def _head_problems(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    start, gets_layer = f"`model.head` is `{model.head}`, but ", model.head != "class_features"
    if gets_layer and not model.has_text:
        own = "last layers" if model.segments else "a linear layer"
        yield Problem("model.head", f"{start}`{model.name}` has {own} of its own; leave it out, or choose a CLIP")
    elif gets_layer and model.trains_text:
        sentence = f"{start}with `model.text_tower` `trained` the text tower gives the class features in every pass"
        yield Problem("model.head", f"{sentence}; leave one of them out")


def _learned_head_problems(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    start = "`model.train_head` is `false`, but "
    if not model.train_head and (model.has_text or model.segments):
        kind = "a CLIP, whose head `model.head` decides on" if model.has_text else "a segmentation network"
        yield Problem(
            "model.train_head", f"{start}`{model.name}` is {kind}; leave it out, or choose an image classifier"
        )
    elif not model.train_head and model.text_head == "prompts":
        sentence = f"{start}with `model.text_head` `prompts` the linear layer of `{model.name}` is drawn by the seed"
        yield Problem(
            "model.train_head", f"{sentence}; set `model.text_head` to `linear_probe`, `source_means` or `class_rows`"
        )
    yield from _class_row_problems(recipe)
    if model.head_balance != "domains" and model.text_head != "linear_probe":
        sentence = f"`model.head_balance` is `{model.head_balance}`, but `model.text_head` `{model.text_head}` fits no"
        yield Problem("model.head_balance", f"{sentence} linear probe; leave it out, or set that to `linear_probe`")
    if model.head_labels == "clean":
        yield from _clean_label_problems(recipe)


def _class_row_problems(recipe: Recipe) -> Iterator[Problem]:
    model, key = recipe.model, "model.class_rows"
    if model.text_head != "class_rows":
        if model.class_rows is not None:
            sentence = f"`{key}` belongs to `model.text_head` `class_rows`, which is `{model.text_head}`"
            yield Problem(key, f"{sentence}; leave it out, or set that")
    elif model.has_text:
        sentence = (
            f"`model.text_head` is `class_rows`, but `{model.name}` is a CLIP, which has no classifier of its own"
        )
        yield Problem("model.text_head", f"{sentence}; leave it out, or choose an image classifier")
    else:
        try:
            class_rows(recipe)
        except ConfigError as error:
            yield Problem(key, _without_stop(error))


def _clean_label_problems(recipe: Recipe) -> Iterator[Problem]:
    key, learner = "model.head_labels", recipe.model.text_head
    if learner in ("prompts", "class_rows"):
        sentence = f"`{key}` is `clean`, but with `model.text_head` `{learner}` no labels are read for the head"
        yield Problem(key, f"{sentence}; leave it out, or set that to `linear_probe`")
    elif not _makes_labels_wrong(recipe):
        sentence = (
            f"`{key}` is `clean`, but this recipe makes no labels of `{recipe.benchmark}` wrong, and which of them"
        )
        yield Problem(key, f"{sentence} are wrong otherwise is not known; leave it out")


def _makes_labels_wrong(recipe: Recipe) -> bool:
    """Return whether labels of a source domain are made wrong; a share of 0 and an empty exchange make none so."""
    try:
        conflicts = with_own_names(recipe).data.conflicts
        sources = benchmark_of(recipe).sources(recipe.held_out, recipe.excluded)
    except (ConfigError, DataError):  # which is said of another key
        return True
    noise = recipe.data.mini.label_noise if recipe.benchmark == "mini" else 0.0
    shares = [noise.get(name, 0.0) for name in sources] if isinstance(noise, dict) else [noise]
    return bool(conflicts.noise or conflicts.swap or any(shares))


def _share_problems(recipe: Recipe) -> Iterator[Problem]:
    runtime, size = recipe.runtime, recipe.data.batch_size
    shares = runtime.processes * recipe.train.accumulate
    if shares > size:
        names = {"runtime.devices": runtime.devices, "runtime.nodes": runtime.nodes}
        names["train.accumulate"] = recipe.train.accumulate
        by = " times ".join(f"`{name}` ({value})" for name, value in names.items() if value > 1)
        sentence = f"`data.batch_size` is {size}, but {by} make {shares} parts of every batch"
        sentence += f"; use at least {shares} images or fewer parts"
        yield Problem("data.batch_size", sentence)


def _prompt_problems(recipe: Recipe) -> Iterator[Problem]:
    key, prompts = "model.prompts", recipe.model.prompts
    if prompts is not None and (sentence := prompt_problem(prompts, key)):
        yield Problem(key, sentence)
