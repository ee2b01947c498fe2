"""What the source domains' data say about models, for merge methods that ask; the held-out domain is never opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hamdg.cohort.validation import CHUNK
from hamdg.data.batches import sample_positions
from hamdg.data.module import SourceData
from hamdg.data.splits import seed_hash
from hamdg.data.subset import holdout
from hamdg.merge.search import Found
from hamdg.models.network import Network, Weights
from hamdg.stages.context import Context
from hamdg.stages.holdout_scores import HoldoutScores
from hamdg.stages.sources import open_sources

# Tells the labels that are drawn for the Fisher information from all else that is drawn with a run's seed.
_LABELS = 1 << 30


class SourceEvidence:
    """Answers `Validation`, `HoldOut`, `Gradients` and `Activations` of `hamdg.merge.evidence` from source data.

    Nothing is opened before a method asks. Fisher information and activations are those of the models that are merged,
    on the same training images of their own domains, not augmented.

    Args:
        context: The step.
        models: The models that are merged, by name.
        own: The domains that each of them learned from.
        examples: How many training images of each domain are looked at.
    """

    def __init__(
        self, context: Context, models: Mapping[str, Weights], own: Mapping[str, Sequence[str]], examples: int
    ) -> None:
        self.context = context
        self.models = models
        self.own = own
        self.examples = examples
        self.search: Found | None = None

    def score(self, weights: Mapping[str, Tensor]) -> float:
        """Return the mean of the primary metric on the source domains' hold-out sets."""
        return self._scores.mean(weights)

    def outcomes(self, weights: Mapping[str, Tensor], source: str) -> list[float]:
        """Return how right a model is on each image of a source's hold-out set."""
        return self._scores.outcomes(weights, source)

    def searched(self, found: Found) -> None:
        """Keep what a search has tried, for the record."""
        self.search = found

    def fisher(self, source: str) -> Mapping[str, Tensor]:
        """Return the diagonal Fisher information of a source's model on its own images."""
        network = self.put(self.models[source])
        generator = torch.Generator().manual_seed(seed_hash(self.context.recipe.seed, self._index(source), _LABELS))
        return fisher_diagonal(network, network.trainable(), self._images(source), generator)

    def gram(self, source: str) -> Mapping[str, Tensor]:
        """Return X^T X of the inputs of the linear layers of a source's model, on its own images."""
        network = self.put(self.models[source])
        return linear_grams(network, network.trainable(), self._images(source))

    def put(self, weights: Weights) -> Network:
        """Return the network with these weights in it, until the next ones come."""
        return self._scores.put(weights)

    @cached_property
    def _data(self) -> SourceData:
        return open_sources(self.context, begun=True)

    @cached_property
    def _scores(self) -> HoldoutScores:
        return HoldoutScores(self.context)

    def _index(self, source: str) -> int:
        return sorted(self.models).index(source)

    def _images(self, source: str) -> Tensor:
        """Return images as the model takes them, of the domains that a source's model learned from."""
        recipe, data = self.context.recipe, self._data
        parts: list[Tensor] = []
        for domain in self.own[source]:
            pool, index = data.train_part[domain], self.context.bench.domains.index(domain)
            positions = sample_positions(pool, min(self.examples, len(pool)), 0, recipe.seed, index)
            parts += [images for images, _ in holdout(data.domains[domain], positions).parts(CHUNK)]
        return self.context.preprocess(torch.cat(parts).to(self.context.device))


def fisher_diagonal(
    model: Callable[[Tensor], Tensor],
    parameters: Mapping[str, nn.Parameter],
    images: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the diagonal Fisher information, E[(d log p(y | x) / d theta)^2] with y drawn from p(y | x).

    The square is taken per example: that of a batch's mean gradient would be another quantity, and a smaller one.

    Args:
        model: Gives scores [n, classes] of images.
        parameters: What to differentiate for.
        images: The images, one label being drawn for each.
        generator: Draws the labels.
    """
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for image in torch.split(images, 1):
        with torch.enable_grad():
            logs = model(image).log_softmax(dim=1)[0]
            label = int(torch.multinomial(logs.detach().cpu().exp(), 1, generator=generator))
            gradients = torch.autograd.grad(logs[label], list(parameters.values()), materialize_grads=True)
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total += gradient.square()
    return {name: total.detach().cpu() / len(images) for name, total in totals.items()}


@torch.no_grad()
def linear_grams(
    model: Callable[[Tensor], Tensor], parameters: Mapping[str, nn.Parameter], images: Tensor
) -> dict[str, Tensor]:
    """Return X^T X of all that goes into each linear layer, by the name of its weight [out, in].

    Layers of attention are among them, the packed weight of queries, keys and values being one layer; convolutions and
    bare matrices (CLIP's `proj`) are not. A ResNet tower's only linear layers are those of its attention pooling.

    Args:
        model: Gives scores of images.
        parameters: The tensors whose layers count.
        images: The images.
    """
    with _LinearInputs({id(parameter): name for name, parameter in parameters.items()}) as seen:
        for part in torch.split(images, CHUNK):
            model(part)
    return {name: gram.cpu() for name, gram in sorted(seen.grams.items())}


class _LinearInputs(TorchFunctionMode):
    """Sums up X^T X while a model runs; hooks on modules would not see attention, which calls no module inside."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.grams: dict[str, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note what a call of torch is given, and make it."""
        given = dict(kwargs or {})
        if func is F.linear:
            names = ("input", "weight", "bias")
            call = dict(zip(names, args, strict=False)) | given
            self._add(call["weight"], call["input"])
        elif func is F.multi_head_attention_forward:
            for weight, inputs in _attention_inputs(_ATTENTION.bind(*args, **given).arguments):
                self._add(weight, inputs)
        return func(*args, **given)

    def _add(self, weight: Tensor, inputs: Tensor) -> None:
        name = self.names.get(id(weight))
        if name is not None:
            rows = inputs.reshape(-1, inputs.shape[-1]).float()
            gram = rows.T @ rows
            self.grams[name] = self.grams[name] + gram if name in self.grams else gram


_ATTENTION = inspect.signature(F.multi_head_attention_forward)


def _attention_inputs(call: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the weights of one multi-head attention with what goes into them."""
    query, key, value = call["query"], call["key"], call["value"]
    if call.get("use_separate_proj_weight"):
        yield call["q_proj_weight"], query
        yield call["k_proj_weight"], key
        yield call["v_proj_weight"], value
    elif query is key and key is value:
        yield call["in_proj_weight"], query
    # With the identity as its last layer, attention gives what goes into that layer.
    width = query.shape[-1]
    identity = torch.eye(width, dtype=query.dtype, device=query.device)
    plain = call | {"out_proj_weight": identity, "out_proj_bias": query.new_zeros(width)}
    yield call["out_proj_weight"], F.multi_head_attention_forward(**plain)[0]
