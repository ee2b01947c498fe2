"""Each change of color against torchvision's on floats.

Both work in single precision, in another order of operations: a few units of 6e-8, times 6 for hues, which are counted
in sixths of the color circle.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from hamdg.data.augment.color import ADJUST, gray_of, grayscale_, hue_
from hamdg.data.augment.params import ADJUSTMENTS, Adjustment

TOLERANCE = 2e-6
REFERENCES: dict[Adjustment, Callable[[Tensor, float], Tensor]] = {
    "brightness": reference.adjust_brightness,
    "contrast": reference.adjust_contrast,
    "saturation": reference.adjust_saturation,
    "hue": reference.adjust_hue,
}


def picture() -> Tensor:
    """Return an image [3, 40, 40] of random colors; of colors with equal, no and full channels; and of grays."""
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(2))
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0])
    corners = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 4, 16)
    image[:, :4, :16] = corners
    image[:, 5] = image[:1, 5]
    image[:, 6] = (image[:, 6] * 255).round() / 255
    return image


def factors(name: Adjustment) -> list[float]:
    return [-0.3, -1 / 6, -0.05, 0.0, 0.1, 1 / 3 - 1e-6, 0.3] if name == "hue" else [0.7, 0.95, 1.0, 1.1, 1.3]


@pytest.mark.parametrize(("name", "factor"), [(name, factor) for name in ADJUSTMENTS for factor in factors(name)])
def test_each_change_is_torchvisions(name: Adjustment, factor: float) -> None:
    image = picture()
    expected = REFERENCES[name](image, factor)
    found = ADJUST[name](image, factor)

    assert found.data_ptr() == image.data_ptr()
    torch.testing.assert_close(image, expected, rtol=0, atol=TOLERANCE)
    assert -TOLERANCE <= float(found.min()) <= float(found.max()) <= 1 + TOLERANCE


def test_grayscale_is_torchvisions() -> None:
    image = picture()
    expected = reference.rgb_to_grayscale(image, num_output_channels=3)

    torch.testing.assert_close(gray_of(image), expected[:1], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(grayscale_(image), expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(image, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ADJUSTMENTS)
def test_a_batch_with_a_factor_each_is_each_by_itself(name: Adjustment) -> None:
    images = torch.stack([picture(), picture().flip(1), picture().flip(0)])
    each = [-0.3, 0.01, 0.3] if name == "hue" else [0.7, 1.0, 1.3]
    expected = torch.stack([ADJUST[name](image.clone(), factor) for image, factor in zip(images, each, strict=True)])
    found = ADJUST[name](images, torch.tensor(each).view(3, 1, 1, 1))

    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_a_third_of_the_circle_turns_red_into_green_and_green_into_blue() -> None:
    image = picture()
    turned = hue_(image.clone(), 1 / 3)
    torch.testing.assert_close(turned, image[[2, 0, 1]], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(hue_(image.clone(), -1 / 3), image[[1, 2, 0]], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("brightness", 1.25, [1.0, 0.5, 0.25]),
        ("contrast", 0.5, [0.64836, 0.44836, 0.34836]),
        ("saturation", 0.5, [0.64836, 0.44836, 0.34836]),
        # Hue 20 degrees and 60 more: 80 degrees, a third of the way from yellow to green.
        ("hue", 1 / 6, [0.6, 0.8, 0.2]),
    ],
)
def test_each_change_by_hand(name: Adjustment, factor: float, expected: list[float]) -> None:
    # Brightness 0.2989 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2 = 0.49672, of the pixel and of the whole image.
    image = torch.tensor([0.8, 0.4, 0.2]).view(3, 1, 1)
    assert ADJUST[name](image, factor).flatten().tolist() == pytest.approx(expected, abs=1e-6)
