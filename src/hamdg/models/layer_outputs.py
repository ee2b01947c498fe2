"""Outputs of layers inside a network, from any pass through it, and the layers at which its stages end."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

# What a vision transformer's patch embedding and its blocks are called: by open_clip, timm and torchvision.
_TRANSFORMERS: Mapping[str, str] = {
    "conv1": "transformer.resblocks",
    "patch_embed": "blocks",
    "conv_proj": "encoder.layers",
}


@contextmanager
def layer_outputs(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what layers give in the passes through a module that the block makes; a later pass replaces an earlier.

    Args:
        module: The module.
        layers: Names of modules in it.

    Yields:
        The outputs by the layers' names, in the order of the pass.
    """
    found: dict[str, Tensor] = {}
    handles = [module.get_submodule(name).register_forward_hook(partial(_keep, found, name)) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep(found: dict[str, Tensor], name: str, layer: nn.Module, given: object, output: Tensor) -> None:
    found[name] = output


def stage_layers(module: nn.Module) -> list[str]:
    """Return the names of the layers at which the stem and the stages of a network end; none where these are not known.

    Of a ResNet these are the layer before `layer1`, and every `layerN`; of a vision transformer the patch embedding and
    the last block of each quarter of its depth: of 12 blocks those with the numbers 2, 5, 8 and 11.
    """
    for path, part in module.named_modules():
        if names := _resnet_stages(part) or _transformer_stages(part):
            return [f"{path}.{name}" if path else name for name in names]
    return []


def _resnet_stages(module: nn.Module) -> list[str]:
    children = [name for name, _ in module.named_children()]
    if "layer1" not in children:
        return []
    stem = children[: children.index("layer1")][-1:]
    return [*stem, *(name for name in children if re.fullmatch(r"layer\d+", name))]


def _transformer_stages(module: nn.Module) -> list[str]:
    known = {name for name, _ in module.named_modules()}
    for stem, blocks in _TRANSFORMERS.items():
        if {stem, blocks} <= known:
            names = [name for name, _ in module.get_submodule(blocks).named_children()]
            ends = sorted({math.ceil(quarter * len(names) / 4) - 1 for quarter in (1, 2, 3, 4)})
            return [stem, *(f"{blocks}.{names[end]}" for end in ends)]
    return []
