"""Images kept as small files: those of large ones reduced and encoded again, all others as they are.

Reading decodes, but less than the files themselves would take; one store serves training and evaluation.
"""

from __future__ import annotations

from contextlib import closing
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hamdg.config.data import Truncated
from hamdg.data.cache.reader import CachedImages, Store
from hamdg.data.decode import UnreadableError, decoded, dimensions
from hamdg.data.images import Positions, as_read
from hamdg.data.parallel import Rendered, make_each
from hamdg.data.transforms import TrainingView, View

# Chosen by `python -m hamdg.tools.bench compression`. Halved color resolution (4:2:0) costs more than any quality
# above 80.
QUALITY, SUBSAMPLING = 90, "4:4:4"
# Short side that is kept, in sides of the model: at 1.4, from which no crop is upsampled, evaluation suffers more from
# being resized twice than from the encoding.
SIDES = 2
# Bytes that a pixel takes on average of what is drawn, painted or photographed, and some to spare; those of a head.
_A_PIXEL, _HEAD = 0.5, 800
# What libjpeg writes no longer JPEG than.
_LONGEST = 65_500


class CompressedView:
    """An image's file, or a smaller one: its short side reduced to `short` if it is longer, encoded as a JPEG.

    Args:
        short: Short side in pixels.
    """

    side: int | None = None
    channels = 1

    def __init__(self, short: int) -> None:
        self.name = f"compressed-{short}"
        self._whole = TrainingView(short)

    def make(self, content: bytes, truncated: Truncated = "refuse") -> NDArray[np.uint8]:
        """Return the bytes `[n, 1, 1]` to keep of an image's file; never more than the file has.

        Raises:
            UnreadableError: If it cannot be decoded.
        """
        image = decoded(content, truncated)
        size = self._whole.size(*image.size)
        if size != image.size and max(size) <= _LONGEST:
            stream = BytesIO()
            reduced = image.resize(size, Image.Resampling.LANCZOS)
            reduced.save(stream, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
            content = min(stream.getvalue(), content, key=len)
        return np.frombuffer(content, np.uint8).reshape(-1, 1, 1)

    def bytes_of(self, content: bytes) -> float:
        """Return about how many bytes are kept of a file, judged by its head.

        Raises:
            UnreadableError: If that is the head of no image.
        """
        before = dimensions(content)
        width, height = self._whole.size(*before)
        return len(content) if (width, height) == before else min(len(content), _HEAD + _A_PIXEL * width * height)


class CompressedImages(CachedImages):
    """Images that are decoded from a store of small files.

    Args:
        store: The store; several views may share it.
        view: What of each image is wanted.
    """

    decodes = True

    def __init__(self, store: Store, view: View) -> None:
        super().__init__(store)
        self._view = view

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return images, decoded in parallel; those that are missing or damaged are made again first.

        Raises:
            StorageError: If an image had to be made and could not be written.
            DataError: If an image cannot be read or decoded; it names them.
        """
        self._store.verify(positions)
        with closing(make_each(self._one, positions.tolist())) as made:
            return as_read(self._store.listing, self._view, list(made))

    def _one(self, position: int) -> Rendered:
        try:
            content = self._store.files.image(position).tobytes()
            return Rendered(position, self._view.make(content, self._store.listing.truncated))
        except UnreadableError as error:
            return Rendered(position, None, str(error))
