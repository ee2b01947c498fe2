from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from hamdg.data.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Channels,
    Preprocess,
    normalize,
    resize,
    to_float,
)


def pictures(count: int = 12, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every_value(side: int) -> Tensor:
    """Return uint8 images [2, side, side, 3] that hold all 256 values in each channel."""
    values = torch.arange(2 * side * side * 3) % 256
    return (values[torch.randperm(len(values), generator=generator())]).to(torch.uint8).view(2, side, side, 3)


def test_to_float_moves_the_channels_and_scales() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 3), dtype=torch.uint8, generator=generator())
    images[0, 0, 0] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    before = images.clone()
    floats = to_float(images)

    assert floats[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])
    for n, y, x, c in np.ndindex(2, 3, 5, 3):
        assert float(floats[n, c, y, x]) == pytest.approx(int(images[n, y, x, c]) / 255)
    assert torch.equal(images, before)


def test_normalize_works_channel_by_channel() -> None:
    images, mean, std = pictures(2, 3, 4), (0.5, 0.25, 0.125), (0.5, 2.0, 0.25)
    found = normalize(images, mean, std)

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


def test_resize_leaves_images_of_the_right_side_alone() -> None:
    images = pictures()

    assert resize(images, 32) is images


@pytest.mark.parametrize(("mean", "std"), [(CLIP_MEAN, CLIP_STD), (IMAGENET_MEAN, IMAGENET_STD)])
def test_input_format_is_torchvisions_bit_for_bit(mean: Channels, std: Channels) -> None:
    images = every_value(48)
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([reference(Image.fromarray(image.numpy())) for image in images])
    before = images.clone()
    found = Preprocess(48, mean, std)(images)

    assert all(set(images[..., c].flatten().tolist()) == set(range(256)) for c in range(3))
    assert torch.equal(found, expected)
    assert torch.equal(images, before)


def test_input_format_keeps_the_channels_of_a_pixel_together_in_memory() -> None:
    # As `to_float` does: a convolution may round differently for another layout.
    assert Preprocess(16)(every_value(16)).is_contiguous(memory_format=torch.channels_last)


def test_input_format_takes_images_that_are_parts_of_others() -> None:
    images = every_value(20)
    part = images[:, 2:18, 3:19]

    assert torch.equal(Preprocess(16)(part), Preprocess(16)(part.contiguous()))


def test_input_format_resizes_images_of_another_side_first() -> None:
    images, wanted = every_value(32), Preprocess(48, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    expected = normalize(resize(to_float(images), 48), wanted.mean, wanted.std)

    assert torch.equal(wanted(images), expected)
    assert torch.equal(wanted.fit(to_float(images)), expected)


def test_what_input_format_gives_begins_with_a_cache_line_and_belongs_to_the_caller() -> None:
    images, wanted = every_value(16), Preprocess(16)
    first, before = wanted(images), wanted(images).clone()
    wanted(images).zero_()

    assert first.data_ptr() % 64 == 0
    assert torch.equal(first, before)


def test_input_format_takes_no_images() -> None:
    assert Preprocess(16)(torch.empty(0, 16, 16, 3, dtype=torch.uint8)).shape == (0, 3, 16, 16)


def test_normalizing_in_place_is_normalizing() -> None:
    images, wanted = pictures(3, 16, 16), Preprocess(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    expected = normalize(images, wanted.mean, wanted.std)

    # A product with the reciprocal instead of a quotient: one rounding more.
    torch.testing.assert_close(wanted.normalize_(images[0].clone()), expected[0], rtol=3e-7, atol=0)
    assert wanted.normalize_(images) is images
    torch.testing.assert_close(images, expected, rtol=3e-7, atol=0)


def test_known_normalizations() -> None:
    assert Preprocess(224) == Preprocess(224, CLIP_MEAN, CLIP_STD)
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.gpu
def test_input_format_on_a_gpu_is_that_of_the_cpu() -> None:
    images, wanted = every_value(32), Preprocess(32)
    # A GPU multiplies by 1 / 255 instead of dividing.
    torch.testing.assert_close(wanted(images.cuda()).cpu(), wanted(images), rtol=1e-6, atol=1e-6)


def test_images_of_one_model_become_those_of_another() -> None:
    pixels = pictures(3, 32, 32)
    clip, imagenet = Preprocess(32), Preprocess(32, IMAGENET_MEAN, IMAGENET_STD)
    given = clip.fit(pixels)
    torch.testing.assert_close(clip.convert(given, imagenet), imagenet.fit(pixels))
    larger = Preprocess(48, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(clip.convert(given, larger), larger.fit(pixels), atol=1e-5, rtol=1e-5)
    assert clip.convert(given, Preprocess(32)) is given


def test_a_gradient_passes_through_a_conversion() -> None:
    given = Preprocess(32).fit(pictures(1)).requires_grad_()
    torch.autograd.backward(Preprocess(32).convert(given, Preprocess(32, IMAGENET_MEAN, (0.5, 0.5, 0.5))).sum())
    expected = torch.tensor(CLIP_STD).view(3, 1, 1) / 0.5
    assert given.grad is not None
    torch.testing.assert_close(given.grad, expected.expand_as(given))
