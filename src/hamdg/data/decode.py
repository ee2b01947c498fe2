"""The bytes of an image file, decoded to what a viewer shows."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from hamdg.config.data import Truncated
from hamdg.errors import DataError

# What the orientation in an image's EXIF data asks a viewer to do.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that exchange width and height.
_ON_THE_SIDE = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))


class UnreadableError(DataError):
    """A file holds no image that can be decoded; the text is a short reason without the file's name."""


def decoded(content: bytes, truncated: Truncated = "refuse", least: int | None = None) -> Image.Image:
    """Return an image in RGB as a viewer shows it.

    Images are turned as their EXIF data ask, what is transparent lies on white, 16-bit gray keeps its shades, and of
    an animation the first frame counts. DomainBed differs: it ignores EXIF, drops the alpha channel (so that hidden
    colors show) and clips 16-bit gray to white. An ordinary gray or RGB file gives what it gives there, bit for bit.
    Color profiles are ignored, as there.

    Args:
        content: The whole file, in any format that Pillow reads.
        truncated: `read` gives of a file that is cut off or damaged inside what Pillow gives with
            `LOAD_TRUNCATED_IMAGES`, as in DomainBed.
        least: Where given, a large JPEG may be decoded at a half, a quarter or an eighth of its size, as long as no
            side becomes shorter than this; that takes a fraction of the time, and pixels differ a little.

    Raises:
        UnreadableError: If it is not an image, is cut off or damaged, or is too large to be an image.
    """
    try:
        return _decoded(content, least)
    except UnreadableError:
        if truncated == "refuse":
            raise
    with _truncated_images.read():
        return _decoded(content, least)


def _decoded(content: bytes, least: int | None) -> Image.Image:
    with _explained(content), Image.open(BytesIO(content)) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        turn = _turn(image)
        upright = _rgb(image)
        return upright if turn is None else upright.transpose(turn)


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """Open an image as it is stored, loaded: neither turned nor brought to RGB.

    Raises:
        UnreadableError: If it is not an image, is cut off or damaged, or is too large to be an image.
    """
    with _explained(content), Image.open(BytesIO(content)) as image:
        image.load()
        yield image


def dimensions(content: bytes) -> tuple[int, int]:
    """Return width and height from the head of an image file, before any turning.

    Raises:
        UnreadableError: If the head is that of no image.
    """
    with _explained(content), Image.open(BytesIO(content)) as image:
        return image.size


def shown_size(content: bytes) -> tuple[int, int]:
    """Return width and height of an image as a viewer shows it, turned as its EXIF data ask.

    Raises:
        UnreadableError: If the head is that of no image.
    """
    with _explained(content), Image.open(BytesIO(content)) as image:
        width, height = image.size
        return (height, width) if _turn(image) in _ON_THE_SIDE else (width, height)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what EXIF asks for; an image whose EXIF data are garbage stays as it is."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is a format of its own, and Pillow's reader raises whatever its fields lead to
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bit(image)
    if image.has_transparency_data:
        top = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", top.size, "white"), top)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring gray of more than 8 bits to 8; `Image.convert` would clip it instead."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    lowest, highest = _range(image, values)
    return Image.fromarray(np.rint((values - lowest) * (255 / (highest - lowest))).astype(np.uint8))


def _range(image: Image.Image, values: NDArray[np.float64]) -> tuple[float, float]:
    """Return which values are black and white: by the mode where it fixes them, else by the values themselves."""
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):  # whose "I" is 16 bits too
        return 0.0, 65535.0
    lowest, highest = float(values.min()), float(values.max())
    for white in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if lowest >= 0.0 and highest <= white:
            return 0.0, white
    return lowest, max(highest, lowest + 1.0)


@contextmanager
def _explained(content: bytes) -> Iterator[None]:
    """Turn whatever Pillow raises into a reason; its plugins raise nearly anything on damaged files."""
    # Pillow loads its rarer formats when it first meets one; two threads that do so at once trip over each other.
    Image.init()
    try:
        with _muted:
            yield
    except (MemoryError, UnreadableError):
        raise
    except Exception as error:
        raise UnreadableError(_reason(error, content)) from error


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"no image format that Pillow knows; the file begins with {content[:16]!r}"
    return str(error).rstrip(".") or type(error).__name__


class _TruncatedImages(threading.local):
    """Pillow's `LOAD_TRUNCATED_IMAGES` with a value for each thread: others decode images that have to be whole."""

    def __init__(self) -> None:
        self._read = False

    def __bool__(self) -> bool:
        return self._read

    @contextmanager
    def read(self) -> Iterator[None]:
        """Let Pillow read truncated images in this thread."""
        self._read = True
        try:
            yield
        finally:
            self._read = False


_truncated_images = _TruncatedImages()


class _Muted:
    """Keeps Pillow's warnings quiet while any thread decodes; `catch_warnings` alone is not made for threads.

    Meanwhile each thread has its own value of `LOAD_TRUNCATED_IMAGES`, whatever the program has set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()
        self._truncated = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._truncated = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = cast("bool", _truncated_images)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._truncated
                self._caught.__exit__(None, None, None)


_muted = _Muted()
