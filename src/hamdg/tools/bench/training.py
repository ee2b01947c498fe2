"""Rendering, lock-steps and the history: `python -m hamdg.tools.bench training`."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from hamdg import console
from hamdg.config.recipe import DataConfig, HistoryConfig, MiniConfig, ModelConfig
from hamdg.merge.history import RunningMean
from hamdg.mini import CLASSES, DOMAINS
from hamdg.mini.benchmark import render_image
from hamdg.models.clip import load_clip
from hamdg.models.tower import ImageTower
from hamdg.stages.context import set_threads

SOURCES = 3
# The image tower of CLIP ViT-B/16.
LARGE = 86_000_000


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of an action, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def images_per_second(domain: str, config: MiniConfig, count: int = 350) -> float:
    """Return how many images of a domain one core renders in a second of processor time."""
    for label in range(len(CLASSES)):
        render_image(domain, label, 0, config)
    start = time.process_time()
    for position in range(count):
        render_image(domain, position % len(CLASSES), position // len(CLASSES), config)
    return count / (time.process_time() - start)


def rendering_rows() -> list[tuple[str, str]]:
    """Return how fast each domain of the embedded benchmark is rendered."""
    return [(f"render {name}", f"{images_per_second(name, MiniConfig()):.0f} images/s/core") for name in DOMAINS]


def training_rows(model: ModelConfig) -> list[tuple[str, str]]:
    """Return the time of one bare lock-step of all sources, and what the history adds to it."""
    loaded = load_clip(model)
    towers = [ImageTower(loaded) for _ in range(SOURCES)]
    images = torch.zeros(DataConfig().batch_size, 3, loaded.image_size, loaded.image_size)
    means = [RunningMean() for _ in towers]

    def step() -> None:
        for tower in towers:
            tower.zero_grad()
            tower(images)[:, 0].sum().backward()

    def remember() -> None:
        for mean, tower in zip(means, towers, strict=True):
            mean.update([parameter.detach() for parameter in tower.parameters()])

    training, history, every = seconds(step), seconds(remember, 50), HistoryConfig().every
    return [
        (f"{model.name}: {SOURCES} forward and backward passes of {len(images)}", f"{1e3 * training:.0f} ms"),
        (
            f"{model.name}: {SOURCES} history updates",
            f"{1e3 * history:.2f} ms ({history / training / every:.2%} of the passes, at every {every}th step)",
        ),
    ]


def history_rows(size: int) -> list[tuple[str, str]]:
    """Return the time that a history update takes on an image tower of `size` parameters."""
    mean, weights = RunningMean(), [torch.randn(size, generator=torch.Generator().manual_seed(0))]
    update = seconds(lambda: mean.update(weights))
    return [(f"history update of {size / 1e6:.0f} M parameters", f"{1e3 * update:.0f} ms")]


def main() -> None:
    """Print the table."""
    threads = set_threads(1)
    rows = [*rendering_rows(), *training_rows(ModelConfig()), *history_rows(LARGE)]
    console.table(("what", "speed"), rows, title=f"{threads} thread(s)")
