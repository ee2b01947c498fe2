"""What training starts from: a CLIP, or an image classifier without its linear layer; `model.name` says which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError
from hamdg.models import clip
from hamdg.models.classifier import classifier_files, find_classifier_weights, load_classifier
from hamdg.models.network import has_batchnorm


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


def load_pretrained(config: ModelConfig) -> Pretrained:
    """Build a model and load its weights.

    Raises:
        ConfigError: If there is no such model, its configuration is wrong, or it has no BatchNorm whose statistics
            could move as the recipe wants.
        WeightsError: If the weights are missing, damaged, unsafe or made for another architecture.
    """
    loaded: Pretrained = clip.load_clip(config) if config.has_text else load_classifier(config)
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
    (clip.find_weights if config.has_text else find_classifier_weights)(config)


def model_files(config: ModelConfig) -> list[Path]:
    """Return the files that a model is read from; nobody is asked for them.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If no weights are named, or there are none of that name.
    """
    return clip.model_files(config) if config.has_text else classifier_files(config)
