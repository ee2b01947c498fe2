"""Views: CLIP's square bit for bit, and a short side from which no crop is upsampled."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, RandomResizedCrop, Resize

from hamdg.data import transforms
from hamdg.data.decode import decoded
from hamdg.data.transforms import EvaluationView, TrainingView, WholeView, training_short

SIZES = [(1, 1), (1, 5), (227, 227), (224, 224), (224, 301), (300, 224), (223, 225), (640, 480), (333, 500), (31, 17)]


def picture(width: int, height: int) -> Image.Image:
    """Draw something with soft and with hard edges."""
    rng = np.random.default_rng(width * 10_007 + height)
    soft = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    hard = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.blend(soft, Image.fromarray(hard), 0.3)


def torchvision_s(image: Image.Image, side: int) -> NDArray[np.uint8]:
    steps = Compose([Resize(side, InterpolationMode.BICUBIC), CenterCrop(side)])
    return np.array(steps(image))


@pytest.mark.parametrize("side", [32, 224, 225])
@pytest.mark.parametrize("size", SIZES)
def test_the_evaluation_view_is_torchvision_s_bit_for_bit(side: int, size: tuple[int, int]) -> None:
    image = picture(*size)
    pixels = EvaluationView(side).render(image)
    assert pixels.shape == (side, side, 3)
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, torchvision_s(image, side))


def test_many_sizes_are_torchvision_s_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    for width, height in rng.integers(1, 120, (150, 2)).tolist():
        image = picture(width, height)
        np.testing.assert_array_equal(EvaluationView(37).render(image), torchvision_s(image, 37), f"{width} x {height}")


@pytest.mark.parametrize("size", [(2_000, 20), (20, 2_000)])
def test_long_and_narrow_images_are_cut_first(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(*size)
    expected = torchvision_s(image, 64).astype(int)
    monkeypatch.setattr(transforms, "_MOST_PIXELS", 10_000)
    assert np.abs(EvaluationView(64).render(image) - expected).max() <= 1


@pytest.mark.parametrize("size", [(10_000, 10), (10, 10_000)])
def test_long_and_narrow_images_take_little_memory(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def recorded(self: Image.Image, size: tuple[int, int], *args: object, **kwargs: object) -> Image.Image:
        asked.append(size)
        return resize(self, size, *args, **kwargs)  # type: ignore[arg-type]

    image = picture(*size)
    monkeypatch.setattr(Image.Image, "resize", recorded)
    assert EvaluationView(224).render(image).shape == (224, 224, 3)
    assert asked == [(224, 224)]  # 224,000 x 224 otherwise
    assert TrainingView(310).render(image).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((227, 227), (227, 227)),
        ((310, 900), (310, 900)),
        ((311, 622), (310, 620)),
        ((1000, 500), (620, 310)),
        ((1, 1), (1, 1)),
    ],
)
def test_the_training_view_reduces_the_short_side_and_never_enlarges(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image, view = picture(*size), TrainingView(310)
    assert view.size(*size) == expected
    pixels = view.render(image)
    assert pixels.shape == (expected[1], expected[0], 3)
    assert pixels.flags.writeable
    if size == expected:
        np.testing.assert_array_equal(pixels, np.array(image))


def test_the_training_view_has_torchvision_s_size_and_the_pixels_of_hamming_s_window() -> None:
    image = picture(641, 480)
    expected = Resize(310, InterpolationMode.BICUBIC)(image)
    pixels = TrainingView(310).render(image)
    np.testing.assert_array_equal(pixels, np.array(image.resize(expected.size, Image.Resampling.HAMMING)))


def jpeg(width: int, height: int, **options: object) -> bytes:
    stream = BytesIO()
    soft = np.random.default_rng(0).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    image = Image.fromarray(soft).resize((width, height), Image.Resampling.BICUBIC)
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(620, 620), (1_500, 620), (900, 1_300), (2_500, 2_600), (3_001, 2_481)])
def test_of_a_large_jpeg_a_part_is_decoded_for_training_and_little_differs(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, view, drafts = jpeg(*size), TrainingView(310), []
    draft = JpegImageFile.draft

    def noted(self: JpegImageFile, *args: object) -> object:
        drafts.append(draft(self, *args))  # type: ignore[arg-type]
        return drafts[-1]

    monkeypatch.setattr(JpegImageFile, "draft", noted)
    pixels = view.make(content).astype(int)
    scale = min(8, 2 ** int(np.log2(min(size) / 310)))
    assert [found[1][2:] for found in drafts if found] == [pytest.approx((size[0] / scale, size[1] / scale))]
    whole = view.render(decoded(content)).astype(int)
    assert abs(pixels.shape[0] - whole.shape[0]) + abs(pixels.shape[1] - whole.shape[1]) <= 1
    rows, columns = min(pixels.shape[0], whole.shape[0]), min(pixels.shape[1], whole.shape[1])
    assert np.abs(pixels[:rows, :columns] - whole[:rows, :columns]).mean() < (1 if pixels.shape == whole.shape else 2)


def test_nothing_but_a_large_jpeg_for_training_is_decoded_in_part() -> None:
    stream = BytesIO()
    decoded(jpeg(900, 700)).save(stream, "PNG")
    small, large, other = jpeg(619, 700), jpeg(900, 700), stream.getvalue()
    for content in (small, other):
        np.testing.assert_array_equal(TrainingView(310).make(content), TrainingView(310).render(decoded(content)))
    np.testing.assert_array_equal(EvaluationView(64).make(large), torchvision_s(decoded(large), 64))


def test_a_whole_image_is_as_it_is_but_for_a_jpeg_that_is_more_than_large_enough() -> None:
    view, content = WholeView(310), jpeg(619, 700)
    np.testing.assert_array_equal(view.make(content), np.array(decoded(content)))
    assert view.make(jpeg(621, 700)).shape == (350, 311, 3)
    assert view.bytes_of(content) == 3 * 619 * 700
    assert (view.name, view.side) == ("whole-310", None)


def test_a_large_jpeg_is_turned_as_it_asks() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert TrainingView(310).make(jpeg(900, 700, exif=exif)).shape == (398, 310, 3)


def test_reducing_is_antialiased() -> None:
    # Columns that alternate between black and white blend to gray.
    pixels = np.zeros((1_240, 1_240, 3), dtype=np.uint8)
    pixels[:, ::2] = 255
    reduced = TrainingView(310).render(Image.fromarray(pixels))[10:-10, 10:-10]
    assert 120 <= reduced.min() <= reduced.max() <= 136


def test_names_tell_views_apart() -> None:
    assert [EvaluationView(224).name, TrainingView(310).name] == ["evaluation-224", "training-310"]
    assert [EvaluationView(224).side, TrainingView(310).side] == [224, None]
    assert EvaluationView(224).bytes_of(b"") == 3 * 224 * 224


def test_the_short_side_for_crops_of_clip() -> None:
    assert training_short(224) == 310
    assert training_short(64, scale=1.0, ratio=1.0) == 64


@pytest.mark.parametrize("side", [64, 224])
def test_no_crop_is_upsampled_from_the_short_side_on(side: int) -> None:
    torch.manual_seed(0)
    short, rng = training_short(side), np.random.default_rng(0)
    smallest = []
    for long in [short, *rng.integers(short, 3 * short, 40).tolist()]:
        canvas = torch.empty(1, short, long)
        boxes = [RandomResizedCrop.get_params(canvas, [0.7, 1.0], [3 / 4, 4 / 3]) for _ in range(50)]
        smallest.append(min(min(height, width) for _, _, height, width in boxes))
    assert min(smallest) >= side
    # The smallest share at the narrowest ratio, in a square: one pixel less would be too short.
    assert short * (0.7 * 0.75) ** 0.5 >= side
    assert (short - 1) * (0.7 * 0.75) ** 0.5 < side


@pytest.mark.real_data
@pytest.mark.parametrize("domain", ["art_painting", "cartoon", "photo", "sketch"])
def test_real_images_are_torchvision_s_bit_for_bit(domain: str, pacs_root: Path) -> None:
    paths = sorted(path for path in (pacs_root / domain).rglob("*") if path.is_file())[::20]
    view = EvaluationView(224)
    for path in paths:
        with Image.open(path) as image:
            expected = torchvision_s(image.convert("RGB"), 224)
        np.testing.assert_array_equal(view.render(decoded(path.read_bytes())), expected, str(path))
