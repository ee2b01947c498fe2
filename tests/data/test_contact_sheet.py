"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hamdg.data.contact_sheet import (
    GAP,
    LABEL_HEIGHT,
    LABEL_WIDTH,
    MARGIN,
    contact_sheet,
    listed_cells,
    pages,
    rendered_cells,
)
from hamdg.mini import DomainArrays
from tests.toys import Memory, encoded

RED, GREEN, BLUE, GRAY, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90), (255, 255, 255)


def flat_domain(name: str, colors: list[tuple[int, int, int]], labels: list[int]) -> DomainArrays:
    images = np.stack([np.full((16, 16, 3), color, dtype=np.uint8) for color in colors])
    return DomainArrays(name, images, np.zeros(len(labels), dtype=np.int64), np.array(labels, dtype=np.int64))


def test_rows_are_classes_and_columns_are_domains(tmp_path: Path) -> None:
    domains = {
        "first": rendered_cells(flat_domain("first", [RED, GREEN, GREEN], [0, 1, 1]), 2),
        "second": rendered_cells(flat_domain("second", [BLUE, BLUE, GRAY], [0, 0, 1]), 2),
    }
    out = tmp_path / "new" / "sheet.png"
    contact_sheet(domains, {"cat": 0, "hat": 1}, per_cell=2, tile=32, out=out)
    sheet = np.asarray(Image.open(out))
    cell, tile = 2 * (32 + GAP) + MARGIN, 32

    def at(domain: int, place: int, row: int) -> tuple[int, ...]:
        x = LABEL_WIDTH + MARGIN + domain * cell + place * (tile + GAP) + tile // 2
        return tuple(sheet[LABEL_HEIGHT + row * (tile + GAP) + tile // 2, x])

    assert [at(0, 0, 0), at(0, 1, 0), at(0, 0, 1), at(0, 1, 1)] == [RED, WHITE, GREEN, GREEN]
    assert [at(1, 0, 0), at(1, 1, 0), at(1, 0, 1), at(1, 1, 1)] == [BLUE, BLUE, GRAY, WHITE]
    # The class names stand left of the images, the domains' above them.
    assert (sheet[:, :LABEL_WIDTH] < 128).any()
    assert (sheet[: LABEL_HEIGHT - 4, LABEL_WIDTH:] < 128).any()


def test_long_names_are_not_cut(tmp_path: Path) -> None:
    domains = {"a_domain_with_a_long_name": rendered_cells(flat_domain("a", [RED], [0]), 1)}
    contact_sheet(domains, {"a_class_with_a_very_very_long_name": 0}, per_cell=1, tile=32, out=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    dark = sheet.max(axis=2) < 128
    assert dark.any()
    assert not dark[:, 0].any()
    assert not dark[:, -1].any()


def test_files_keep_their_shape_and_fit_into_tiles() -> None:
    shapes = [encoded((400, 100), RED), encoded((10, 20), GREEN), encoded((9000, 1), BLUE)]
    cells = listed_cells(Memory(shapes).listing([1, 1, 1]), 3, 40)
    assert [image.size for image in cells(1) if image is not None] == [(40, 10), (20, 40), (40, 1)]
    assert cells(0) == []


def test_a_damaged_file_leaves_its_tile_empty(tmp_path: Path) -> None:
    cells = listed_cells(Memory([b"no picture", encoded((40, 40), GREEN)]).listing([0, 0]), 2, 40)
    contact_sheet({"real": cells}, {"cat": 0}, per_cell=2, tile=40, out=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    row, left = LABEL_HEIGHT + 20, LABEL_WIDTH + MARGIN + 20
    assert tuple(sheet[row, left]) == WHITE
    assert tuple(sheet[row, left + 40 + GAP]) == GREEN


def test_many_classes_are_spread_evenly() -> None:
    names = [str(number) for number in range(65)]
    parts = pages(names)
    assert [len(part) for part in parts] == [33, 32]
    assert [name for part in parts for name in part] == names
    assert len(pages([str(number) for number in range(345)])) == 9
    assert pages(["only"]) == [["only"]]
