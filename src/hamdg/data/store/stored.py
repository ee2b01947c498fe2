"""Pictures of files, decoded once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from hamdg import console
from hamdg.data.listing import Listing
from hamdg.data.pictures import DecodedPictures, Pictures, Positions
from hamdg.data.store.files import StoreFiles
from hamdg.data.store.filling import fill, renew, repair
from hamdg.data.store.freshness import compare
from hamdg.data.store.space import needed
from hamdg.data.views import View

# Counts up when the files' form or the pixels that a view gives change.
_FORMAT = 4


def open_pictures(listing: Listing, view: View, cache: Path | None = None) -> Pictures:
    """Return the pictures of a domain as `view` shows them; nothing is decoded yet.

    Args:
        listing: The domain's files.
        view: What of each picture is wanted.
        cache: The folder of caches, where decoded pictures are kept; `None` decodes on every reading.
    """
    return DecodedPictures(listing, view) if cache is None else StoredPictures(listing, view, cache)


class StoredPictures:
    """Pictures that are decoded when they are first wanted and kept in `<cache>/pictures`, for all later runs.

    Pixels are the same, bit for bit, as decoding gives. Each picture's checksum is compared when this process first
    reads it, and its file is looked at: a damaged one, and one whose file was replaced, is decoded anew. Data sets in
    different places never share pixels. Pixels of another release of Pillow are not used, since its decoders and
    filters may round differently.

    Args:
        listing: The files.
        view: What of each picture is wanted.
        cache: The folder of caches.
    """

    decodes = False

    def __init__(self, listing: Listing, view: View, cache: Path) -> None:
        about: dict[str, str | int] = {
            "format": _FORMAT,
            "fingerprint": listing.fingerprint,
            "place": listing.place,
            "domain": listing.domain,
            "view": view.name,
            "pictures": len(listing),
            "pillow": PIL.__version__,
        }
        key = hashlib.sha256(f"{listing.fingerprint}\n{listing.place}".encode()).hexdigest()
        folder = cache / "pictures" / f"{key[:16]}-{view.name}"
        self._listing = listing
        self._view = view
        self._files = StoreFiles(folder, about, len(listing), view.side)
        self._files.load()

    def __len__(self) -> int:
        return len(self._listing)

    def missing_bytes(self, positions: Positions) -> float:
        """Return the disk that pictures take which are not kept yet; where sizes differ, judged by some of them."""
        chosen = np.unique(positions)
        missing = chosen[self._files.rows["checksum"][chosen] == 0].tolist()
        return needed(self._listing, self._view, missing) if missing else 0.0

    def prepare(self, positions: Positions) -> None:
        """Decode those of the pictures that are not kept yet.

        Raises:
            StorageError: If they do not fit on the disk, or cannot be written there.
            DataError: If some cannot be read or decoded; it names them. All others are kept.
        """
        positions = np.unique(positions)
        if not self._look(positions):
            fill(self._listing, self._view, self._files, positions)
            self._files.current[positions] = True

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return copies of pictures; those that are missing or damaged are decoded first.

        Raises:
            StorageError: If a picture had to be decoded and could not be written.
            DataError: If a picture cannot be read or decoded; it names them.
        """
        if not (verified := self._files.verified[positions]).all():
            self._verify(np.unique(positions[~verified]))
        if (side := self._files.side) is None:
            return [torch.from_numpy(self._files.picture(position).copy()) for position in positions.tolist()]
        length = 3 * side * side
        frames = self._files.pixels[: len(self._files.pixels) // length * length].reshape(-1, side, side, 3)
        slots = self._files.rows["offset"][positions].astype(np.int64) // length
        return torch.from_numpy(frames.take(slots, axis=0))

    def _look(self, positions: Positions) -> bool:
        """Look at the files of pictures, once a process; say whether all are there and still those of them."""
        files = self._files
        kept = files.rows["checksum"][positions] != 0
        unseen = positions[kept & ~files.current[positions]]
        found = compare(self._listing, files, unseen)
        if found.touched:
            renew(self._listing, files, found.touched)
        files.current[np.setdiff1d(unseen, found.replaced)] = True
        return bool(kept.all()) and not found.replaced

    def _verify(self, positions: Positions) -> None:
        self._look(positions)
        files = self._files
        broken = [one for one in positions.tolist() if not (files.current[one] and files.intact(one))]
        if broken:
            damaged = sum(1 for one in broken if files.current[one] and files.rows["checksum"][one])
            if damaged:
                console.note(
                    f"{damaged:,} of the decoded pictures of `{self._listing.domain}` in {self._files.folder} were "
                    "damaged; they are decoded anew"
                )
            repair(self._listing, self._view, self._files, broken)
        files.current[positions] = True
        files.verified[positions] = True
