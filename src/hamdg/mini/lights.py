"""The same images in another light: a domain's copy differs from it in brightness and contrast, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hamdg.config.data import LIGHTS
from hamdg.mini.styles.painter import Pixels

# Moderate: what a model of photos knows of paintings, it knows of these better than chance.
_DARK = 0.5
_FOG, _GRAY = 0.3, 205


def darkened(images: Pixels) -> Pixels:
    """Return images with half of their light."""
    dark: Pixels = np.rint(_DARK * images.astype(np.float32)).astype(np.uint8)
    return dark


def foggy(images: Pixels) -> Pixels:
    """Return images behind 30 % of light gray."""
    fog: Pixels = np.rint((1 - _FOG) * images.astype(np.float32) + _FOG * _GRAY).astype(np.uint8)
    return fog


_CHANGES: Mapping[str, Callable[[Pixels], Pixels]] = dict(zip(LIGHTS, (darkened, foggy), strict=True))


def in_light(light: str, images: Pixels) -> Pixels:
    """Return images in a light; those of the domain itself as they are."""
    return _CHANGES[light](images) if light else images
