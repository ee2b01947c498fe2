"""What of an image is kept: CLIP's square for evaluation, and enough for every crop for training."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hamdg.config.data import Truncated
from hamdg.data.decode import decoded, dimensions

_BICUBIC, _HAMMING = Image.Resampling.BICUBIC, Image.Resampling.HAMMING
# Above this, an image resized as a whole costs more memory than it is worth; 17 MB in Pillow's four bytes a pixel.
_MOST_PIXELS = 2**22


class View(Protocol):
    """A way to turn an image's file into the pixels that are wanted."""

    @property
    def name(self) -> str:
        """Return the name, such as `evaluation-224`; it stands for everything that shapes the pixels."""

    @property
    def side(self) -> int | None:
        """Return the side of its squares, or `None` if the images differ in size."""

    @property
    def channels(self) -> int:
        """Return the bytes of a pixel: 3, or 1 where what is made of an image are the bytes of a file."""

    def make(self, content: bytes, truncated: Truncated = "refuse") -> NDArray[np.uint8]:
        """Return the pixels `[height, width, 3]` of an image's file.

        Raises:
            UnreadableError: If it cannot be decoded.
        """

    def bytes_of(self, content: bytes) -> float:
        """Return how many bytes `make` gives of a file, judged by its head.

        Raises:
            UnreadableError: If that is the head of no image.
        """


class EvaluationView:
    """CLIP's: the short side brought to `side` (bicubic), then the square in the middle.

    Bit for bit what torchvision's `Resize(side, BICUBIC)` and `CenterCrop(side)` make of a Pillow image. Images so
    long and narrow that the resized whole would have more than 4 million pixels (at 224: more than 83 to 1) are cut
    before they are resized; values may then differ by rounding.

    Args:
        side: Side of the square in pixels.
    """

    channels = 3

    def __init__(self, side: int) -> None:
        self.side: int | None = side
        self.name = f"evaluation-{side}"
        self._side = side

    def bytes_of(self, content: bytes) -> float:
        """Return how many bytes the square has."""
        return 3 * self._side**2

    def make(self, content: bytes, truncated: Truncated = "refuse") -> NDArray[np.uint8]:
        """Return the pixels `[side, side, 3]` of an image's file.

        Raises:
            UnreadableError: If it cannot be decoded.
        """
        return self.render(decoded(content, truncated))

    def nearest(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the same part `[side, side]` of a label map, each pixel that of the nearest one."""
        (width, height), box = self._placed(image.size)
        across, down = image.width / width, image.height / height
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return np.array(image.resize((self._side, self._side), Image.Resampling.NEAREST, box=part))

    def _placed(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Return the size of the resized whole, and where in it the square lies."""
        width, height = _with_short_side(size, self._side)
        left, top = round((width - self._side) / 2), round((height - self._side) / 2)
        return (width, height), (left, top, left + self._side, top + self._side)

    def render(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the pixels `[side, side, 3]` of an RGB image."""
        (width, height), box = self._placed(image.size)
        if width * height > _MOST_PIXELS:
            across, down = image.width / width, image.height / height
            part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
            return np.array(image.resize((self._side, self._side), _BICUBIC, box=part))
        if image.size != (width, height):
            image = image.resize((width, height), _BICUBIC)
        return np.array(image.crop(box))


class TrainingView:
    """The whole image, its short side reduced to `short` (Hamming's window, antialiased) if longer; never enlarged.

    Crops of it are resized once more, to the model's side, with a filter that is wider than what is lost here: in place
    of bicubic, which takes half as long again, Hamming's window leaves them within 45 dB of crops of the whole image.
    Of a JPEG whose short side is at least twice `short`, only a half, a quarter or an eighth is decoded.

    Args:
        short: Short side in pixels; see `training_short`.
    """

    side: int | None = None
    channels = 3

    def __init__(self, short: int) -> None:
        self.name = f"training-{short}"
        self._short = short

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the reduced size; the aspect ratio is kept."""
        return (width, height) if min(width, height) <= self._short else _with_short_side((width, height), self._short)

    def bytes_of(self, content: bytes) -> float:
        """Return how many bytes the reduced image has.

        Raises:
            UnreadableError: If the head of the file is that of no image.
        """
        width, height = self.size(*dimensions(content))
        return 3 * width * height

    def make(self, content: bytes, truncated: Truncated = "refuse") -> NDArray[np.uint8]:
        """Return the pixels `[height, width, 3]` of an image's file.

        Raises:
            UnreadableError: If it cannot be decoded.
        """
        return self.render(decoded(content, truncated, self._short))

    def render(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the pixels `[height, width, 3]` of an RGB image."""
        size = self.size(*image.size)
        return np.array(image if size == image.size else image.resize(size, _HAMMING))


class WholeView:
    """The whole image as it is; a JPEG of twice, four or eight times the short side `least` is decoded in part.

    Args:
        least: Short side in pixels that is enough.
    """

    side: int | None = None
    channels = 3

    def __init__(self, least: int) -> None:
        self.name = f"whole-{least}"
        self._least = least

    def bytes_of(self, content: bytes) -> float:
        """Return how many bytes the image has at most.

        Raises:
            UnreadableError: If the head of the file is that of no image.
        """
        width, height = dimensions(content)
        return 3 * width * height

    def make(self, content: bytes, truncated: Truncated = "refuse") -> NDArray[np.uint8]:
        """Return the pixels `[height, width, 3]` of an image's file.

        Raises:
            UnreadableError: If it cannot be decoded.
        """
        return np.array(decoded(content, truncated, self._least))


def training_short(side: int, scale: float = 0.7, ratio: float = 3 / 4) -> int:
    r"""Return the smallest short side from which no random crop is upsampled to `side`: 310 for 224.

    A crop that covers the share $s$ of an image of the sides $a \le b$ and has the aspect ratio $r$ has the sides
    $\sqrt{s a b r}$ and $\sqrt{s a b / r}$. With $s$ of at least `scale`, $r$ between `ratio` and its inverse and
    $b \ge a$, the shorter of them is at least $a \sqrt{scale \cdot ratio}$, which reaches `side` at this short side.

    Args:
        side: Side of the model's images.
        scale: Smallest share of an image's area that a crop covers.
        ratio: Smallest aspect ratio of a crop.
    """
    return math.ceil(side / math.sqrt(scale * ratio))


def _with_short_side(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Return width and height with the short side brought to `short`, the long one rounded down as torchvision does."""
    width, height = size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short
