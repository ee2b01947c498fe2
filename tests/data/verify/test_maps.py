"""Verification of images and label maps, and what is printed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hamdg import cli

IDS = "--data.ids={7: road, 8: road, 23: sky, 24: person, 0: ignore}"


class Streets(NamedTuple):
    """A folder of two domains, two images each; the maps are half road, half sky."""

    root: Path

    def file(self, domain: str, kind: str, index: int) -> Path:
        end = {"images": "leftImg8bit", "labels": "gtFine_labelIds"}[kind]
        return self.root / domain / kind / "aachen" / f"aachen_{index}_{end}.png"

    def save(self, domain: str, kind: str, index: int, pixels: NDArray[np.uint8]) -> None:
        path = self.file(domain, kind, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def streets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streets:
    monkeypatch.chdir(tmp_path)
    found = Streets(tmp_path / "streets")
    for domain in ("game", "real"):
        for index in range(2):
            found.save(domain, "images", index, np.full((8, 8, 3), 9, np.uint8))
            found.save(domain, "labels", index, np.repeat(np.array([23, 7 + index], np.uint8), 32).reshape(8, 8))
    return found


def verified(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> list[str]:
    assert cli.main(["data", "verify", "custom", "streets", IDS, *arguments]) == code
    return capsys.readouterr().out.splitlines()


def test_classes_are_counted_by_pixels_and_maps(streets: Streets, capsys: pytest.CaptureFixture[str]) -> None:
    lines = verified(capsys, code=0)
    assert [" ".join(line.split()) for line in lines[3:8]] == [
        "road 7, 8 50.00 (2) 50.00 (2)",
        "sky 23 50.00 (2) 50.00 (2)",
        "person 24 0.00 (0) 0.00 (0)",
        "(ignored) 0, 255 0.00 0.00",
        "images 2 2",
    ]
    assert "Ids that `data.ids` names and no map has: 0, 24." in lines
    assert "`game` has no pixel of `person`." in lines
    assert "Every image has a label map of its size, and every id is known: 4 images, 3 classes in 2 domains." in lines
    card = json.loads(Path("data_card.json").read_text())
    assert card["domains"]["real"]["pixels"] == {"7": 32, "8": 32, "23": 64}
    assert card["domains"]["real"]["classes"]["road"] == {"pixels": 64, "maps": 2}


def test_whatever_cannot_be_used_is_named(streets: Streets, capsys: pytest.CaptureFixture[str]) -> None:
    streets.save("game", "labels", 0, np.full((8, 8), 33, np.uint8))
    streets.save("game", "labels", 1, np.full((4, 8), 7, np.uint8))
    streets.save("real", "labels", 0, np.zeros((8, 8), np.uint8))
    streets.file("real", "labels", 1).unlink()
    shown = "\n".join(verified(capsys, code=1))
    for text in (
        "`game`: the id 33, which `data.ids` does not name, has 64 pixels in 1 map.",
        "1 file cannot be used:\n    ",
        "aachen_1_gtFine_labelIds.png: it has 8 x 4 pixels, its image 8 x 8",
        "has no label map for `aachen/aachen_1_leftImg8bit.png` of `images`",
        "`real`: 1 map without a pixel of a class, such as `",
        "Not everything is there or can be used: 3 images, 3 classes in 2 domains.",
    ):
        assert text in shown
    lines = verified(capsys, "--no-decode", code=1)
    assert [line.split()[0] for line in lines[1:4]] == ["class", "----------", "images"] or lines[3].startswith(
        "images"
    )
    assert any("so that ids, sizes and damage were not looked at" in line for line in lines)


def test_digests_of_label_maps_are_refused(streets: Streets, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "verify", "custom", str(streets.root), IDS, "--contents"]) == 2
    assert capsys.readouterr().err == (
        "hamdg: error: `--contents` compares images with a class each; leave it out for label maps.\n"
    )
