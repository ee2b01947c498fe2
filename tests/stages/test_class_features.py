"""A folder of drawn shapes, whose names the shipped CLIP never heard, as somebody's own data set."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hamdg import cli
from hamdg.report.contract import read_record

SHAPES = ("circle", "cross", "square", "triangle")
# Ground and line color of each domain.
DRAWN = {"chalk": ("#203020", "#e8e8d8"), "ink": ("#ffffff", "#101018"), "paint": ("#c8b890", "#b03020")}
SIDE, COUNT = 48, 10


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four shapes in three domains."""
    root, rng = tmp_path_factory.mktemp("own") / "shapes", np.random.default_rng(0)
    for domain, (ground, line) in DRAWN.items():
        for shape in SHAPES:
            folder = root / domain / shape
            folder.mkdir(parents=True)
            for index in range(COUNT):
                picture = Image.new("RGB", (SIDE, SIDE), ground)
                _draw(ImageDraw.Draw(picture), shape, line, rng, filled=domain == "paint")
                picture.save(folder / f"{index:02}.png", compress_level=1)
    return root


def _draw(draw: ImageDraw.ImageDraw, shape: str, line: str, rng: np.random.Generator, filled: bool) -> None:
    x, y = rng.uniform(20, 28, 2)
    radius, turn = rng.uniform(11, 17), rng.uniform(-0.2, 0.2)
    fill = line if filled else None
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill, line, 2)
        return
    corners = {"cross": 4, "square": 4, "triangle": 3}[shape]
    start = turn - math.pi / 2 + (math.pi / 4 if shape == "square" else 0)
    angles = [start + 2 * math.pi * corner / corners for corner in range(corners)]
    points = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    if shape == "cross":
        draw.line([points[0], points[2]], line, 4 if filled else 2)
        draw.line([points[1], points[3]], line, 4 if filled else 2)
    else:
        draw.polygon(points, fill, line, 2)


def arguments(shapes: Path, root: Path, *overrides: str) -> list[str]:
    recipe = root / "recipe.yaml"
    recipe.write_text(
        f"benchmark: custom\nheld_out: paint\ndata: {{root: {shapes}, batch_size: 8}}\n"
        f"train: {{steps: 12, warmup: 2, check_every: 6}}\n"
        f"runtime: {{root: {root / 'runs'}, threads: 1, report: false}}\n"
    )
    return ["run", str(recipe), *overrides]


def test_classes_that_the_text_tower_cannot_tell_apart_stop_a_run_before_anything_is_written(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(shapes, tmp_path)) == 2
    error = capsys.readouterr().err
    assert "gives the classes `circle`, `cross`, `square`, `triangle` the same features" in error
    assert not (tmp_path / "runs").exists()


def test_words_that_the_text_tower_knows_let_a_run_begin(shapes: Path, tmp_path: Path) -> None:
    words = "--data.words={circle: person, cross: guitar, square: house, triangle: giraffe}"
    assert cli.main(arguments(shapes, tmp_path, words, "--controls.erm=false")) == 0
    (record,) = (tmp_path / "runs").rglob("record.json")
    assert read_record(record)["words"] == ["person", "guitar", "house", "giraffe"]
