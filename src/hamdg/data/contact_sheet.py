"""Contact sheets: what a benchmark looks like, classes down and domains across."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hamdg.cores import usable_cores
from hamdg.data.decode import UnreadableError, decoded
from hamdg.data.domain import Domain
from hamdg.data.listing import Listing
from hamdg.files import atomic_path
from hamdg.mini import DomainArrays

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
_NEAREST = Image.Resampling.NEAREST
# What people who look at streets are used to.
_CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
# The rows of a sheet of images with label maps.
MAP_ROWS = {"images": 0, "label maps": 1}


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


def map_cells(domain: Domain, classes: Sequence[str], zoom: int) -> Cells:
    """Return what gives the images of a domain (row 0 of `MAP_ROWS`) and their label maps in colors (row 1), enlarged.

    Args:
        domain: The domain, opened.
        classes: The classes, in the order of their labels; pixels without one are black.
        zoom: How many times they are enlarged.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(classes)] = [class_color(name, label) for label, name in enumerate(classes)]

    def cell(row: int) -> Cell:
        images = np.asarray(domain.evaluation.read(np.arange(len(domain))))
        shown = images if row == MAP_ROWS["images"] else colors[domain.labels]
        return [Image.fromarray(one).resize((zoom * one.shape[1], zoom * one.shape[0]), _NEAREST) for one in shown]

    return cell


def class_color(name: str, label: int) -> tuple[int, int, int]:
    """Return the color of a class in drawn label maps: that of Cityscapes, or one that is far from its neighbors'."""
    if (known := _CITYSCAPES.get(name)) is not None:
        return known
    hue, light = (0.61803 * label + 0.6) % 1, 0.95 - 0.2 * (label % 3)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 - 0.25 * (label % 2), light)
    return round(255 * red), round(255 * green), round(255 * blue)


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
