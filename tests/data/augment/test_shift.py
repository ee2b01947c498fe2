from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hamdg.data.augment import flip_shift


def pictures(count: int = 12, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: Tensor, dy: int, dx: int, flip: bool) -> Tensor:
    """Move one image [c, h, w] with its border repeated, then mirror it, pixel by pixel."""
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
