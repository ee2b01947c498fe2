from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from hamdg.data.augment import Draw, PresetName, draw, prepare
from hamdg.data.augment.crop import crop
from hamdg.data.augment.presets import together
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


def drawn(preset: PresetName, seed: int) -> list[Draw]:
    return draw(preset, SIZES, torch.Generator().manual_seed(seed))


def torchvisions(picture: Tensor, one: Draw) -> Tensor:
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
    images, draws = pictures(), drawn(preset, 11)
    expected = torch.stack([torchvisions(image, one) for image, one in zip(images, draws, strict=True)])
    before = [image.clone() for image in images]
    found = prepare(images, preset, FORMAT, 11)

    # Some 2e-6 for a change of color (see test_color), four of them, divided by a deviation of 0.26.
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
    assert found.shape == (len(images), 3, 32, 32)
    assert found.dtype == torch.float32
    assert any(one.gray for one in draws) == (preset == "domainbed")
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
def test_stacked_pictures_are_as_good_as_a_list(preset: PresetName) -> None:
    images = [image[:30, :20] if min(image.shape[:2]) > 20 else image for image in pictures()]
    images = [image for image in images if image.shape == (30, 20, 3)]

    assert len(images) > 10
    assert torch.equal(prepare(torch.stack(images), preset, FORMAT, 5), prepare(images, preset, FORMAT, 5))


def test_the_steps_for_accelerators_are_those_for_single_pictures() -> None:
    images, draws = pictures(), drawn("domainbed", 11)
    crops = torch.stack([crop(image, one, FORMAT.side) for image, one in zip(images, draws, strict=True)])

    found = together(crops, draws, FORMAT)
    torch.testing.assert_close(found, prepare(images, "domainbed", FORMAT, 11), rtol=0, atol=3e-5)


def test_the_steps_for_accelerators_need_no_colors() -> None:
    images, draws = pictures(), drawn("clip", 11)
    crops = torch.stack([crop(image, one, FORMAT.side) for image, one in zip(images, draws, strict=True)])

    torch.testing.assert_close(together(crops, draws, FORMAT), prepare(images, "clip", FORMAT, 11), rtol=0, atol=3e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["clip", "domainbed"])
def test_a_gpu_prepares_the_same_pictures(preset: PresetName) -> None:
    images = pictures()
    found = prepare([image.cuda() for image in images], preset, FORMAT, 11).cpu()

    # Crops may differ by one of 255 levels, which a deviation of 0.26 and changes of color enlarge.
    torch.testing.assert_close(found, prepare(images, preset, FORMAT, 11), rtol=0, atol=0.1)
