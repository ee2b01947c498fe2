"""What holds for every merge, whatever the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from hamdg.merge.buffers import Policy

Precision = Literal["fp32", "fp64"]


@dataclass(frozen=True)
class MergeSettings:
    """What holds for every method; see `hamdg.merge.merge`."""

    weights: Mapping[str, float] | None = None
    evidence: object = None
    buffers: Policy = "moments"
    lines: tuple[float, float] | None = None
    precision: Precision = "fp32"
    dtype: torch.dtype | None = None
    device: str = "cpu"
    threads: int | None = None
    allow_nonfinite: bool = False
