"""Measure how fast each domain is rendered: `python -m hamdg.data.mini.speed`."""

from __future__ import annotations

import time

from hamdg.config import MiniConfig
from hamdg.data.mini.benchmark import CLASSES, DOMAINS, render_image


def images_per_second(domain: str, config: MiniConfig, count: int = 350) -> float:
    """Return how many pictures of a domain one core renders in a second of processor time."""
    for label in range(len(CLASSES)):
        render_image(domain, label, 0, config)
    start = time.process_time()
    for position in range(count):
        render_image(domain, position % len(CLASSES), position // len(CLASSES), config)
    return count / (time.process_time() - start)


def main() -> None:
    """Print the speed of each domain."""
    config = MiniConfig()
    for domain in DOMAINS:
        speed = images_per_second(domain, config)
        print(f"{domain:14s}{speed:8.0f} images/s/core at {config.image_size} px")


if __name__ == "__main__":
    main()
