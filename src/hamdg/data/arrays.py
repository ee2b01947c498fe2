"""The images of one domain, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DomainArrays:
    """All images and labels of one domain.

    Args:
        domain: The domain's name.
        images: Images, uint8 `[n, height, width, 3]`; possibly memory-mapped and read-only.
        labels: Class indices as training sees them, int64 `[n]`; wrong where label noise was asked for.
        clean_labels: The true class indices, int64 `[n]`.
    """

    domain: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    clean_labels: NDArray[np.int64]
