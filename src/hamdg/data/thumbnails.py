"""Reduced copies of a domain's images, for pages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hamdg.data.images import Images

# Side of the images that are kept for pages, which hold dozens of them.
THUMBNAIL = 96


def thumbnails(images: Images, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images as they are evaluated, `[n, h, w, 3]`, reduced where they are large.

    Args:
        images: Images of one size.
        positions: Which of them, at least one.
    """
    read = images.read(positions)
    # The sizes of images that are evaluated are all the same.
    assert isinstance(read, Tensor)
    return np.stack([_reduced(one.numpy()) for one in read])


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return np.asarray(image)
