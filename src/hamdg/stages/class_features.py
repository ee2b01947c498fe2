"""What stands for the classes (`model.text_head`): words that are checked, or features learned from the sources."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from torch import Tensor

from hamdg import console
from hamdg.config.recipe import ModelConfig
from hamdg.data.class_rows import class_rows
from hamdg.data.module import SourceData
from hamdg.data.resolve import words_of
from hamdg.errors import ConfigError, RunDirectoryError, WeightsError
from hamdg.files import link_if_there
from hamdg.merge.files import read_metadata
from hamdg.models.classifier import LoadedClassifier
from hamdg.models.labeled_features import LabeledFeatures
from hamdg.models.learned_head import (
    IDENTITY,
    digest,
    learn_head,
    learn_layer,
    read_head,
    rows_layer,
    write_head,
)
from hamdg.models.logistic import Linear
from hamdg.models.text_head import logit_scale, unknown_words
from hamdg.report.table import CLASS_FEATURES
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import encoder_part, hashed, part
from hamdg.runs.steps import read_start
from hamdg.stages.context import Context
from hamdg.stages.features import features_of, training_subsets
from hamdg.stages.sources import learned_from_these
from hamdg.text import listed
from hamdg.values.kinds import yaml_name

_LISTED = 8
_IMAGENET = 1_000


def check_words(context: Context) -> None:
    """Check that prompts distinguish the classes, where they give the class features; name words without a meaning.

    Raises:
        ConfigError: If the features of two classes coincide.
    """
    if context.recipe.model.text_head != "prompts" or not context.recipe.model.uses_text:
        return
    _ = context.text_head
    if unknown := unknown_words(context.clip, words_of(context.recipe)):
        console.note(
            f"the text tower of `{context.clip.name}` does not know {listed(unknown, _LISTED)}, so that its "
            "feature means nothing (`data.words` and `model.text_head` are ways out)"
        )


def check_frozen_class_features(context: Context) -> None:
    """Check that image features are compared with frozen class features; for algorithms whose loss is made of these.

    Raises:
        ConfigError: If the recipe's model is no CLIP, or what stands for the classes is trained.
    """
    model = context.recipe.model
    reason = f"The algorithm `{context.recipe.algorithm}` compares image features with frozen class features"
    if not model.has_text:
        raise ConfigError(f"{reason}, but `model.name` `{model.name}` has a linear layer; choose a CLIP.")
    check_left_out(model, ("text_tower", "head"), reason)


def check_left_out(model: ModelConfig, keys: Sequence[str], reason: str) -> None:
    """Refuse keys of `model` with another value than their default.

    Args:
        model: The section.
        keys: The keys.
        reason: Why, as the beginning of the message.

    Raises:
        ConfigError: There is such a key.
    """
    for key in keys:
        if (value := getattr(model, key)) != getattr(ModelConfig, key):
            raise ConfigError(f"{reason}, but `model.{key}` is `{yaml_name(value)}`; leave it out.")


def learn_class_features(context: Context, data: SourceData) -> None:
    """Learn a run's class features and write them, unless they are there, prompts give them or the seed draws them.

    Features that were exchanged or lost since the run began are learned again, from the same images.

    Raises:
        DataError: If a class has no training image in any source, or the model cannot tell the images of two apart.
    """
    kind, run, unit = context.recipe.model.text_head, context.run, context.recipe.model.uses_text
    if kind == "prompts" or (run.start.exists() and _are_those(run)):
        return
    scale, identity = logit_scale(context.clip) if unit else 1.0, _identity(context)
    twin = _twin(context, identity)
    if twin is not None and link_if_there(twin.class_features, run.class_features):
        return
    # A run and its control have the same sources.
    if kind not in context.heads:
        console.note(f"class features: {CLASS_FEATURES[kind]}")
        found, classes = _features(context, data), context.bench.classes
        balance = context.recipe.model.head_balance
        if kind == "class_rows":
            context.heads[kind] = rows_layer(found, pretrained_rows(context), list(class_rows(context.recipe).values()))
        elif unit:
            context.heads[kind] = Linear(learn_head(kind, found, classes, scale, balance))
        else:
            context.heads[kind] = Linear(learn_layer(kind, found, classes, balance))
    write_head(run.class_features, context.heads[kind], kind, context.bench.classes, scale, identity)


def check_rows(context: Context) -> None:
    """Check that the pretrained classifier has the rows that are to stand for the classes, if some are.

    Raises:
        ConfigError: If it has none, or too few.
    """
    if context.recipe.model.text_head == "class_rows":
        pretrained_rows(context)


def pretrained_rows(context: Context) -> Tensor:
    """Return the weight [k, d] of the pretrained network's own classifier.

    Raises:
        ConfigError: If it has none, or too few rows for what stands for the classes.
    """
    model, loaded = context.recipe.model, context.pretrained
    rows = loaded.rows if isinstance(loaded, LoadedClassifier) else None
    if rows is None:
        raise ConfigError(
            f"`model.text_head` is `class_rows`, but `model.weights` `{yaml_name(model.weights)}` of `{model.name}` "
            "have no classifier; name weights that have one, or choose another `model.text_head`."
        )
    chosen = class_rows(context.recipe)
    # The benchmark's own rows are numbered as ImageNet's classes.
    if model.class_rows is None and len(rows) != _IMAGENET:
        raise ConfigError(
            f"The rows that `{context.bench.name}` has are those of ImageNet's {_IMAGENET:,} classes, but the "
            f"classifier of `{model.name}` has {len(rows):,}; give `model.class_rows`."
        )
    for name, own in chosen.items():
        if max(own) >= len(rows):
            raise ConfigError(
                f"`model.class_rows` gives the class `{name}` the row {max(own)}, but the classifier of `{model.name}` "
                f"has {len(rows):,}, numbered from 0; name others."
            )
    return rows


def _identity(context: Context) -> str:
    """Return the hash of all that class features are learned from, but for weights and images themselves."""
    values = {**encoder_part(context.recipe), "model": part(context.recipe, ())["model"]}
    # Activations are rounded.
    kept = {} if context.recipe.data.views is None else {"activations": True}
    return hashed(values | {"sources": list(context.sources)} | kept)


def _twin(context: Context, identity: str) -> RunDirectory | None:
    """Return another run below the same root that has learned them from the same images with the same weights."""
    recipe, own = context.recipe, context.run
    for path in sorted(
        own.path.parents[3].glob(f"{recipe.benchmark}/*/*/seed{recipe.seed}-*/{own.class_features.name}")
    ):
        twin = RunDirectory(path.parent)
        with suppress(WeightsError, RunDirectoryError):
            same = twin.path != own.path and read_metadata(path).get(IDENTITY) == identity and _are_those(twin)
            if same and read_start(twin)["sha256"] == context.start_sha256 and learned_from_these(context, twin):
                return twin
    return None


def _are_those(run: RunDirectory) -> bool:
    """Return whether a run still has the class features that it began with."""
    try:
        return digest(read_head(run.class_features)) == read_start(run)["class_features"].get("sha256")
    except WeightsError:
        return False


def _features(context: Context, data: SourceData) -> LabeledFeatures:
    """Return the pretrained network's features of every source domain's training images, and their labels."""
    network = replace(context, unlearned=True).network().to(context.device).eval()
    clean = context.recipe.model.head_labels == "clean"
    parts = training_subsets(context, data, clean=clean)
    if context.recipe.data.views is not None:
        parts = {name: replace(one, images=context.tested_images(data.domains[name])) for name, one in parts.items()}
    return features_of(context, network.features, parts)
