"""LoRA (https://arxiv.org/abs/2106.09685) on the projections of self-attention, shared by all heads or one for each."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils import parametrize

from hamdg.config.value_types import Projection
from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import SelfAttention
from hamdg.models.adapters.dropout import DropoutAttention


class LowRank(nn.Module):
    """Adds `scale * up @ down` to some of the projections that are stacked in a weight; `up` starts at zero.

    With several groups, which are heads, the rows of each group have a `down` and an `up` of their own.

    Args:
        weight: The weight [projections * width, d].
        positions: Which of its projections are adapted.
        count: How many projections it has.
        rank: Rank of the update of each group.
        groups: Into how many groups of rows each projection is split.
        scale: Factor of the update.
        generator: Draws `down`, on the CPU, as `nn.Linear` draws weights.
    """

    def __init__(
        self,
        weight: Tensor,
        positions: Sequence[int],
        count: int,
        rank: int,
        groups: int,
        scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.positions = tuple(positions)
        self.count = count
        self.scale = scale
        bound = 1 / math.sqrt(columns)
        down = torch.empty(len(positions), groups, rank, columns).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(len(positions), groups, rows // count // groups, rank))

    def updates(self) -> Tensor:
        """Return what is added to the adapted projections [positions, width, d]."""
        # In half precision the updates would not be those that are folded into the weights after training.
        with torch.autocast(self.up.device.type, enabled=False):
            return self.scale * (self.up @ self.down).flatten(1, 2)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with the updates; torch calls this wherever the weight is used."""
        parts = list(weight.chunk(self.count))
        for position, update in zip(self.positions, self.updates(), strict=True):
            parts[position] = parts[position] + update
        return torch.cat(parts)

    def branch(self, inputs: Tensor, dropped: float) -> Tensor:
        """Return what the updates add to the projected tokens [n, l, projections * width].

        Args:
            inputs: The tokens [n, l, d] that are projected.
            dropped: Share of their entries that each projection's update does not see, drawn anew in each call.
        """
        width = self.up.shape[1] * self.up.shape[2]
        parts = [inputs.new_zeros(1).expand(*inputs.shape[:-1], width)] * self.count
        for position, down, up in zip(self.positions, self.down, self.up, strict=True):
            low = torch.einsum("nld,grd->nlgr", dropout(inputs, dropped), down)
            parts[position] = self.scale * torch.einsum("nlgr,gwr->nlgw", low, up).flatten(2)
        return torch.cat(parts, dim=-1)


def add_low_rank(
    attentions: Sequence[SelfAttention],
    ranks: Sequence[int],
    projections: Collection[Projection],
    *,
    per_head: bool = False,
    alpha: float = 1.0,
    dropped: float = 0.0,
    seed: int = 0,
) -> None:
    """Parametrize the weights of attention layers by low-rank updates, which start at zero.

    Args:
        attentions: The layers.
        ranks: Their ranks.
        projections: Which projections are adapted.
        per_head: Whether every head has its own two factors (HA-LoRA), or all heads share the one on the input's side.
        alpha: The updates' factor, times the root of the rank.
        dropped: Share of the input's entries that an update does not see in training.
        seed: Seeds the factors that do not start at zero.
    """
    generator = torch.Generator().manual_seed(seed_hash("low rank", seed))
    for attention, rank in zip(attentions, ranks, strict=True):
        if dropped:
            DropoutAttention.adopt(attention.module, dropped)
        groups, scale = attention.heads if per_head else 1, alpha / math.sqrt(rank)
        for module, name, holds in attention.inputs:
            positions = [position for position, one in enumerate(holds) if one in projections]
            if positions:
                weight: Tensor = getattr(module, name)
                low_rank = LowRank(weight.detach(), positions, len(holds), rank, groups, scale, generator)
                parametrize.register_parametrization(module, name, low_rank)


def check_low_rank(
    attentions: Sequence[SelfAttention], ranks: Sequence[int], dropped: float, section: str, *, per_head: bool = False
) -> None:
    """Refuse ranks that no update can have, and dropout in attention that has no path for it.

    Args:
        attentions: The layers.
        ranks: Their ranks.
        dropped: The share for dropout.
        section: The recipe's section, for the message.
        per_head: Whether every head has an update of its own, or all heads share one for each projection.

    Raises:
        ConfigError: For these reasons.
    """
    for attention, rank in zip(attentions, ranks, strict=True):
        what, width = ("heads", attention.head_width) if per_head else ("projections", attention.width)
        if rank > width:
            raise ConfigError(
                f"`{section}` asks for a rank of {rank} in the layer `{attention.block}`, whose {what} are {width} "
                "wide; choose a rank of at most that."
            )
        if dropped and not isinstance(attention.module, nn.MultiheadAttention):
            raise ConfigError(
                f"`{section}.dropout` is {dropped:g}, but the self-attention of the layer `{attention.block}` "
                f"(`{type(attention.module).__name__}`) has no path for it; set it to 0."
            )
