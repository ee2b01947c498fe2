"""The embedded benchmark: PACS's seven classes in four rendered domains."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark

MINI = Benchmark(
    name="mini",
    title="mini",
    domains=("art_painting", "cartoon", "photo", "sketch"),
    classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    aliases={
        "art": "art_painting",
        "painting": "art_painting",
        "a": "art_painting",
        "c": "cartoon",
        "p": "photo",
        "s": "sketch",
    },
)
