"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hamdg.data.arrays import DomainArrays
from hamdg.data.sheet import GAP, LABEL_HEIGHT, LABEL_WIDTH, MARGIN, contact_sheet


def flat_domain(name: str, colours: list[tuple[int, int, int]], labels: list[int]) -> DomainArrays:
    images = np.stack([np.full((16, 16, 3), colour, dtype=np.uint8) for colour in colours])
    return DomainArrays(name, images, np.zeros(len(labels), dtype=np.int64), np.array(labels, dtype=np.int64))


def test_rows_are_classes_and_columns_are_domains(tmp_path: Path) -> None:
    red, green, blue, grey = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
    domains = {
        "first": flat_domain("first", [red, green, green], [0, 1, 1]),
        "second": flat_domain("second", [blue, blue, grey], [0, 0, 1]),
    }
    out = tmp_path / "new" / "sheet.png"
    contact_sheet(domains, ["cat", "hat"], per_cell=2, out=out)
    sheet = np.asarray(Image.open(out))
    cell, tile = 2 * (32 + GAP) + MARGIN, 32

    def at(domain: int, place: int, row: int) -> tuple[int, ...]:
        x = LABEL_WIDTH + MARGIN + domain * cell + place * (tile + GAP) + tile // 2
        return tuple(sheet[LABEL_HEIGHT + row * (tile + GAP) + tile // 2, x])

    white = (255, 255, 255)
    assert [at(0, 0, 0), at(0, 1, 0), at(0, 0, 1), at(0, 1, 1)] == [red, white, green, green]
    assert [at(1, 0, 0), at(1, 1, 0), at(1, 0, 1), at(1, 1, 1)] == [blue, blue, grey, white]
    # The class names stand left of the pictures, the domains' above them.
    assert (sheet[:, :LABEL_WIDTH] < 128).any()
    assert (sheet[: LABEL_HEIGHT - 4, LABEL_WIDTH:] < 128).any()
