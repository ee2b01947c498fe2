"""The pool of frozen models, and the network that adapts, weights and mixes their outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from hamdg.algorithms.simple.functional import matched, mixture
from hamdg.cohort.learner import seeded
from hamdg.config.algorithms.simple import SimpleSettings
from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.tensors import sha256_tensors
from hamdg.models.network import Network, frozen
from hamdg.models.pretrained import Pretrained, find_weights, load_pretrained
from hamdg.stages.context import Context

# Of the published matching network: numbers that stand for a model, and of the space where models and images meet.
_EMBEDDING, _JOINT = 1000, 100


class Pool(Network):
    """Pretrained encoders, each behind what brings the run's images to it; frozen.

    Args:
        models: The models by name.
        given: What the images are prepared for.
    """

    def __init__(self, models: Mapping[str, Pretrained], given: Preprocess) -> None:
        super().__init__()
        self.names = tuple(models)
        self.preprocess = given
        self.encoders = nn.ModuleList(model.encoder for model in models.values())
        self.widths = [model.width for model in models.values()]
        self._own = [model.preprocess for model in models.values()]
        frozen(self)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return each encoder's features [n, width], not normalized."""
        pairs = zip(self.encoders, self._own, strict=True)
        return [encoder(self.preprocess.convert(images, own)).float() for encoder, own in pairs]

    def features(self, images: Tensor) -> Tensor:
        """Return the features one beside another [n, sum of widths]."""
        return torch.cat(self.outputs(images), dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the features: a pool has no classes of its own."""
        return features


class Matcher(nn.Module):
    """Gives every model a weight for an image: softplus(W3 [relu(W1 g) . relu(W2 e_k)]_k).

    Args:
        width: How many outputs g of an image it is given.
        models: How many models there are.
    """

    def __init__(self, width: int, models: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(nn.init.xavier_uniform_(torch.empty(models, _EMBEDDING)))
        self.of_image = nn.Linear(width, _JOINT)
        self.of_model = nn.Linear(_EMBEDDING, _JOINT)
        self.mix = nn.Linear(models, models)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return weights [n, models] above 0 of outputs [n, width]."""
        images, models = relu(self.of_image(outputs)), relu(self.of_model(self.embedding))
        return softplus(self.mix(images @ models.T))


class MatchedPool(Network):
    """A pool whose outputs are adapted to the classes, and mixed as fits each image; an image passes all its models.

    Args:
        pool: The models.
        classes: How many classes there are.
        settings: How their outputs are adapted and matched.
        seed: Draws adapters and matching network.
    """

    def __init__(self, pool: Pool, classes: int, settings: SimpleSettings, seed: int) -> None:
        super().__init__()
        self.preprocess = pool.preprocess
        self.pool = pool
        self.top = settings.top
        self.matched = pool.names.index(settings.matched)
        by_size = settings.adapters == "size"
        self.adapter_of = [f"size_{size}" if by_size else f"model_{n}" for n, size in enumerate(pool.widths)]
        with seeded(seed, 0, "simple", torch.device("cpu")):
            sizes = dict(zip(self.adapter_of, pool.widths, strict=True))
            self.adapters = nn.ModuleDict({name: nn.Linear(size, classes) for name, size in sizes.items()})
            self.matcher = Matcher(pool.widths[self.matched], len(pool.names))

    def features(self, images: Tensor) -> Tensor:
        """Return the outputs of all models, one beside another [n, sum of widths]."""
        return self.pool.features(images)

    def matching(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the models' weights [n, K], above 0, and their adapted scores [n, K, C]."""
        outputs = torch.split(features, self.pool.widths, dim=1)
        pairs = zip(self.adapter_of, outputs, strict=True)
        scores = torch.stack([self.adapters[name](own) for name, own in pairs], dim=1)
        return self.matcher(outputs[self.matched]), scores

    def scores(self, features: Tensor) -> Tensor:
        """Return the mixture [n, C] of the models with the largest weights."""
        with torch.autocast(features.device.type, enabled=False):
            raw, scores = self.matching(features.float())
            return mixture(matched(raw, self.top), scores)


def load_pool(context: Context, names: Sequence[str]) -> tuple[Pool, dict[str, str]]:
    """Load the models of a pool, and return it with digests of their tensors.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If weights cannot be loaded.
    """
    models = {}
    for name in names:
        with _named(name):
            models[name] = load_pretrained(config_of(name))
    digests = {name: sha256_tensors(model.encoder.state_dict()) for name, model in models.items()}
    return Pool(models, context.preprocess), digests


def check_pool(names: Sequence[str]) -> None:
    """Check that there are the models and their weights, before anything slow is done.

    Raises:
        ConfigError: If there is no such model, or it gives every pixel a class.
        WeightsError: If its weights are nowhere.
    """
    for name in names:
        config = config_of(name)
        if config.segments:
            raise ConfigError(f"`simple.pool` names `{name}`, which gives every pixel a class; name other models.")
        with _named(name):
            find_weights(config)


def config_of(name: str) -> ModelConfig:
    """Return what a model of the pool is, which a recipe writes as `NAME` or `NAME@WEIGHTS`."""
    model, _, weights = name.partition("@")
    return ModelConfig(name=model, weights=weights or None)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let errors name the pool, whose models are not written as that of the run."""
    try:
        yield
    except (ConfigError, WeightsError) as error:
        reason = re.sub(r"`(--)?model\.(name|weights)`", "`simple.pool`", str(error))
        raise type(error)(f"`{name}` in `simple.pool`: {reason}") from error
