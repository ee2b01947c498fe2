from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.data.cache.reader import open_images
from hamdg.data.find_images import list_domain
from hamdg.data.images import Images
from hamdg.data.locations import locate
from hamdg.data.preprocess import Preprocess
from hamdg.data.registry import benchmark
from hamdg.data.transforms import EvaluationView
from hamdg.tools.bench import loading as bench
from hamdg.tools.bench.__main__ import main as run

PACS = benchmark("pacs")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a PACS with one image of every class and domain."""
    rng = np.random.default_rng(0)
    for domain in PACS.domains:
        for name in PACS.classes:
            folder = tmp_path / "pacs" / domain / name
            folder.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(folder / "one.jpg")
    return tmp_path / "pacs"


def test_both_ways_evaluate_the_same_pictures(root: Path, tmp_path: Path) -> None:
    listing = list_domain(locate(PACS, str(root)), "photo")
    positions = np.array([3, 0, 6])
    images = open_images(listing, EvaluationView(bench.SIDE), tmp_path / "cache").read(positions)

    assert isinstance(images, torch.Tensor)
    expected = bench.classic_batch(listing, positions.tolist(), bench.classic_transform("evaluation"))
    assert torch.equal(bench.FORMAT(images), expected)


def test_the_classic_way_is_domainbeds() -> None:
    steps = repr(bench.classic_transform("domainbed"))

    for step in (
        "RandomResizedCrop(size=(224, 224), scale=(0.7, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear",
        "RandomHorizontalFlip(p=0.5)",
        "ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.3, 0.3))",
        "RandomGrayscale(p=0.1)",
    ):
        assert step in steps
    assert "ColorJitter" not in repr(bench.classic_transform("clip"))
    assert "RandomResizedCrop" in repr(bench.classic_transform("clip"))


def test_every_use_of_pictures_is_measured(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PASSES", 1)
    monkeypatch.setattr(bench, "SIDE", 32)
    monkeypatch.setattr(bench, "FORMAT", Preprocess(32))
    monkeypatch.setattr(bench, "set_threads", lambda wanted: 1)
    run(["loading", "--data", str(root), "--most", "1"])
    said = capsys.readouterr().out

    assert "28 images of PACS, 1 thread(s), 1 round(s)" in said
    for title in ("preset domainbed", "preset clip", "evaluation, first reading", "evaluation, later readings"):
        assert title in said


def test_a_line_has_medians_and_the_range_of_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    # A round that is not counted, then three: seconds of the classic way and of two passes of ours.
    seconds = [9, 9, 9, 2, 0.1, 0.1, 4, 0.1, 0.1, 3, 0.5, 0.5]
    clock = iter([moment for each in seconds for moment in (10.0, 10.0 + each)])
    opened: list[int] = []

    def fresh() -> list[Images]:
        opened.append(1)
        return []

    monkeypatch.setattr(bench, "PASSES", 2)
    monkeypatch.setattr("hamdg.tools.bench.loading.time.process_time", lambda: next(clock))
    contest = bench.Comparison("reading", 5, lambda: None, fresh, lambda given: None)

    # Classic: 60, 30 and 40 images a second; ours: 1200, 1200 and 240.
    assert bench.row(contest, 120, 3) == ("reading", "40", "1,200", "30.0 (6.0, 40.0)", "5")
    assert len(opened) == 8


def test_without_pictures_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(str(tmp_path / "nowhere"))
    said = capsys.readouterr()
    assert "loading is not measured: The folder `" in said.out + said.err
    assert "does not exist" in said.out + said.err
