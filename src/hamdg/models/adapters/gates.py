"""Gates on the heads of self-attention: a factor on each head's output, as part of the weight behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import SelfAttention


class HeadGates(nn.Module):
    """Multiplies the output of head h by `H softmax(g)_h`, with H heads and learned g.

    Heads are concatenated and projected, so this is a factor on the columns of the projection; its bias has none.

    Args:
        logits: Where g [H] starts; equal values leave all heads as they are.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def factors(self) -> Tensor:
        """Return the factors [H], whose mean is 1."""
        # Not `H * softmax(g)`, which for some H is not 1 exactly where all are equal.
        weights = (self.logits - self.logits.detach().amax()).exp()
        return weights / weights.mean()

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [d, H * width] behind the heads with the factors; torch calls this where it is used."""
        return weight * self.factors().repeat_interleave(weight.shape[1] // len(self.logits))


def add_gates(attentions: Sequence[SelfAttention], std: float = 0.0, seed: int = 0) -> None:
    """Parametrize the output projections of attention layers by gates.

    Args:
        attentions: The layers.
        std: Standard deviation of what the gates start from; with 0 all heads start as they are.
        seed: Seeds these.
    """
    generator = torch.Generator().manual_seed(seed_hash("gates", seed))
    for attention in attentions:
        start = std * torch.randn(attention.heads, generator=generator)
        gates = HeadGates(start.to(attention.output.weight.detach()))
        parametrize.register_parametrization(attention.output, "weight", gates)


def check_gates(attentions: Sequence[SelfAttention]) -> None:
    """Refuse attention whose heads cannot be gated by the weight behind them.

    Raises:
        ConfigError: There is one.
    """
    for attention in attentions:
        if attention.normalizes:
            raise ConfigError(
                f"The layer `{attention.block}` normalizes the outputs of all heads together, so gates on heads are no "
                "factors on its weights; set `model.name` to a CLIP with a plain vision transformer."
            )


def head_gates(module: nn.Module) -> Iterator[HeadGates]:
    """Yield the gates in a module, from the first layer to the last."""
    for part in module.modules():
        if isinstance(part, HeadGates):
            yield part
