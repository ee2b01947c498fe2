"""Every image of a domain opened once: which cannot be read, which are unusual, how large they are, their digests."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hamdg.config.data import Truncated
from hamdg.cores import usable_cores
from hamdg.data.decode import UnreadableError, decoded
from hamdg.data.listing import Listing
from hamdg.text import reason_of

_AT_ONCE = 32
_ORIENTATION = 0x0112
_UPRIGHT = (None, 0, 1)
_MODES = {
    **dict.fromkeys(("RGBA", "LA", "PA", "La", "RGBa"), "with transparency"),
    "CMYK": "CMYK",
    **dict.fromkeys(("I", "F", "I;16", "I;16B", "I;16L", "I;16N"), "more than 8 bits a channel"),
}


@dataclass(frozen=True)
class Examination:
    """What the images of one domain are like.

    Args:
        unreadable: Positions of images that cannot be read, and why.
        truncated: Positions of images that are cut off or damaged inside, so that only `data.truncated=read` reads
            them, and what Pillow says otherwise.
        peculiar: How many images are unusual, by what is unusual about them.
        sides: Width and height of every readable image as a viewer shows it, int64 `[n, 2]`; empty if not decoded.
        digests: SHA-256 of every file by position; empty if not asked for, without those that cannot be read.
    """

    unreadable: Mapping[int, str]
    truncated: Mapping[int, str]
    peculiar: Mapping[str, int]
    sides: NDArray[np.int64]
    digests: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class _Look:
    position: int
    reason: str | None = None
    truncated: str | None = None
    digest: bytes | None = None
    side: tuple[int, int] | None = None
    peculiarities: tuple[str, ...] = ()


def examine(
    listing: Listing, *, decode: bool = True, digests: bool = False, advance: Callable[[int], None] = lambda _: None
) -> Examination:
    """Open every image, in as many threads as there are cores.

    Args:
        listing: The images of one domain.
        decode: Decode them, which finds damaged ones; without, an image is readable if its file is.
        digests: Compute the SHA-256 of every file.
        advance: Called with the number of images that were done since the last call.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        looks = list(chain.from_iterable(_in_threads(listing, decode, digests, advance)))
    return Examination(
        unreadable={look.position: look.reason for look in looks if look.reason is not None},
        truncated={look.position: look.truncated for look in looks if look.truncated is not None},
        peculiar=Counter(sorted(chain.from_iterable(look.peculiarities for look in looks))),
        sides=np.array([look.side for look in looks if look.side], dtype=np.int64).reshape(-1, 2),
        digests={look.position: look.digest for look in looks if look.digest is not None},
    )


def _in_threads(listing: Listing, decode: bool, digests: bool, advance: Callable[[int], None]) -> Iterator[list[_Look]]:
    def some(start: int) -> list[_Look]:
        positions = range(start, min(start + _AT_ONCE, len(listing)))
        return [_look(listing, position, decode, digests) for position in positions]

    pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="hamdg-examine")
    try:
        for looks in pool.map(some, range(0, len(listing), _AT_ONCE)):
            advance(len(looks))
            yield looks
    finally:
        pool.shutdown(cancel_futures=True)


def _look(listing: Listing, position: int, decode: bool, digests: bool) -> _Look:
    try:
        content = listing.content(position)
    except OSError as error:
        return _Look(position, reason_of(error))
    digest = hashlib.sha256(content).digest() if digests else None
    if not decode:
        return _Look(position, digest=digest)
    try:
        return _Look(position, None, None, digest, decoded(content).size, tuple(_peculiarities(content)))
    except UnreadableError as error:
        return _damaged(content, _Look(position, str(error), None, digest), listing.truncated)


def _damaged(content: bytes, look: _Look, truncated: Truncated) -> _Look:
    """Return what is found of an image that is not whole."""
    try:
        side = decoded(content, "read").size
    except UnreadableError:
        return look
    if truncated == "refuse":
        return replace(look, truncated=look.reason)
    return replace(look, truncated=look.reason, reason=None, side=side)


def _peculiarities(content: bytes) -> Iterator[str]:
    with Image.open(io.BytesIO(content)) as image:
        if image.mode in _MODES:
            yield _MODES[image.mode]
        elif "transparency" in image.info:
            yield "with transparency"
        if _orientation(image) not in _UPRIGHT:
            yield "rotated by EXIF"
        if _is_animated(image):
            yield "animated"


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "n_frames", 1) > 1)
    except Exception:  # what lies behind the first frame is damaged, and nobody looks at that
        return True


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # garbage in EXIF leads Pillow to raise nearly anything; such an image is shown as it is
        return None
