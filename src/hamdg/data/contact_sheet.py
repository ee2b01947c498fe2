"""Contact sheets: what a benchmark looks like, classes down and domains across."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hamdg.cores import usable_cores
from hamdg.data.decode import UnreadableError, decoded
from hamdg.data.listing import Listing
from hamdg.files import atomic_path
from hamdg.mini.benchmark import DomainArrays

# The first images of a class, given its label; `None` where one cannot be read.
Cell = Sequence[Image.Image | None]
Cells = Callable[[int], Cell]

TILE = 96
ZOOM = 2
GAP = 4
MARGIN = 12
LABEL_HEIGHT = 26
LABEL_WIDTH = 96
MOST_ROWS = 40
_FONT = 15


def contact_sheet(domains: Mapping[str, Cells], labels: Mapping[str, int], per_cell: int, tile: int, out: Path) -> None:
    """Write a PNG with images of each class (rows) in each domain (columns).

    Args:
        domains: What gives the images of a domain, by its name; columns come in this order.
        labels: The label of each class, by its name; rows come in this order.
        per_cell: Most images side by side in each cell; where there are fewer, tiles stay empty.
        tile: Side of a tile in pixels, which no image exceeds.
        out: The file to write; its folder is created.
    """
    font = ImageFont.load_default(_FONT)
    left = max([LABEL_WIDTH, *(int(font.getlength(name)) + MARGIN for name in labels)])
    cell = max([per_cell * (tile + GAP), *(int(font.getlength(name)) + GAP for name in domains)]) + MARGIN
    size = (left + MARGIN + len(domains) * cell, LABEL_HEIGHT + MARGIN + len(labels) * (tile + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(labels):
        middle = LABEL_HEIGHT + row * (tile + GAP) + tile // 2
        pen.text((left, middle), name, fill="black", font=font, anchor="rm")
    for column, (name, cells) in enumerate(domains.items()):
        start = left + MARGIN + column * cell
        pen.text((start + (cell - MARGIN) // 2, LABEL_HEIGHT // 2), name, fill="black", font=font, anchor="mm")
        for row, images in enumerate(_in_threads(cells, list(labels.values()))):
            _paste(sheet, images[:per_cell], start, LABEL_HEIGHT + row * (tile + GAP), tile)
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG")


def rendered_cells(arrays: DomainArrays, per_cell: int) -> Cells:
    """Return what gives the images of a rendered domain, enlarged."""

    def cell(label: int) -> Cell:
        chosen = np.flatnonzero(arrays.clean_labels == label)[:per_cell]
        return [_resized(Image.fromarray(np.ascontiguousarray(arrays.images[index])), ZOOM) for index in chosen]

    return cell


def listed_cells(listing: Listing, per_cell: int, tile: int = TILE) -> Cells:
    """Return what gives the images of a domain's files, as large as fits into a tile; damaged ones are left out."""

    def image_at(position: int) -> Image.Image | None:
        try:
            image = decoded(listing.content(position), listing.truncated)
        except (OSError, UnreadableError):
            return None
        return _resized(image, tile / max(image.size))

    def cell(label: int) -> Cell:
        return [image_at(int(position)) for position in np.flatnonzero(listing.labels == label)[:per_cell]]

    return cell


def pages(classes: Sequence[str], most: int = MOST_ROWS) -> list[list[str]]:
    """Split classes over as few sheets as have at most `most` rows each, evenly."""
    number = max(1, -(-len(classes) // most))
    return [list(part) for part in np.array_split(np.array(classes, dtype=object), number)]


def _paste(sheet: Image.Image, images: Cell, left: int, top: int, tile: int) -> None:
    """Put images side by side, each in the middle of its tile."""
    for place, image in enumerate(images):
        if image is not None:
            x = left + place * (tile + GAP) + (tile - image.width) // 2
            sheet.paste(image, (x, top + (tile - image.height) // 2))


def _resized(image: Image.Image, factor: float) -> Image.Image:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _in_threads(cells: Cells, labels: Sequence[int]) -> Iterator[Cell]:
    pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="hamdg-sheet")
    try:
        yield from pool.map(cells, labels)
    finally:
        pool.shutdown(cancel_futures=True)
