"""Pictures of files, decoded once and kept."""

from __future__ import annotations

from pathlib import Path

from hamdg.data.listing import Listing
from hamdg.data.pictures import DecodedPictures, Pictures
from hamdg.data.views import View


def open_pictures(listing: Listing, view: View, cache: Path | None = None) -> Pictures:
    """Return the pictures of a domain as `view` shows them.

    Args:
        listing: The domain's files.
        view: What of each picture is wanted.
        cache: The folder of caches; `None` decodes on every reading.
    """
    return DecodedPictures(listing, view)
