"""What training starts from: a CLIP, or an image classifier without its linear layer; `model.name` says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.models import clip
from hamdg.models.classifier import classifier_files, find_classifier_weights, load_classifier
from hamdg.models.network import has_batchnorm
from hamdg.models.segmenter import find_segmenter, load_segmenter
from hamdg.models.weights import check_exists


class Pretrained(Protocol):
    """A loaded model, whatever its kind."""

    @property
    def name(self) -> str:
        """What the model is called."""

    @property
    def encoder(self) -> nn.Module:
        """What turns images into features."""

    @property
    def width(self) -> int:
        """How many features an image has."""

    @property
    def preprocess(self) -> Preprocess:
        """What it expects of images."""

    def state(self) -> Mapping[str, Tensor]:
        """Return all of its tensors."""


def load_pretrained(config: ModelConfig, classes: Sequence[str] = (), seed: int = 0, side: int = 64) -> Pretrained:
    """Build a model and load its weights.

    Args:
        config: Which model.
        classes: The classes that a segmentation network gives pixels.
        seed: Draws the start of a segmentation network.
        side: The side of its images, where the configuration names none.

    Raises:
        ConfigError: If there is no such model, its configuration is wrong, or it has no BatchNorm whose statistics
            could move as the recipe wants.
        WeightsError: If the weights are missing, damaged, unsafe or made for another architecture.
    """
    loaded: Pretrained
    if config.segments:
        weights = _segmenter_file(config)
        loaded = load_segmenter(config.name, classes, seed, config.image_size or side, weights, config.normalization)
    else:
        loaded = clip.load_clip(config) if config.has_text else load_classifier(config)
    if config.statistics == "live" and not has_batchnorm(loaded.encoder):
        raise ConfigError(
            f"`model.statistics` is `live`, but `{config.name}` has no BatchNorm, and so no statistics that could move;"
            " leave the key out, or set `model.name` to another model."
        )
    return loaded


def find_weights(config: ModelConfig) -> None:
    """Make sure that weights that are named are somewhere, before anything slow is done; may download them.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If there are no weights of that name, or they are neither cached nor within reach.
    """
    if config.segments:
        find_segmenter(config.name)
        if (path := _segmenter_file(config)) is not None:
            check_exists(path)
        return
    (clip.find_weights if config.has_text else find_classifier_weights)(config)


def model_files(config: ModelConfig) -> list[Path]:
    """Return the files that a model is read from; nobody is asked for them.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If no weights are named, or there are none of that name.
    """
    if config.segments:
        path = _segmenter_file(config)
        return [] if path is None else [path]
    return clip.model_files(config) if config.has_text else classifier_files(config)


def _segmenter_file(config: ModelConfig) -> Path | None:
    """Return the weights file of a segmentation network; `None` for one that the seed draws."""
    return None if config.weights in (None, clip.RANDOM) else user_path(str(config.weights), "model.weights")
