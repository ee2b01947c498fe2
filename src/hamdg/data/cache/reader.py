"""Images of files, decoded once and kept."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
import PIL
import torch
from torch import Tensor

from hamdg import console
from hamdg.data.cache.disk import compressed_bytes, needed
from hamdg.data.cache.files import FORMAT, StoreFiles
from hamdg.data.cache.freshness import compare
from hamdg.data.cache.stores import use
from hamdg.data.cache.writer import fill, renew, repair
from hamdg.data.images import DecodedImages, Images, Positions
from hamdg.data.listing import Listing
from hamdg.data.transforms import View


def open_images(listing: Listing, view: View, cache: Path | None = None) -> Images:
    """Return the images of a domain as `view` shows them; nothing is decoded yet.

    Args:
        listing: The domain's files.
        view: What of each image is wanted.
        cache: The folder of caches, where decoded images are kept; `None` decodes on every reading.
    """
    return DecodedImages(listing, view) if cache is None else UncompressedImages(Store(listing, view, cache))


class Store:
    """What is made of the files of a domain, once, and kept in `<cache>/pictures` for all later runs.

    Each image's checksum is compared when this process first reads it, and its file is looked at: a damaged one, and
    one whose file was replaced, is made again. Data sets in different places share nothing. What another release of
    Pillow made is not used, since its decoders and filters may round differently.

    Args:
        listing: The files.
        view: What of each image is wanted.
        cache: The folder of caches.
    """

    def __init__(self, listing: Listing, view: View, cache: Path) -> None:
        about: dict[str, str | int] = {
            "format": FORMAT,
            "fingerprint": listing.fingerprint,
            "place": listing.place,
            "domain": listing.domain,
            "view": view.name,
            "pictures": len(listing),
            "pillow": PIL.__version__,
        }
        folder = cache / "pictures" / f"{listing.key[:16]}-{view.name}"
        self.listing = listing
        self.view = view
        self.cache = cache
        self.files = StoreFiles(folder, about, len(listing), view.side, view.channels)
        self._used = self.files.load() and use(self, folder)
        # Several threads may meet images that were not compared yet.
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Store], tuple[Listing, View, Path]]:
        """Let other processes open the store by themselves: files cannot be sent to them, and need not be."""
        return Store, (self.listing, self.view, self.cache)

    def __len__(self) -> int:
        return len(self.listing)

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return the disk that images take which are not kept yet; where that differs, judged by some of them.

        Args:
            positions: Which images.
            unopened: Judge by the sizes of files alone.
        """
        chosen = np.unique(positions)
        missing = chosen[self.files.rows["checksum"][chosen] == 0].tolist()
        if unopened and self.view.channels == 1:
            return compressed_bytes(self.listing, missing)
        return needed(self.listing, self.view, missing) if missing else 0.0

    def prepare(self, positions: Positions) -> None:
        """Decode those of the images that are not kept yet.

        Raises:
            StorageError: If they do not fit on the disk, or cannot be written there.
            DataError: If some cannot be read or decoded; it names them. All others are kept.
        """
        positions = np.unique(positions)
        if not self._look(positions):
            fill(self.listing, self.view, self.files, positions)
            self._used = self._used or use(self, self.files.folder)
            self.files.current[positions] = True

    def verify(self, positions: Positions) -> None:
        """Ensure that images are there, undamaged, and those of their files; others are made first.

        Raises:
            StorageError: If an image had to be made and could not be written.
            DataError: If an image cannot be read or decoded; it names them.
        """
        if (verified := self.files.verified[positions]).all():
            return
        with self._lock:
            self._verify(np.unique(positions[~verified]))

    def _look(self, positions: Positions) -> bool:
        """Compare images with their files, once a process; return whether all are kept and those of their files."""
        files = self.files
        kept = files.rows["checksum"][positions] != 0
        unseen = positions[kept & ~files.current[positions]]
        found = compare(self.listing, files, unseen)
        if found.touched:
            renew(self.listing, files, found.touched)
        files.current[np.setdiff1d(unseen, found.replaced)] = True
        return bool(kept.all()) and not found.replaced

    def _verify(self, positions: Positions) -> None:
        self._look(positions)
        files = self.files
        broken = [one for one in positions.tolist() if not (files.current[one] and files.intact(one))]
        if broken:
            damaged = sum(1 for one in broken if files.current[one] and files.rows["checksum"][one])
            if damaged:
                console.note(
                    f"{damaged:,} of the decoded images of `{self.listing.domain}` in {self.files.folder} were "
                    "damaged; they are decoded again"
                )
            repair(self.listing, self.view, self.files, broken)
            self._used = self._used or use(self, self.files.folder)
        files.current[positions] = True
        files.verified[positions] = True


class CachedImages:
    """Images that a store keeps in one form or another; how they are read is up to subclasses.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store)

    def prepare(self, positions: Positions) -> None:
        """Make those of the images that are not kept yet.

        Raises:
            StorageError: If they do not fit on the disk, or cannot be written there.
            DataError: If some cannot be read or decoded; it names them. All others are kept.
        """
        self._store.prepare(positions)

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return the disk that images take which are not kept yet."""
        return self._store.missing_bytes(positions, unopened)


class UncompressedImages(CachedImages):
    """Images whose pixels are kept: the same, bit for bit, as decoding gives."""

    decodes = False

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return copies of images; those that are missing or damaged are decoded first.

        Raises:
            StorageError: If an image had to be decoded and could not be written.
            DataError: If an image cannot be read or decoded; it names them.
        """
        self._store.verify(positions)
        files = self._store.files
        if (side := files.side) is None:
            return [torch.from_numpy(files.image(position).copy()) for position in positions.tolist()]
        length = 3 * side * side
        frames = files.pixels[: len(files.pixels) // length * length].reshape(-1, side, side, 3)
        slots = files.rows["offset"][positions].astype(np.int64) // length
        return torch.from_numpy(frames.take(slots, axis=0))
