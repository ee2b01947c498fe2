"""The embedded benchmarks by name: one door for all that need not know which one it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hamdg.config.data import DataConfig
from hamdg.mini import scenes
from hamdg.mini.arrays import DomainArrays
from hamdg.mini.benchmark import CLASSES, class_counts, render_domain
from hamdg.mini.cache import load_domain

SCENES = "mini-scenes"


def load_rendered(benchmark: str, domain: str, data: DataConfig, cache: Path) -> DomainArrays:
    """Return one domain, its images memory-mapped from the cache.

    Args:
        benchmark: An embedded benchmark.
        domain: One of its domains.
        data: Has the section that says how it is rendered.
        cache: Folder of the cached files, created if need be.

    Raises:
        ConfigError: If the domain or a setting is wrong.
        StorageError: If the cache cannot be written.
    """
    if benchmark == SCENES:
        return scenes.load_scenes(domain, data.scenes, cache)
    return load_domain(domain, data.mini, cache)


def render(benchmark: str, domain: str, data: DataConfig) -> DomainArrays:
    """Return one domain, rendered; nothing is kept.

    Raises:
        ConfigError: If the domain or a setting is wrong.
    """
    return scenes.render_scenes(domain, data.scenes) if benchmark == SCENES else render_domain(domain, data.mini)


def rendered_side(benchmark: str, data: DataConfig) -> int:
    """Return the side of a benchmark's images in pixels."""
    return data.scenes.image_size if benchmark == SCENES else data.mini.image_size


def rendered_classes(benchmark: str, domain: str, data: DataConfig) -> NDArray[np.int64]:
    """Return the class of every image of a domain, without rendering one; zeros where images have label maps."""
    if benchmark == SCENES:
        return np.zeros(data.scenes.images, np.int64)
    # They are rendered class by class.
    return np.repeat(np.arange(len(CLASSES)), class_counts(domain, data.mini))
