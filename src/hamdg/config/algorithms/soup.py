"""The settings of model soups and of DiWA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range


@dataclass(frozen=True)
class DrawConfig:
    """What every run draws by the seed, one value of each list; an empty list draws nothing and leaves `train`'s value.

    Args:
        lr: Learning rates; the default are DiWA's.
        weight_decay: Weight decays; the default are DiWA's.
    """

    lr: list[Annotated[float, Range(0, above=True)]] = field(default_factory=lambda: [1e-5, 3e-5, 5e-5])
    weight_decay: list[Annotated[float, Range(0)]] = field(default_factory=lambda: [1e-4, 1e-6])


@dataclass(frozen=True)
class SoupSettings(AlgorithmSettings):
    """Several runs of pooled fine-tuning from one start with drawn hyper-parameters, merged by any method.

    What a run contributes is its `history`: `best` on source validation, as published, or `last`, or an average of its
    own. The published merges are `merge.method: uniform` (DiWA), and `greedy_soup` with the option `accept: gt` (model
    soups) or `ge` (DiWA, restricted).

    Args:
        runs: How many there are; the default is DiWA's. Each has its own order of batches.
        draw: Their hyper-parameters.
    """

    code: ClassVar[str] = "hamdg.algorithms.soup:Soup"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "merge", "controls")
    takes_activations: ClassVar[bool] = True
    runs: Annotated[int, Range(2, 1_000)] = 20
    draw: DrawConfig = field(default_factory=DrawConfig)
