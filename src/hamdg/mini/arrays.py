"""What renderers give: all images of a domain, and what they show."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DomainArrays:
    """All images and labels of one domain.

    Args:
        domain: The domain's name.
        images: Images, uint8 `[n, height, width, 3]`; possibly memory-mapped and read-only.
        labels: What training sees: class indices, int64 `[n]`, wrong where label noise was asked for; or maps of a
            class for every pixel, uint8 `[n, height, width]`, 255 where there is none.
        clean_labels: The true ones.
    """

    domain: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    clean_labels: NDArray[np.int64] | NDArray[np.uint8]


def data_digest(arrays: Sequence[DomainArrays]) -> str:
    """Return the SHA-256 over names, images and training labels."""
    digest = hashlib.sha256()
    for domain in arrays:
        digest.update(f"{domain.domain} {domain.images.shape} ".encode())
        digest.update(domain.images.tobytes())
        digest.update(domain.labels.tobytes())
    return digest.hexdigest()
