"""Contact sheets: what a benchmark looks like, classes down and domains across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hamdg.data.arrays import DomainArrays

ZOOM = 2
GAP = 4
MARGIN = 12
LABEL_HEIGHT = 26
LABEL_WIDTH = 96


def contact_sheet(domains: Mapping[str, DomainArrays], classes: Sequence[str], per_cell: int, out: Path) -> None:
    """Write a PNG with the first pictures of each class (rows) in each domain (columns).

    Args:
        domains: Pictures by domain name; columns come in this order.
        classes: Names of the classes, in the order of their labels.
        per_cell: Pictures side by side in each cell.
        out: The file to write; its folder is created.
    """
    tile = ZOOM * max(arrays.images.shape[1] for arrays in domains.values())
    cell = per_cell * (tile + GAP) + MARGIN
    width = LABEL_WIDTH + MARGIN + len(domains) * cell
    height = LABEL_HEIGHT + MARGIN + len(classes) * (tile + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, name in enumerate(classes):
        middle = LABEL_HEIGHT + row * (tile + GAP) + tile // 2
        pen.text((LABEL_WIDTH, middle), name, fill="black", font=font, anchor="rm")
    for column, (name, arrays) in enumerate(domains.items()):
        left = LABEL_WIDTH + MARGIN + column * cell
        pen.text((left + (cell - MARGIN) // 2, LABEL_HEIGHT // 2), name, fill="black", font=font, anchor="mm")
        for row in range(len(classes)):
            chosen = np.flatnonzero(arrays.clean_labels == row)[:per_cell]
            for place, index in enumerate(chosen):
                picture = Image.fromarray(np.ascontiguousarray(arrays.images[index]))
                picture = picture.resize((tile, tile), Image.Resampling.LANCZOS)
                sheet.paste(picture, (left + place * (tile + GAP), LABEL_HEIGHT + row * (tile + GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, format="PNG")
