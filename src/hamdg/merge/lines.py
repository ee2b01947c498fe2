"""LiNeS: scale what was learned by how deep in the network it was learned."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^(?:layer|stage|block|blocks)?_?(\d+)$")
_LAST = (
    "ln_post",
    "ln_final",
    "norm",
    "proj",
    "text_projection",
    "attnpool",
    "head",
    "fc",
    "classifier",
    "logit_scale",
)


def depths(names: tuple[str, ...]) -> dict[str, float]:
    """Return how deep every tensor lies, from 0 (first block) to 1 (last block).

    A tensor's block is told by the numbers in its name (`visual.transformer.resblocks.7.mlp...`, `layer3.1.conv2...`);
    blocks below different names (two towers) are counted apart. Tensors outside all blocks are at the start, unless their
    name says that they come last (final norms, pooling, projections, heads): the paper counts blocks only, this is ours.

    Args:
        names: Names of all tensors of a model.
    """
    places = {name: _place(name) for name in names}
    stacks: dict[str, set[tuple[int, ...]]] = {}
    for stack, block in places.values():
        if block:
            stacks.setdefault(stack, set()).add(block)
    order = {stack: sorted(blocks) for stack, blocks in stacks.items()}
    result = {}
    for name, (stack, block) in places.items():
        if block:
            result[name] = order[stack].index(block) / max(1, len(order[stack]) - 1)
        else:
            result[name] = float(any(part in _LAST for part in name.split(".")))
    return result


def layer_scales(names: tuple[str, ...], alpha: float, beta: float) -> dict[str, float]:
    """Return LiNeS's factor of every tensor, alpha + beta (l - 1) / (L - 1) for block l of L.

    See Wang et al., https://arxiv.org/abs/2410.17146.
    """
    return {name: alpha + beta * depth for name, depth in depths(names).items()}


def _place(name: str) -> tuple[str, tuple[int, ...]]:
    parts = name.split(".")
    numbers = tuple(int(match[1]) for part in parts[:-1] if (match := _BLOCK.match(part)))
    where = next((i for i, part in enumerate(parts[:-1]) if _BLOCK.match(part)), 0)
    # `layer1.0` and `layer2.0` are blocks of one stack.
    return ".".join(parts[:where]), numbers
