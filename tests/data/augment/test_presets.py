from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from hamdg.data.augment import AugmentParams, PresetName, flip_shift, prepare, sample_params
from hamdg.data.augment.params import Box
from hamdg.data.augment.presets import augment_stacked, crop
from hamdg.data.preprocess import Preprocess

FORMAT = Preprocess(32)
SIZES = [(40, 50), (64, 64), (33, 21), (100, 30), (31, 47), (1, 1), (90, 90), (32, 32)] * 3


def pictures() -> list[Tensor]:
    """Return images of many sizes: waves of color with noise."""
    rng = np.random.default_rng(3)
    result = []
    for height, width in SIZES:
        waves = np.sin(np.linspace(0, 7, height)[:, None, None] + np.linspace(0, 5, width)[:, None] + [0, 2, 4])
        noisy = 127 + 100 * waves + rng.normal(0, 25, (height, width, 3))
        result.append(torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)))
    return result


def drawn(preset: PresetName, seed: int) -> list[AugmentParams]:
    return sample_params(preset, SIZES, torch.Generator().manual_seed(seed))


def torchvisions(picture: Tensor, one: AugmentParams) -> Tensor:
    """Apply torchvision's transforms with what was drawn, on floats after the crop."""
    image = reference.resized_crop(picture.permute(2, 0, 1), *one.box, [FORMAT.side] * 2, antialias=True)
    if one.flip:
        image = reference.horizontal_flip(image)
    image = reference.to_dtype(image, torch.float32, scale=True)
    for name, factor in one.jitter:
        image = getattr(reference, f"adjust_{name}")(image, factor)
    if one.gray:
        image = reference.rgb_to_grayscale(image, num_output_channels=3)
    image = reference.normalize(image, list(FORMAT.mean), list(FORMAT.std))
    assert isinstance(image, Tensor)
    return image


@pytest.mark.parametrize("preset", ["clip", "domainbed"])
def test_the_whole_chain_is_torchvisions(preset: PresetName) -> None:
    images, params = pictures(), drawn(preset, 11)
    expected = torch.stack([torchvisions(image, one) for image, one in zip(images, params, strict=True)])
    before = [image.clone() for image in images]
    found = prepare(images, preset, FORMAT, 11)

    # Some 2e-6 for a change of color (see test_color), four of them, divided by a deviation of 0.26.
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
    assert found.shape == (len(images), 3, 32, 32)
    assert found.dtype == torch.float32
    assert any(one.gray for one in params) == (preset == "domainbed")
    assert all(torch.equal(image, old) for image, old in zip(images, before, strict=True))


@pytest.mark.parametrize("preset", ["clip", "domainbed"])
def test_one_seed_gives_one_result(preset: PresetName) -> None:
    images = pictures()
    first = prepare(images, preset, FORMAT, 5)
    torch.manual_seed(99)

    assert torch.equal(prepare(images, preset, FORMAT, 5), first)
    assert not torch.equal(prepare(images, preset, FORMAT, 6), first)
    assert torch.equal(prepare(images[:4], preset, FORMAT, 5), first[:4])


@pytest.mark.parametrize("preset", ["clip", "domainbed"])
def test_stacked_images_are_as_good_as_a_list(preset: PresetName) -> None:
    images = [image[:30, :20] if min(image.shape[:2]) > 20 else image for image in pictures()]
    images = [image for image in images if image.shape == (30, 20, 3)]

    assert len(images) > 10
    assert torch.equal(prepare(torch.stack(images), preset, FORMAT, 5), prepare(images, preset, FORMAT, 5))


def test_the_steps_for_accelerators_are_those_for_single_images() -> None:
    images, params = pictures(), drawn("domainbed", 11)
    crops = torch.stack([crop(image, one, FORMAT.side) for image, one in zip(images, params, strict=True)])

    found = augment_stacked(crops, params, FORMAT)
    torch.testing.assert_close(found, prepare(images, "domainbed", FORMAT, 11), rtol=0, atol=3e-5)


def test_the_steps_for_accelerators_need_no_colors() -> None:
    images, params = pictures(), drawn("clip", 11)
    crops = torch.stack([crop(image, one, FORMAT.side) for image, one in zip(images, params, strict=True)])

    torch.testing.assert_close(
        augment_stacked(crops, params, FORMAT), prepare(images, "clip", FORMAT, 11), rtol=0, atol=3e-6
    )


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["clip", "domainbed"])
def test_a_gpu_prepares_the_same_images(preset: PresetName) -> None:
    images = pictures()
    found = prepare([image.cuda() for image in images], preset, FORMAT, 11).cpu()

    # Crops may differ by one of 255 levels, which a deviation of 0.26 and changes of color enlarge.
    torch.testing.assert_close(found, prepare(images, preset, FORMAT, 11), rtol=0, atol=0.1)


def picture(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


def torchvisions_crop(image: Tensor, one: AugmentParams, side: int) -> Tensor:
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
    image, one = picture(height, width), AugmentParams(box, flip)
    before = image.clone()
    found = crop(image, one, 48)

    assert torch.equal(found, torchvisions_crop(image, one, 48))
    assert found.is_contiguous()
    assert torch.equal(image, before)


def test_a_crop_of_the_whole_image_at_its_side_is_a_copy() -> None:
    image = picture(16, 16)
    found = crop(image, AugmentParams(Box(0, 0, 16, 16), False), 16)

    assert torch.equal(found, image)
    found.zero_()
    assert image.any()


def test_a_crop_by_hand() -> None:
    image = torch.arange(4, dtype=torch.uint8).view(2, 2, 1).repeat(1, 1, 3) * 10
    assert crop(image, AugmentParams(Box(0, 0, 2, 2), True), 2)[..., 0].tolist() == [[10, 0], [30, 20]]
    # 0, 10, 20, 30 averaged.
    assert crop(image, AugmentParams(Box(0, 0, 2, 2), False), 1).flatten().tolist() == [15, 15, 15]


@pytest.mark.gpu
def test_crops_on_a_gpu_are_those_of_the_cpu() -> None:
    image, one = picture(100, 80), AugmentParams(Box(5, 7, 60, 66), True)
    found = crop(image.cuda(), one, 48).cpu()

    # The CPU works with integers of limited precision, which may round the other way.
    assert int((found.int() - crop(image, one, 48).int()).abs().max()) <= 1


def squares(count: int = 12, height: int = 32, width: int = 32) -> Tensor:
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
def test_flip_shift_equals_moving_each_image_by_its_own_draw(height: int, width: int, reach: float) -> None:
    images = squares(6, height, width)
    params = generator()
    flips = torch.rand(6, generator=params) < 0.5
    limit_y, limit_x = round(height * reach), round(width * reach)
    dy = torch.randint(-limit_y, limit_y + 1, (6,), generator=params).tolist()
    dx = torch.randint(-limit_x, limit_x + 1, (6,), generator=params).tolist()
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
    images = squares()
    before = images.clone()
    first = flip_shift(images, generator(3))
    torch.manual_seed(99)

    assert torch.equal(flip_shift(images, generator(3)), first)
    assert not torch.equal(flip_shift(images, generator(4)), first)
    assert torch.equal(images, before)
