"""LiNeS: scale what was learned by how deep in the network it was learned."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

# A number alone, or one that belongs to a word: `7`, `layer3`, `encoder_layer_11`.
_NUMBERED = re.compile(r"^(?P<word>[a-z_]*?(?:layer|stage|block)s?)?_?(?P<number>\d+)$")
_BLOCKS = ("block", "blocks")
_STACKS = re.compile(r"(?:layer|stage|block)s?$|^(?:h|features)$")


@dataclass(frozen=True)
class _Place:
    """Where a tensor is: in which stack of blocks, and in which of them; outside all stacks there are no numbers."""

    stack: str = ""
    block: tuple[int, ...] = ()


def depths(names: tuple[str, ...]) -> dict[str, float]:
    """Return how deep every tensor lies: (l - 1) / (L - 1) in block l of L, and 0 outside all blocks.

    A block is recognized by the numbers in names: `visual.transformer.resblocks.7.mlp...`, `blocks.7...`,
    `layer3.1.conv2...` (block 1 of stage 3; the blocks of all stages are counted through), `stages.2.blocks.5...`.
    Numbers further inside (`mlp.0`, `downsample.0`) do not count. Stacks with different names, as in two towers, are
    counted apart. What lies in a stage but in none of its blocks belongs to the stage's first one. Where no name speaks
    of blocks, layers or stages, any first number in a name counts, as in a plain sequence.

    Args:
        names: Names of all tensors of a model.
    """
    places = {name: _place(name, strict=True) for name in names}
    if not any(place.block for place in places.values()):
        places = {name: _place(name, strict=False) for name in names}
    stacks: dict[str, set[tuple[int, ...]]] = {}
    for place in places.values():
        if place.block:
            stacks.setdefault(place.stack, set()).add(place.block)
    order = {stack: _counted(blocks) for stack, blocks in stacks.items()}
    return {name: _depth(place.block, order.get(place.stack, [])) for name, place in places.items()}


def layer_scales(names: tuple[str, ...], alpha: float, beta: float) -> dict[str, float]:
    """Return LiNeS's factor of every tensor: alpha + beta (l - 1) / (L - 1) in block l of L, and alpha outside blocks.

    See Wang et al., https://arxiv.org/abs/2410.17146. Authors' code: alpha for everything outside blocks, what follows
    them (final norm, projection, head) included; for one model beta = 1 - alpha; for N merged ones alpha is
    sum_i |tau_i| / (N |tau|), with tau the merged change before any factor, and beta is searched on validation data.
    Ours: how blocks are found (see `depths`), that two towers and the stages of a network are counted as described
    there, and a lone block (L = 1), which gets alpha.

    Args:
        names: Names of all tensors of a model.
        alpha: Factor of the first block.
        beta: How much larger the last block's factor is.
    """
    return {name: alpha + beta * depth for name, depth in depths(names).items()}


def _place(name: str, strict: bool) -> _Place:
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        match = _NUMBERED.match(part)
        if match is None:
            continue
        word = match["word"] or (parts[i - 1] if i else "")
        if strict and not _STACKS.search(word):
            continue
        stack = ".".join([*parts[:i], match["word"] or ""])
        return _Place(stack, (int(match["number"]), *_inner(parts[i + 1 : -1])))
    return _Place()


def _inner(parts: list[str]) -> tuple[int, ...]:
    """Return the number of the block within a stage, if the name goes on with one."""
    after = parts[1:] if parts and parts[0] in _BLOCKS else parts
    return (int(after[0]),) if after and after[0].isdigit() else ()


def _counted(blocks: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    longest = max(len(block) for block in blocks)
    return sorted(block for block in blocks if len(block) == longest)


def _depth(block: tuple[int, ...], order: list[tuple[int, ...]]) -> float:
    if not block or len(order) < 2:
        return 0.0
    return min(bisect_left(order, block), len(order) - 1) / (len(order) - 1)
