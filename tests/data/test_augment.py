from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hamdg.data.augment import flip_shift, normalise, resize, to_float


def pictures(count: int = 12, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: Tensor, dy: int, dx: int, flip: bool) -> Tensor:
    """Move one picture [c, h, w] with its border repeated, then mirror it, pixel by pixel."""
    channels, height, width = image.shape
    result = torch.empty_like(image)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                row = min(max(y + dy, 0), height - 1)
                column = min(max((width - 1 - x if flip else x) + dx, 0), width - 1)
                result[c, y, x] = image[c, row, column]
    return result


@pytest.mark.parametrize(("height", "width", "reach"), [(16, 16, 1 / 16), (12, 20, 1 / 4)])
def test_flip_shift_equals_moving_each_picture_by_its_own_draw(height: int, width: int, reach: float) -> None:
    images = pictures(6, height, width)
    draws = generator()
    flips = torch.rand(6, generator=draws) < 0.5
    limit_y, limit_x = round(height * reach), round(width * reach)
    dy = torch.randint(-limit_y, limit_y + 1, (6,), generator=draws).tolist()
    dx = torch.randint(-limit_x, limit_x + 1, (6,), generator=draws).tolist()
    expected = [shifted(images[k], dy[k], dx[k], bool(flips[k])) for k in range(6)]

    assert 0 < flips.sum() < 6
    assert torch.equal(flip_shift(images, generator(), reach), torch.stack(expected))


def test_flips_and_shifts_cover_their_range() -> None:
    columns = torch.arange(32.0).expand(400, 3, 32, 32)
    middles = flip_shift(columns, generator())[:, 0, 10]
    flipped = middles[:, 15] > middles[:, 16]
    moves = {int(m) for m in middles[~flipped][:, 16] - 16}

    assert 160 < int(flipped.sum()) < 240
    assert moves == {-2, -1, 0, 1, 2}


def test_one_generator_state_gives_one_result() -> None:
    images = pictures()
    before = images.clone()
    first = flip_shift(images, generator(3))
    torch.manual_seed(99)

    assert torch.equal(flip_shift(images, generator(3)), first)
    assert not torch.equal(flip_shift(images, generator(4)), first)
    assert torch.equal(images, before)


def test_to_float_moves_the_channels_and_scales() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 3), dtype=torch.uint8, generator=generator())
    images[0, 0, 0] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    before = images.clone()
    floats = to_float(images)

    assert floats[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])
    for n, y, x, c in np.ndindex(2, 3, 5, 3):
        assert float(floats[n, c, y, x]) == pytest.approx(int(images[n, y, x, c]) / 255)
    assert torch.equal(images, before)


def test_normalise_works_channel_by_channel() -> None:
    images, mean, std = pictures(2, 3, 4), (0.5, 0.25, 0.125), (0.5, 2.0, 0.25)
    found = normalise(images, mean, std)

    for n, c, y, x in np.ndindex(2, 3, 3, 4):
        assert float(found[n, c, y, x]) == pytest.approx((float(images[n, c, y, x]) - mean[c]) / std[c], abs=1e-6)


@pytest.mark.parametrize("side", [12, 24, 48])
def test_resize_is_pillows_bicubic(side: int) -> None:
    images = pictures(2, 32, 32).round()  # black and white, so that bicubic overshoots
    found = resize(images, side)
    for n in range(2):
        for c in range(3):
            plane = Image.fromarray(images[n, c].numpy()).resize((side, side), Image.Resampling.BICUBIC)
            expected = np.clip(np.asarray(plane), 0, 1)
            np.testing.assert_allclose(found[n, c].numpy(), expected, atol=1e-4)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_resize_leaves_pictures_of_the_right_side_alone() -> None:
    images = pictures()

    assert resize(images, 32) is images
