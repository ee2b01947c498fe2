"""Decoding: what a viewer shows, and a reason where there is nothing to show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from hamdg.data.decode import UnreadableError, decoded, dimensions

ORIENTATION = 0x0112


def noise(width: int, height: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(width + height).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def plain(content: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG2000", "TGA"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_ordinary_images_are_what_pillow_makes_of_them(form: str, mode: str) -> None:
    content = encoded(Image.fromarray(noise(19, 12)).convert(mode), form)
    picture = decoded(content)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.array(picture), plain(content))
    assert dimensions(content) == (19, 12)
    # The image can be worked on although its file is closed.
    assert picture.resize((5, 4)).size == (5, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_turned_as_their_exif_data_ask(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(Image.fromarray(noise(8, 5)), form, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(content)))
    assert expected.size == ((8, 5) if orientation < 5 else (5, 8))
    np.testing.assert_array_equal(np.array(decoded(content)), np.array(expected.convert("RGB")))


def test_a_image_taken_with_the_camera_on_its_side_stands_upright() -> None:
    # Orientation 6: what is at the left of the file belongs at the top.
    pixels = np.zeros((2, 4, 3), dtype=np.uint8)
    pixels[:, 0] = (255, 0, 0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = np.array(decoded(encoded(Image.fromarray(pixels), exif=exif)))
    assert picture.shape == (4, 2, 3)
    assert picture[0].tolist() == [[255, 0, 0], [255, 0, 0]]
    assert not picture[1:].any()


def test_damaged_exif_data_do_not_spoil_the_image() -> None:
    content = encoded(Image.fromarray(noise(8, 8)), "JPEG", exif=b"Exif\0\0garbage, not TIFF")
    np.testing.assert_array_equal(np.array(decoded(content)), plain(content))


def test_what_is_transparent_lies_on_white() -> None:
    hidden = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    hidden.putpixel((1, 0), (0, 0, 0, 51))
    assert np.array(decoded(encoded(hidden)))[0].tolist() == [[255, 255, 255], [204, 204, 204]]


def test_a_palette_with_a_transparent_color_lies_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for transparency in (0, b"\x00\xff"):  # one index, or the alpha of every color, for which Pillow warns
        content = encoded(image, transparency=transparency)
        assert np.array(decoded(content))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize(("mode", "color"), [("LA", (7, 0)), ("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_every_kind_of_transparency_counts(mode: str, color: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (1, 1), color)
    content = encoded(image) if mode == "LA" else encoded(image, transparency=color)
    assert np.array(decoded(content)).tolist() == [[[255, 255, 255]]]


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    pixels = noise(9, 7, 4)
    pixels[:, :, 3] = 255
    np.testing.assert_array_equal(np.array(decoded(encoded(Image.fromarray(pixels)))), pixels[:, :, :3])


def pnm(values: NDArray[np.uint16]) -> bytes:
    return b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "form", [lambda gray: encoded(Image.fromarray(gray)), lambda gray: encoded(Image.fromarray(gray), "TIFF"), pnm]
)
def test_gray_of_16_bits_keeps_its_shades(form: Callable[[NDArray[np.uint16]], bytes]) -> None:
    shades = np.arange(256, dtype=np.uint16).reshape(16, 16)
    # Pillow's own conversion clips these to white.
    np.testing.assert_array_equal(np.array(decoded(form(shades * 257)))[:, :, 1], shades)
    assert np.array(decoded(form(shades))).max() == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([5.0, float("nan"), 5.0], [5, 0, 5]),
        ([-7.0, -7.0, -7.0], [0, 0, 0]),
    ],
)
def test_gray_of_floats_is_brought_to_8_bits(values: list[float], expected: list[int]) -> None:
    content = encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert np.array(decoded(content))[0, :, 0].tolist() == expected


def test_gray_of_32_bits_is_brought_to_8_bits() -> None:
    for values, expected in (([0, 1, 255], [0, 1, 255]), ([0, 51 * 2**20, 255 * 2**20], [0, 51, 255])):
        content = encoded(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
        assert np.array(decoded(content))[0, :, 0].tolist() == expected


def test_cmyk_is_converted() -> None:
    content = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = np.array(decoded(content))[8, 8].tolist()
    assert red > 250
    assert max(green, blue) < 5


def test_the_first_frame_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    for form in ("GIF", "WEBP"):
        content = encoded(
            first, form, save_all=True, append_images=[second], **({"lossless": True} if form == "WEBP" else {})
        )
        assert np.array(decoded(content))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_that_is_cut_off_is_refused(form: str) -> None:
    content = encoded(Image.fromarray(noise(64, 64)), form)
    with pytest.raises(UnreadableError):
        decoded(content[: len(content) // 2])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_file_that_is_cut_off_is_read_as_pillow_reads_it(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded(Image.fromarray(noise(64, 64)), form, **({"quality": 90} if form == "JPEG" else {}))
    content = whole[: len(whole) * 2 // 3]
    found = np.array(decoded(content, "read"))
    with pytest.raises(UnreadableError):
        decoded(content)
    # As in DomainBed.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    np.testing.assert_array_equal(found, plain(content))
    assert not np.array_equal(found, plain(whole))
    # What the program has set does not count, and stays.
    with pytest.raises(UnreadableError):
        decoded(content)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_what_is_no_image_is_refused_even_if_truncated_files_are_read() -> None:
    for content in (b"", b"<html>", encoded(Image.new("RGB", (64, 64)))[:20]):
        with pytest.raises(UnreadableError):
            decoded(content, "read")


def test_threads_that_read_truncated_files_do_not_make_others_read_them() -> None:
    content = encoded(Image.fromarray(noise(64, 64)), "JPEG")[:-500]

    def attempt(number: int) -> bool:
        try:
            decoded(content, "read" if number % 2 else "refuse")
        except UnreadableError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(attempt, range(400))) == [False, True] * 200
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_reason_is_given() -> None:
    jpeg = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    with pytest.raises(UnreadableError, match=r"^image file is truncated \(\d+ bytes not processed\)$"):
        decoded(jpeg[:-500])
    with pytest.raises(UnreadableError, match=r"^the file is empty$"):
        decoded(b"")
    with pytest.raises(UnreadableError, match=r"^no image format that Pillow knows; the file begins with b'<html>'$"):
        decoded(b"<html>")
    with pytest.raises(UnreadableError, match="no image format"):
        dimensions(b"Not Found\n")


def test_a_bomb_is_refused_and_a_large_image_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("RGB", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
    with pytest.raises(UnreadableError, match=r"^Image size \(10000 pixels\) exceeds limit of 8000 pixels"):
        decoded(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8_000)  # Pillow warns from here to the double
    assert decoded(content).size == (100, 100)


def test_memory_that_runs_out_is_not_the_image_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    content = encoded(Image.new("RGB", (4, 4)))
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decoded(content)


def test_threads_leave_the_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("RGB", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8_000)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        sizes = [picture.size for picture in pool.map(decoded, [content] * 40)]
    assert sizes == [(100, 100)] * 40
    assert list(warnings.filters) == before


def test_all_formats_are_loaded_before_a_image_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    # Left to itself, Pillow loads them in the middle of `open`, and misses formats when two threads do that at once.
    order: list[str] = []
    opens, content = Image.open, encoded(Image.new("RGB", (2, 2)))

    def opened(stream: BytesIO) -> Image.Image:
        order.append("open")
        return opens(stream)

    monkeypatch.setattr(Image, "init", lambda: order.append("init"))
    monkeypatch.setattr(Image, "open", opened)
    decoded(content)
    assert order == ["init", "open"]
