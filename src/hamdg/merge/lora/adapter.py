"""Adapters of low rank (LoRA): found by the names of their tensors, and the changes that they make to weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.tensors import Tensors
from hamdg.text import listed

Layout = Literal["peft", "kohya"]
# Gives the factor of a module of this name and rank, where no tensor says it.
Scale = Callable[[str, int], float]

ALPHA = "alpha"
_LAYOUTS: dict[Layout, re.Pattern[str]] = {
    # With or without the adapter's name before `weight`; embeddings hold parameters and no modules.
    "peft": re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<part>[AB])(\.(?!bias$)[^.]+)?(\.weight)?"),
    "kohya": re.compile(r"(?P<module>[^.]+)\.(?P<kind>)(?P<part>lora_down\.weight|lora_up\.weight|alpha)"),
}
_DOWN, _UP = ("A", "lora_down.weight"), ("B", "lora_up.weight")
# Parameters of adapters that are not products of two matrices (LoHa, LoKr, VeRA, OFT, DoRA, AdaLoRA, Tucker), or that
# the patterns above do not know.
_UNKNOWN = re.compile(
    r"(.+\.)?((hada|lokr)_[wt]\d(_[ab])?|vera_lambda_[bd]|b?oft_(blocks|diag|[rRsS])|dora_scale"
    r"|([^.]*_)?lora(_linear_layer)?\.(down|up)|lora_(embedding_)?[AB]|lora_(down|up|mid|E|ranknum|magnitude_vector))(\..+)?"
)
_LISTED = 4


@dataclass(frozen=True)
class Pair:
    """The two factors of a module: its weight changes by `scale` up @ down.

    Args:
        down: Name of the factor that is applied first, of the shape (rank, inputs, ...).
        up: Name of the other one, of the shape (outputs, rank, ...).
        scale: alpha / rank, or alpha / sqrt(rank).
        embedding: Whether it is PEFT's adapter of an embedding.
    """

    down: str
    up: str
    scale: float
    embedding: bool = False


@dataclass(frozen=True)
class Adapter:
    """The factors of all modules of an adapter, and the tensors that it holds beside them.

    Args:
        layout: How its tensors are called: as PEFT does, or as kohya's scripts do.
        tensors: All of its tensors.
        pairs: The factors by module.
    """

    layout: Layout
    tensors: Tensors
    pairs: Mapping[str, Pair]

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of whole tensors (PEFT's `modules_to_save`, biases), which are merged as they are."""
        alphas = {f"{module}.{ALPHA}" for module in self.pairs} if self.layout == "kohya" else set()
        used = {name for pair in self.pairs.values() for name in (pair.down, pair.up)} | alphas
        return tuple(name for name in self.tensors if name not in used)

    def factors(self, module: str) -> tuple[Tensor, Tensor]:
        """Return both factors of a module as matrices, up (with the scale) and down, in single precision or better."""
        pair = self.pairs[module]
        up, down = (self.tensors[name].detach().flatten(1) for name in (pair.up, pair.down))
        dtype = torch.float64 if torch.float64 in (up.dtype, down.dtype) else torch.float32
        return up.to(dtype) * pair.scale, down.to(dtype)

    def rank(self, module: str) -> int:
        """Return how many columns the first factor and rows the second one has."""
        return self.tensors[self.pairs[module].down].shape[0]

    def shape(self, module: str) -> tuple[int, ...]:
        """Return the shape of the change of a module's weight."""
        pair = self.pairs[module]
        return (self.tensors[pair.up].shape[0], *self.tensors[pair.down].shape[1:])


def holds_factors(names: Collection[str]) -> str:
    """Return the name of a factor among names of tensors, or nothing."""
    factors = (name for name in names if layout_of(name) and not name.endswith(f".{ALPHA}"))
    return next(factors, next((name for name in names if _UNKNOWN.fullmatch(name)), ""))


def layout_of(name: str) -> Layout | None:
    """Return the layout of a factor's name, `None` if it is none."""
    return next((layout for layout, pattern in _LAYOUTS.items() if pattern.fullmatch(name)), None)


def check_no_factors(models: Mapping[str, Tensors]) -> None:
    """Check that no model holds factors of low rank, whose means say nothing.

    Raises:
        WeightsError: One does.
    """
    for source, tensors in models.items():
        if name := holds_factors(tensors):
            raise WeightsError(
                f"`{source}` holds factors of an adapter (`{name}`), and the mean of factors is not the mean of the "
                "changes that they make. Merge the adapters' files (`hamdg merge`, `merge_files`), which merges the "
                "changes, or add each adapter to its model first (PEFT: `merge_and_unload`)."
            )


def read_adapter(source: str, tensors: Tensors, scale: Scale | None) -> Adapter:
    """Find the factors among the tensors of an adapter.

    Args:
        source: What messages call the adapter.
        tensors: Its tensors.
        scale: Gives alpha / r where the tensors do not hold it, as PEFT's do not.

    Raises:
        WeightsError: It is of a kind that cannot be merged, or a factor has no other, or no such shape.
    """
    strange = [name for name in tensors if _UNKNOWN.fullmatch(name) and not layout_of(name)]
    if strange:
        raise WeightsError(
            f"`{source}` is an adapter of a kind that cannot be merged by its factors: it holds "
            f"{listed(strange, _LISTED)}. Add each adapter to its model first (PEFT: `merge_and_unload`), and merge "
            "the models."
        )
    layouts = sorted({layout for name in tensors if (layout := layout_of(name)) and not name.endswith(f".{ALPHA}")})
    if len(layouts) > 1:
        raise WeightsError(
            f"`{source}` holds LoRA factors by the names of {' and of '.join(layouts)}; save them apart."
        )
    layout = layouts[0]
    found: dict[str, dict[str, str]] = {}
    kinds: dict[str, bool] = {}
    for name in tensors:
        if match := _LAYOUTS[layout].fullmatch(name):
            parts = found.setdefault(match["module"], {})
            part = "down" if match["part"] in _DOWN else "up" if match["part"] in _UP else ALPHA
            if part in parts:
                raise WeightsError(
                    f"`{source}` holds two adapters of `{match['module']}` (`{parts[part]}` and `{name}`); save them "
                    "apart."
                )
            parts[part] = name
            kinds[match["module"]] = bool(match["kind"])
    pairs = {module: _pair(source, tensors, module, parts, kinds[module], scale) for module, parts in found.items()}
    return Adapter(layout, tensors, pairs)


def _pair(
    source: str, tensors: Tensors, module: str, parts: Mapping[str, str], embedding: bool, scale: Scale | None
) -> Pair:
    if "down" not in parts or "up" not in parts:
        raise WeightsError(
            f"`{source}` holds one LoRA factor of `{module}` and not the other: `{next(iter(parts.values()))}`."
        )
    up, down = tensors[parts["up"]], tensors[parts["down"]]
    if up.dim() < 2 or down.dim() < 2 or up.shape[1] != down.shape[0] or math.prod(up.shape[2:]) != 1:
        raise WeightsError(
            f"The LoRA factors of `{module}` in `{source}` do not fit together: {tuple(up.shape)} and "
            f"{tuple(down.shape)}; expected are (outputs, rank) and (rank, inputs)."
        )
    rank = down.shape[0]
    if rank == 0:
        raise WeightsError(f"The LoRA factors of `{module}` in `{source}` have rank 0; leave the module out.")
    if ALPHA in parts:
        alpha = tensors[parts[ALPHA]]
        if alpha.numel() != 1:
            raise WeightsError(
                f"`{parts[ALPHA]}` in `{source}` has the shape {tuple(alpha.shape)}; expected is one number."
            )
        return Pair(parts["down"], parts["up"], float(alpha) / rank)
    # kohya's scripts take alpha = rank where none is stored.
    factor = scale(module, rank) if scale else 1.0
    return Pair(parts["down"], parts["up"], factor, embedding)
