"""SCMD's teacher: a frozen CLIP that is given what its student is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hamdg.config.algorithms.scmd import TeacherConfig
from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.data.resolve import benchmark_prompts, words_of
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.tensors import sha256_tensors
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.network import Network, frozen
from hamdg.models.text_head import encode_prompts, unknown_words
from hamdg.stages.context import Context

SECTION = "scmd.teacher"


class Teacher(Network):
    """A CLIP with its class features, behind what brings a student's images to it.

    Args:
        clip: The CLIP.
        given: What the images are prepared for.
        convert: Whether they are brought to the CLIP's own side, mean and deviation.
    """

    def __init__(self, clip: ClipClassifier, given: Preprocess, convert: bool) -> None:
        super().__init__()
        self.clip = clip
        self.preprocess = given
        self.convert = convert

    @property
    def class_features(self) -> Tensor:
        """The text's features of the classes [classes, d], of length 1."""
        return self.clip.class_features

    @property
    def sha256(self) -> str:
        """Digest of the CLIP, text tower included; the recipe has the prompts and words.

        Not of the class features: on another machine, or with more threads, their last bits are others.
        """
        return sha256_tensors({**self.clip.loaded.state(), "scale": torch.tensor(self.clip.logit_scale)})

    def features(self, images: Tensor) -> Tensor:
        """Return features [n, d] of length 1 of the student's images."""
        own = self.preprocess.convert(images, self.clip.preprocess) if self.convert else images
        return self.clip.features(own)

    def scores(self, features: Tensor) -> Tensor:
        """Return CLIP's scores [n, classes], its own scale included."""
        return self.clip.scores(features)


def load_teacher(context: Context, config: TeacherConfig) -> Teacher:
    """Load the teacher that a recipe names, frozen.

    Raises:
        ConfigError: If it is no CLIP, its text tower cannot tell the classes apart, or it cannot take the student's
            images as they are.
        WeightsError: If its weights cannot be loaded.
    """
    model = ModelConfig(name=config.name, weights=config.weights, normalization=config.normalization)
    if not model.has_text:
        raise ConfigError(
            f"`{SECTION}.name` is `{config.name}`, which has no text tower, but SCMD's teacher is a CLIP, whose text "
            "tower gives the class features; name one, such as `mini-rn` or `ViT-B-32-quickgelu`."
        )
    classes, words = context.bench.classes, words_of(context.recipe)
    prompts = benchmark_prompts(context.recipe) if config.prompts is None else config.prompts
    with _named():
        loaded = load_clip(model)
        head = encode_prompts(loaded, classes, prompts, words, section=SECTION)
    given = context.preprocess
    if config.images == "student" and given.side != loaded.image_size:
        raise ConfigError(
            f"`{SECTION}.images` is `student`, but the student's images have a side of {given.side} pixels and "
            f"`{config.name}` takes {loaded.image_size}; set it to `own`, which resizes them."
        )
    return frozen(Teacher(ClipClassifier(loaded, head), given, convert=config.images == "own"))


def unknown_to(context: Context, teacher: Teacher) -> list[str]:
    """Return the words for classes that the teacher's text tower does not know."""
    return unknown_words(teacher.clip.loaded, words_of(context.recipe))


@contextmanager
def _named() -> Iterator[None]:
    """Let errors name the teacher's keys, which are called like those of the student."""
    try:
        yield
    except (ConfigError, WeightsError) as error:
        raise type(error)(re.sub(r"`(--)?model\.", rf"`\1{SECTION}.", str(error))) from error
