"""MIRO (https://arxiv.org/abs/2203.10789): features inside the network stay near those of the pretrained one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hamdg.cohort.learner import Learner, Loss, ParamGroup
from hamdg.config.algorithms.miro import MiroSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch
from hamdg.errors import ConfigError
from hamdg.models.layer_outputs import layer_outputs, stage_layers
from hamdg.models.network import Network, frozen
from hamdg.stages.context import Context
from hamdg.stages.pooled import Pooled
from hamdg.text import did_you_mean
from hamdg.tracking.keys import MetricKey

# Of the variances: the least that they can be, and what they start from.
LEAST, START = 1e-5, 0.1
# What gives that start.
_RAW_START = math.log(math.expm1(START - LEAST))


def regularization(features: Tensor, before: Tensor, raw_variance: Tensor) -> Tensor:
    r"""Return $\frac{1}{2} \mathrm{mean}\left[(f - f_0)^2 / v + \log v\right]$, $v = \mathrm{softplus}(b) + 10^{-5}$.

    It bounds the mutual information of the features with those of the pretrained network: they predict these by
    themselves, with an error whose variance every channel learns.

    Args:
        features: Features [n, c, h, w], or with the channels last.
        before: Those of the pretrained network for the same images.
        raw_variance: b [c].
    """
    variance = softplus(raw_variance) + LEAST
    if features.ndim == 4:
        variance = variance.view(-1, 1, 1)
    # Squares of small differences need more than half precision.
    return ((features.float() - before.float()).square() / variance + variance.log()).mean() / 2


class MiroLearner(Learner):
    """Adds the penalty on the outputs of some layers, to any network with any head.

    Args:
        network: What is trained.
        before: The network before training.
        own: The domains that it learns from.
        config: Learning rate, schedule, clipping.
        layers: Names of the layers, as those of the weights.
        settings: Weight of the penalty, and learning rate of the variances.

    Raises:
        ConfigError: A pass through the network does not run through one of the layers.
    """

    def __init__(
        self,
        network: Network,
        before: Network,
        own: tuple[str, ...],
        config: TrainConfig,
        layers: Sequence[str],
        settings: MiroSettings,
    ) -> None:
        super().__init__(network, own, config)
        self.before = frozen(before)
        self.layers = tuple(layers)
        self.settings = settings
        sizes = _channels(self.before, self.layers)
        self.raw_variances = nn.ParameterList([torch.full((size,), _RAW_START) for size in sizes])

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the task's loss with the penalty, which is the sum over the layers."""
        own = self.own_batch(batches)
        with layer_outputs(self.network.body, self.layers) as features:
            scores = self.network.scores(self.network.features(own.images))
        before = self._before(own.images)
        pairs = zip(self.layers, self.raw_variances, strict=True)
        penalty = torch.stack([regularization(features[name], before[name], raw) for name, raw in pairs]).sum()
        value = self.task.loss(scores, own.labels) + self.settings.weight * penalty
        return Loss(value, {MetricKey("penalty"): penalty.detach()})

    def parameter_groups(self) -> list[ParamGroup]:
        """Return the network, and the variances with a learning rate of their own."""
        network = list(self.network.trainable().values())
        rate = self.settings.lr_factor * self.config.lr
        return [{"params": network}, {"params": list(self.raw_variances), "lr": rate}]

    @torch.no_grad()
    def _before(self, images: Tensor) -> dict[str, Tensor]:
        with layer_outputs(self.before.body, self.layers) as features:
            self.before.features(images)
        return features


@torch.no_grad()
def _channels(network: Network, layers: Sequence[str]) -> list[int]:
    """Return how many channels each layer's output has."""
    side = network.preprocess.side
    with layer_outputs(network.body, layers) as features:
        network.features(torch.zeros(1, 3, side, side))
    for name in layers:
        if not isinstance(features.get(name), Tensor):
            raise ConfigError(
                f"`miro.layers` names `{name}`, but that gives no features when an image is encoded; name layers such "
                "as blocks, or leave it out."
            )
    return [features[name].shape[1 if features[name].ndim == 4 else -1] for name in layers]


class Miro(Pooled):
    """Pooled fine-tuning with the penalty; the published result is the last model, or SWAD's average."""

    name = "miro"
    tasks = ("classification",)

    def check(self, context: Context) -> None:
        """Refuse layers that there are not."""
        self.learner(context)

    def learner(self, context: Context) -> MiroLearner:
        """Return the learner."""
        network, settings = context.network(), context.settings(MiroSettings)
        layers = _layers(network, settings.layers, context.recipe.model.name)
        return MiroLearner(network, context.network(), context.sources, context.recipe.train, layers, settings)


def _layers(network: Network, given: Sequence[str] | None, model: str) -> Sequence[str]:
    """Return the names of the layers that are compared.

    Raises:
        ConfigError: One does not exist, or none is named and the network's stages are not known.
    """
    known = [name for name, _ in network.body.named_modules() if name]
    for name in given or ():
        if name not in known:
            hint = did_you_mean(name, known, "the names of its weights begin with those of its layers.")
            raise ConfigError(f"`miro.layers` names `{name}`, which is no layer of `{model}`; {hint}")
    if layers := given or stage_layers(network.body):
        return layers
    raise ConfigError(
        f"MIRO knows the stages of ResNets and vision transformers, but not of `{model}`; name the layers that it "
        "compares in `miro.layers`."
    )
