"""The settings of CoOp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range


@dataclass(frozen=True)
class CoopSettings(AlgorithmSettings):
    """CoOp: context vectors before the class names of the prompts are learned on all sources; both towers are frozen.

    Args:
        context: How many context vectors there are, which all classes share; the default is the paper's.
        init: Words whose embeddings they start from, one vector a token, such as `a photo of a`, in place of `context`;
            `null` for draws of N(0, 0.02) by the seed, as published.
    """

    code: ClassVar[str] = "hamdg.algorithms.coop:Coop"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    context: Annotated[int, Range(1, 1_000)] = 16
    init: str | None = None
