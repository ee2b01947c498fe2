from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.data.transforms import EvaluationView
from hamdg.tools.bench import compression as bench


def picture(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return soft.resize((90, 80), Image.Resampling.BICUBIC)


def test_the_difference_of_two_ways_worked_out_by_hand() -> None:
    before = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    after = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    found = bench.difference(before, after, torch.tensor([0, 1, 1, 1]))
    assert found.other == 0.5
    assert found.accuracy == 0.5
    assert found.change == pytest.approx((0.0, (2 / 3) ** 0.5 / 2))
    assert found.logits == pytest.approx((1 + 2 + 2 + 2) / 8 / before.std())


def test_quality_and_size_of_what_is_kept() -> None:
    image = picture()
    plain, raw = bench.encoded(image, 40, None)
    assert (plain.size, raw) == ((45, 40), 3 * 45 * 40)
    sizes, errors = [], []
    for codec in (("JPEG", 50, "4:4:4"), ("JPEG", 95, "4:4:4")):
        found, size = bench.encoded(image, 40, codec)
        sizes.append(size)
        errors.append(np.abs(np.asarray(found).astype(int) - np.asarray(plain)).mean())
    assert sizes[0] < sizes[1] < raw
    assert errors[0] > errors[1]
    assert bench.encoded(image, 100, None)[0] is image


def test_the_yardstick_is_nearly_what_evaluation_sees() -> None:
    for seed in range(3):
        square = EvaluationView(48).render(picture(seed)).astype(int)
        other = bench.of_tensors(picture(seed), 48)
        assert other.shape == square.shape
        assert np.abs(other - square).max() <= 2


def test_every_candidate_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SIDES", (2.0,))
    monkeypatch.setattr(bench, "CODECS", (("JPEG", 90, "4:4:4"), ("WEBP", 90, "4:2:0")))
    lines = list(bench.rows([picture(seed) for seed in range(8)], torch.arange(8) // 2 % 2))
    assert [line[0] for line in lines] == [
        "the files",
        "the files, resized as tensors",
        "96 pixels, not encoded",
        "96 pixels, JPEG 90 4:4:4",
        "96 pixels, WEBP 90 4:2:0",
    ]
    assert lines[0][2:4] == ("0.00", "0.00")
    assert all(len(line) == len(bench.HEADERS) for line in lines)
