from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from hamdg.data.augment.crop import crop
from hamdg.data.augment.params import Box, Draw


def picture(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


def torchvisions(image: Tensor, one: Draw, side: int) -> Tensor:
    resized = reference.resized_crop(image.permute(2, 0, 1), *one.box, [side, side], antialias=True)
    resized = reference.horizontal_flip(resized) if one.flip else resized
    assert isinstance(resized, Tensor)
    return resized.permute(1, 2, 0)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (100, 80, Box(5, 7, 60, 66)),
        (64, 64, Box(0, 0, 64, 64)),
        (40, 30, Box(1, 2, 33, 27)),
        (2000, 12, Box(900, 0, 16, 12)),
        (1, 1, Box(0, 0, 1, 1)),
        (3, 200, Box(1, 100, 1, 2)),
    ],
)
def test_crops_are_torchvisions_to_the_bit(height: int, width: int, box: Box, flip: bool) -> None:
    image, one = picture(height, width), Draw(box, flip)
    before = image.clone()
    found = crop(image, one, 48)

    assert torch.equal(found, torchvisions(image, one, 48))
    assert found.is_contiguous()
    assert torch.equal(image, before)


def test_a_crop_of_the_whole_picture_at_its_side_is_a_copy() -> None:
    image = picture(16, 16)
    found = crop(image, Draw(Box(0, 0, 16, 16), False), 16)

    assert torch.equal(found, image)
    found.zero_()
    assert image.any()


def test_a_crop_by_hand() -> None:
    image = torch.arange(4, dtype=torch.uint8).view(2, 2, 1).repeat(1, 1, 3) * 10
    assert crop(image, Draw(Box(0, 0, 2, 2), True), 2)[..., 0].tolist() == [[10, 0], [30, 20]]
    # 0, 10, 20, 30 averaged.
    assert crop(image, Draw(Box(0, 0, 2, 2), False), 1).flatten().tolist() == [15, 15, 15]


@pytest.mark.gpu
def test_crops_on_a_gpu_are_those_of_the_cpu() -> None:
    image, one = picture(100, 80), Draw(Box(5, 7, 60, 66), True)
    found = crop(image.cuda(), one, 48).cpu()

    # The CPU works with integers of limited precision, which may round the other way.
    assert int((found.int() - crop(image, one, 48).int()).abs().max()) <= 1
