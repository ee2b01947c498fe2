"""Models with tensors of all kinds of shapes for the tests of merge methods, and what several references compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

State = dict[str, Tensor]
Vector = list[float]
Shape = tuple[int, ...]

SHAPES: dict[str, Shape] = {
    "conv": (3, 2, 2, 2),
    "matrix": (4, 5),
    "bias": (5,),
    "one": (1,),
    "scalar": (),
    "empty": (0, 3),
}
# For tests that take one shape at a time.
EDGE_SHAPES: list[Shape] = [(), (1,), (0,), (2, 3, 1, 2)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def random_state(
    seed: int,
    dtype: torch.dtype = torch.float64,
    *,
    spread: float = 1.0,
    shift: float = 0.0,
    shapes: Mapping[str, Shape] = SHAPES,
) -> State:
    """Return a model of normally distributed numbers."""
    generator = seeded(seed)
    return {
        name: (shift + spread * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        for name, shape in shapes.items()
    }


def zeros(like: Mapping[str, Tensor]) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in like.items()}


def trajectory(values: list[float], dtype: torch.dtype = torch.float64) -> dict[str, State]:
    """Return checkpoints of one training, each a model of one number."""
    return {f"step-{t}": {"w": torch.tensor([value], dtype=dtype)} for t, value in enumerate(values)}


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def inverse_root(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the polar factor of some columns: columns (columns^T columns)^(-1/2)."""
    values, vectors = np.linalg.eigh(columns.T @ columns)
    root: npt.NDArray[np.float64] = columns @ vectors @ np.diag(values**-0.5) @ vectors.T
    return root
