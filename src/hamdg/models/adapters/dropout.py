"""Self-attention in which low-rank updates see a part of their input only, in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.nn.utils.parametrize import ParametrizationList

if TYPE_CHECKING:
    from hamdg.models.adapters.low_rank import LowRank


class DropoutAttention(nn.MultiheadAttention):
    """torch's self-attention with dropout on the input of the updates of its `in_proj_weight`.

    Such a layer is not a function of one weight. In evaluation it is torch's own, with the updates in the weight.

    Attributes:
        dropped: Share of the input's entries that the updates do not see.
    """

    dropped: float

    @classmethod
    def adopt(cls, attention: nn.Module, dropped: float) -> None:
        """Make torch's attention such a one in place, as `parametrize` changes the class of a module, too."""
        attention.__class__ = cls
        cast("DropoutAttention", attention).dropped = dropped

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended tokens, as torch's attention does with `need_weights=False`."""
        if not self.training:
            return super().forward(query, key, value, attn_mask=attn_mask, **options)
        tokens = query if self.batch_first else query.transpose(0, 1)
        weight = cast("ParametrizationList", self.get_submodule("parametrizations.in_proj_weight"))
        low_rank = cast("LowRank", weight[0])
        projected = linear(tokens, weight.original, self.in_proj_bias) + low_rank.branch(tokens, self.dropped)
        heads = projected.view(*projected.shape[:2], 3, self.num_heads, self.head_dim)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=attn_mask)
        found: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return found if self.batch_first else found.transpose(0, 1), None
