"""The embedded benchmark for semantic segmentation: rendered streets, a game's and four looks of the real world."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark

MINI_SCENES = Benchmark(
    name="mini-scenes",
    title="mini-scenes",
    domains=("day", "dusk", "fog", "game", "rain"),
    classes=("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car"),
    task="segmentation",
)
