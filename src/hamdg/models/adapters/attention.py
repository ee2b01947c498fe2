"""Finds the self-attention of vision transformers: open_clip's own and timm's."""

from __future__ import annotations

from typing import NamedTuple

import open_clip.transformer
from timm.models.eva import EvaAttention

# Where it is in all releases of timm that are supported.
from timm.models.vision_transformer import Attention as TimmAttention  # type: ignore[attr-defined]
from torch import nn

from hamdg.config.value_types import Projection
from hamdg.errors import ConfigError

_ALL: tuple[Projection, ...] = ("q", "k", "v")
# What the blocks of open_clip and timm call their self-attention.
_NAME = "attn"


class Inputs(NamedTuple):
    """A weight [n * width, d] in which the projections of queries, keys and values, or one of them, are stacked.

    Args:
        module: Where it is.
        name: What it is called there.
        holds: Which projections, from the first rows to the last.
    """

    module: nn.Module
    name: str
    holds: tuple[Projection, ...]


class SelfAttention(NamedTuple):
    """One layer's self-attention.

    Args:
        block: Path of the block in the tower, such as `transformer.resblocks.3`.
        module: The attention.
        heads: How many heads it has.
        inputs: The weights of its queries, keys and values.
        output: The linear layer on the concatenated outputs of the heads.
        normalizes: Whether these outputs are normalized together before it.
    """

    block: str
    module: nn.Module
    heads: int
    inputs: tuple[Inputs, ...]
    output: nn.Linear
    normalizes: bool = False

    @property
    def head_width(self) -> int:
        """How many numbers a head puts out for each token."""
        return self.output.in_features // self.heads

    @property
    def width(self) -> int:
        """How many numbers all heads put out together, at most as many as a token has."""
        return min(self.output.in_features, self.output.out_features)


def self_attentions(tower: nn.Module, name: str) -> list[SelfAttention]:
    """Return the self-attention of every block of an image tower, from the first to the last.

    Args:
        tower: The image tower of a CLIP.
        name: The name of the model, for messages.

    Raises:
        ConfigError: The tower has none, or one of another kind than open_clip's and timm's.
    """
    paths = [path.rpartition(".") for path, _ in tower.named_modules() if path.endswith(f".{_NAME}")]
    blocks = [block for block, _, _ in paths if block.rpartition(".")[2].isdigit()]
    if not blocks:
        raise ConfigError(
            f"The image tower of `{name}` (`{type(tower).__name__}`) has no blocks with self-attention, which adapters "
            "need; set `model.name` to a CLIP with a vision transformer, such as `mini-vit`."
        )
    return [_described(block, tower.get_submodule(f"{block}.{_NAME}"), name) for block in blocks]


def _described(block: str, module: nn.Module, name: str) -> SelfAttention:
    """Return where the weights of a block's attention are.

    Raises:
        ConfigError: It is of an unknown kind.
    """
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        return SelfAttention(block, module, module.num_heads, (_stacked(module),), module.out_proj)
    if isinstance(module, open_clip.transformer.Attention):
        normalizes = not isinstance(module.ln_inner, nn.Identity)
        return SelfAttention(block, module, module.num_heads, (_stacked(module),), module.out_proj, normalizes)
    if isinstance(module, TimmAttention | EvaAttention):
        if module.qkv is not None:
            inputs: tuple[Inputs, ...] = (Inputs(module.qkv, "weight", _ALL),)
        else:
            inputs = tuple(Inputs(getattr(module, f"{one}_proj"), "weight", (one,)) for one in _ALL)
        normalizes = not isinstance(module.norm, nn.Identity)
        return SelfAttention(block, module, module.num_heads, inputs, module.proj, normalizes)
    raise ConfigError(
        f"Adapters do not know the self-attention of `{name}` (`{type(module).__name__}` in `{block}`); set "
        "`model.name` to a CLIP with a plain vision transformer, such as `mini-vit` or `ViT-B-16`."
    )


def _stacked(module: nn.Module) -> Inputs:
    return Inputs(module, "in_proj_weight", _ALL)


def has_class_token(tower: nn.Module) -> bool:
    """Return whether the first token of an image tower stands for the image; timm has vision transformers without."""
    trunk = getattr(tower, "trunk", None)
    return trunk is None or getattr(trunk, "cls_token", None) is not None
