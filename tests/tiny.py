"""Settings of runs that take about a second: a network of a few thousand numbers, a few images, two steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Tower = Literal["rn", "vit"]
CONF = Path(__file__).parent / "conf"


def tiny_settings(tower: Tower = "vit", **changes: object) -> dict[str, object]:
    """Return the settings by key, those of a sweep file's `set`; in changes `train__steps` stands for `train.steps`."""
    settings: dict[str, object] = {
        "model.name": str(CONF / f"tiny-{tower}.json"),
        "model.weights": "random",
        "train.steps": 2,
        "train.warmup": 1,
        "data.batch_size": 2,
        "data.mini.image_size": 32,
        "data.mini.images_per_class": 4,
    }
    return settings | {key.replace("__", "."): value for key, value in changes.items()}


def as_arguments(settings: Mapping[str, object]) -> list[str]:
    """Return settings as the command line gives them: `--train.steps=2`."""
    return [f"--{key}={value}" for key, value in settings.items()]
