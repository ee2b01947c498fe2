"""How alike models with one start are: how far each went, in which directions, and with which signs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.buffers import is_buffer
from hamdg.merge.compatibility import check_models
from hamdg.merge.model_set import ModelSet, TensorSet, one_thread_each
from hamdg.merge.tensor_checks import TensorCheck, check_finite, check_tensor
from hamdg.merge.tensors import Tensors, tied_names
from hamdg.merge.validate import check_kinds

WHOLE = ""

# Entries at once; the pieces of all sources stay in the cache.
_PIECE = 1 << 15
# A part of a name that numbers a block: `7`, `layer3`, `encoder_layer_3`.
_NUMBERED = re.compile(r"^(?:\w*(?:layer|stage|block)s?_?)?(\d+)$")
# What follows the blocks of a network, rather than going before them.
_AFTER = frozenset(
    {"ln_post", "ln_final", "norm", "proj", "text_projection", "visual_projection", "attnpool", "pooler", "head", "fc"}
    | {"heads", "classifier", "logit_scale", "logit_bias"}
)


@dataclass(frozen=True)
class Comparison:
    """What several models changed, compared with each other; the layer `""` is the whole model.

    Args:
        sources: Names of the models in alphabetical order.
        layers: Names of the layers, from the first to the last.
        sizes: How many entries every layer has.
        base: Length (Euclidean norm) of the start by layer.
        lengths: Length of every source's change by source and layer.
        cosines: Cosine between the changes of two sources by pair (`a|b`) and layer; `None` where one did not move.
        agreement: Share of the entries moved by both sources of a pair that moved the same way; `None` if none was.
    """

    sources: tuple[str, ...]
    layers: tuple[str, ...]
    sizes: Mapping[str, int]
    base: Mapping[str, float]
    lengths: Mapping[str, Mapping[str, float]]
    cosines: Mapping[str, Mapping[str, float | None]]
    agreement: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class _Sums:
    """Sums over entries for every two sources: products, entries moved by both, and those with equal signs."""

    size: int
    base: float
    products: Tensor
    both: Tensor
    agreeing: Tensor

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.size + other.size,
            self.base + other.base,
            self.products + other.products,
            self.both + other.both,
            self.agreeing + other.agreeing,
        )


def compare(
    models: Mapping[str, Tensors], base: Tensors, *, device: str = "cpu", threads: int | None = None
) -> Comparison:
    """Compare what models changed since their common start, tensor by tensor: no model is held in memory.

    Buffers (BatchNorm's statistics, counters) take no part; a tensor held under two names counts once.

    Args:
        models: Tensors of every source.
        base: The common start.
        device: Where it is computed.
        threads: How many tensors are worked on at once (default: as many as torch uses).

    Raises:
        ConfigError: There are fewer than two models.
        WeightsError: Keys, shapes or kinds of tensors differ, there are none, or a value is NaN or infinite.
    """
    if len(models) < 2:
        raise ConfigError(f"A comparison needs two models or more, but got {len(models)}.")
    check_kinds(models, base)
    check_models(models, base, torch.float32)
    aliases = tied_names((*models.values(), base))
    names = tuple(name for name in base if name not in aliases and not is_buffer(name, base[name]))
    if not names:
        raise WeightsError("The models hold no weights, only buffers or nothing at all; there is nothing to compare.")
    model_set = ModelSet(
        models,
        base,
        names=names,
        changes=True,
        device=device,
        threads=(threads or torch.get_num_threads()) if device == "cpu" else 1,
    )
    with one_thread_each():
        found = model_set.map(_measured)
    check_finite({name: one for name, one in found.items() if isinstance(one, TensorCheck)}, avoidable=False)
    sums = {name: one for name, one in found.items() if isinstance(one, _Sums)}
    return _comparison(model_set.sources, sums)


def layers(names: tuple[str, ...]) -> dict[str, str]:
    """Return the layer of every tensor, layers being in the order of the network.

    A numbered block is a layer (`visual.transformer.resblocks.7`, `layer3.1`). What lies outside all blocks is named by
    its module beside them (`visual.conv1`), and comes before the blocks or after them.

    Args:
        names: Names of all tensors of a model.
    """
    blocks = {name: _block(name) for name in names}
    holders = {tuple(block[:end]) for block in blocks.values() for end in range(len(block))}
    keys: dict[str, tuple[int, tuple[tuple[str, int], ...]]] = {}
    labels = {}
    for name in names:
        path = blocks[name] or _beside(name, holders)
        place = 1 if blocks[name] else 2 if _AFTER & set(path) else 0
        labels[name] = ".".join(path)
        keys.setdefault(labels[name], (place, tuple(_natural(part) for part in path)))
    return {name: labels[name] for name in sorted(names, key=lambda name: keys[labels[name]])}


def _measured(tensor_set: TensorSet) -> _Sums | TensorCheck:
    """Sum up one tensor piece by piece; tensors with non-finite values get a `TensorCheck` instead."""
    count = len(tensor_set.tensors)
    total = _Sums(0, 0.0, *(torch.zeros(count, count, dtype=torch.float64) for _ in range(3)))
    for piece in tensor_set.pieces(_PIECE):
        rows = torch.stack([change.reshape(-1) for change in piece.tensors.values()])
        wide, signs = rows.double(), rows.sign()
        # Products of signs are small whole numbers: a piece's sums are exact in fp32.
        net, both = signs @ signs.T, signs.abs() @ signs.abs().T
        start = 0.0 if piece.base is None else float(piece.base.reshape(-1).double().square().sum())
        parts = (wide @ wide.T, both.double(), (both + net).double() / 2)
        total += _Sums(rows.shape[1], start, *(part.cpu() for part in parts))
    finite = math.isfinite(total.base) and bool(torch.isfinite(total.products).all())
    return total if finite else check_tensor(tensor_set, changes=True, anchored=True)


def _comparison(sources: tuple[str, ...], sums: Mapping[str, _Sums]) -> Comparison:
    grouped: dict[str, _Sums] = {}
    for name, layer in layers(tuple(sums)).items():
        for key in (WHOLE, layer):
            grouped[key] = grouped[key] + sums[name] if key in grouped else sums[name]
    pairs = list(combinations(range(len(sources)), 2))
    labels = {(a, b): f"{sources[a]}|{sources[b]}" for a, b in pairs}
    return Comparison(
        sources,
        tuple(key for key in grouped if key != WHOLE),
        {key: one.size for key, one in grouped.items()},
        {key: math.sqrt(one.base) for key, one in grouped.items()},
        {s: {key: math.sqrt(float(one.products[i, i])) for key, one in grouped.items()} for i, s in enumerate(sources)},
        {labels[a, b]: {key: _cosine(one.products, a, b) for key, one in grouped.items()} for a, b in pairs},
        {labels[a, b]: {key: _share(one, a, b) for key, one in grouped.items()} for a, b in pairs},
    )


def _cosine(products: Tensor, a: int, b: int) -> float | None:
    length = math.sqrt(float(products[a, a])) * math.sqrt(float(products[b, b]))
    return max(-1.0, min(1.0, float(products[a, b]) / length)) if length > 0 else None


def _share(sums: _Sums, a: int, b: int) -> float | None:
    both = float(sums.both[a, b])
    return float(sums.agreeing[a, b]) / both if both > 0 else None


def _block(name: str) -> tuple[str, ...]:
    """Return the parts of a name up to its block's number; nothing for a tensor outside all blocks."""
    parts = name.split(".")[:-1]
    start = next((i for i, part in enumerate(parts) if _NUMBERED.match(part)), len(parts))
    end = next((i for i in range(start, len(parts)) if not _NUMBERED.match(parts[i])), len(parts))
    return tuple(parts[:end]) if start < len(parts) else ()


def _beside(name: str, holders: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the shortest part of a name that holds no block."""
    parts = name.split(".")
    ends = range(1, len(parts) + 1)
    return next((tuple(parts[:end]) for end in ends if tuple(parts[:end]) not in holders), tuple(parts))


def _natural(part: str) -> tuple[str, int]:
    """Sort `layer10` after `layer2`."""
    match = re.match(r"^(.*?)(\d*)$", part)
    return (match[1], int(match[2] or -1)) if match else (part, -1)
