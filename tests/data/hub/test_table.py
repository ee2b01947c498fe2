from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import pytest
from datasets import ClassLabel, Value
from PIL import Image
from pyarrow import parquet

from hamdg.data.benchmark import Hub
from hamdg.data.hub.table import open_table
from hamdg.errors import DataError

if TYPE_CHECKING:
    from tests.data.hub.conftest import Hubs


def test_splits_follow_one_another_and_names_are_one_list(hubs: Hubs) -> None:
    hubs.write(hubs.pets(4, label=["cat", "eel", "cat", "eel"]), split="test")
    hub = hubs.write(hubs.pets(6))
    table = open_table(hub)
    assert len(table) == 10
    assert table.labels.names == ("cat", "dog", "eel")
    assert table.labels.codes.tolist() == [0, 1, 0, 1, 0, 1, 0, 2, 0, 2]
    assert [table.row_name(row) for row in (0, 5, 6, 9)] == ["train row 0", "train row 5", "test row 0", "test row 3"]
    assert table.content(7) == hubs.image(1)


def test_a_domain_can_be_a_number_with_a_name(hubs: Hubs) -> None:
    rows = hubs.product([1, 0], ["dog", "cat"])
    table = open_table(hubs.write(rows, {"domain": ClassLabel(names=["sketch", "photo"])}))
    assert [table.domains.names[code] for code in table.domains.codes] == ["photo", "sketch"] * 2


def test_a_domain_can_be_a_number_without_a_name(hubs: Hubs) -> None:
    rows = hubs.product([100, 38], ["dog", "cat"])
    table = open_table(hubs.write(rows, {"domain": Value("int16")}))
    assert [table.domains.names[code] for code in table.domains.codes] == ["100", "38"] * 2


def test_names_that_no_row_has_are_left_out(hubs: Hubs) -> None:
    rows = hubs.pets(label=[3, 1] * 4)
    table = open_table(hubs.write(rows, {"label": ClassLabel(names=["unused", "dog", "other", "cat"])}))
    assert table.labels.names == ("dog", "cat")
    assert table.labels.codes.tolist() == [1, 0] * 4


def test_columns_may_have_other_names(hubs: Hubs) -> None:
    rows = hubs.pets()
    own = {"img": rows["image"], "animal": rows["label"], "style": rows["domain"]}
    hub = hubs.write(own, {"img": datasets.Image()})
    table = open_table(Hub(hub.id, image="img", label="animal", domain="style"))
    assert (table.labels.names, table.domains.names) == (("cat", "dog"), ("photo", "sketch"))
    assert table.content(3) == hubs.image(3)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "JPEG", "TIFF"])
def test_images_come_as_the_bytes_that_were_stored(hubs: Hubs, kind: str) -> None:
    stored = [hubs.image(row, kind) for row in range(8)]
    rows = hubs.pets(image=[{"bytes": one, "path": f"{row}.x"} for row, one in enumerate(stored)])
    table = open_table(hubs.write(rows))
    assert [table.content(row) for row in range(8)] == stored
    assert table.sizes.tolist() == [len(one) for one in stored]
    assert Image.open(io.BytesIO(table.content(0))).format == kind


def test_a_plain_column_of_bytes_is_as_good_as_images(hubs: Hubs) -> None:
    rows = hubs.pets(image=[hubs.image(row) for row in range(8)])
    table = open_table(hubs.write(rows, {"image": Value("binary")}))
    assert table.content(5) == hubs.image(5)
    assert table.sizes.tolist() == [len(hubs.image(row)) for row in range(8)]


def test_a_data_set_that_is_replaced_has_another_stamp(hubs: Hubs, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hubs.write(hubs.pets())
    assert open_table(hub).stamp(0) == 0  # it was written just now
    monkeypatch.setattr("hamdg.data.listing.SETTLED", 0)
    stamps = set()
    for shift in (0, 0, 1):
        rows: list[object] = [{"bytes": hubs.image(7 * (row + shift), "BMP"), "path": None} for row in range(8)]
        if shift:
            hubs.write(hubs.pets(image=rows))
        open_table.cache_clear()
        stamps.add(open_table(hub).stamp(3))
    assert len(stamps) == 2
    assert all(stamps)


def test_a_folder_of_images_with_a_table_is_read_from_its_files(
    hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamdg.data.listing.SETTLED", 0)
    lines = []
    for row, (label, domain) in enumerate(zip(hubs.pets()["label"], hubs.pets()["domain"], strict=True)):
        (tmp_path / f"{row}.png").write_bytes(hubs.image(row))
        lines.append(json.dumps({"file_name": f"{row}.png", "label": label, "domain": domain}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    table = open_table(Hub(str(tmp_path)))
    assert [table.content(row) for row in range(8)] == [hubs.image(row) for row in range(8)]
    assert table.sizes.tolist() == [len(hubs.image(row)) for row in range(8)]
    stamps = [table.stamp(row) for row in range(8)]
    assert all(stamps)
    (tmp_path / "4.png").touch()
    assert [table.stamp(row) == stamps[row] for row in range(8)] == [row != 4 for row in range(8)]
    (tmp_path / "5.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"5\.png"):
        table.content(5)


def test_a_row_without_a_image_is_an_error_when_it_is_read(hubs: Hubs) -> None:
    table = open_table(hubs.write(hubs.pets(image=[{"bytes": hubs.image(1), "path": None}] * 7 + [None])))
    assert table.sizes[7] == 0
    with pytest.raises(OSError, match="the row has no image"):
        table.content(7)


def test_a_number_without_a_name_is_refused(hubs: Hubs) -> None:
    hub = hubs.write(hubs.pets(label=[0, 1, 2, 1] * 2), {"label": ClassLabel(names=["cat", "dog", "cow"])})
    (file,) = Path(hub.id).rglob("*.parquet")
    rows = parquet.read_table(file)
    notes = {name: value.replace(b', "cow"', b"") for name, value in rows.schema.metadata.items()}
    parquet.write_table(rows.replace_schema_metadata(notes), file)
    sentence = f"The column `label` of `{hub.id}` has the number 2, but names for 2 from 0 on; correct the table."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        open_table(hub)


@pytest.mark.parametrize(
    ("changes", "features", "sentence"),
    [
        (
            {"domain": None},
            {},
            "The data set `{id}` has no column `domain`; it has `image`, `label`. "
            "Name the right ones with `data.columns.domain`.",
        ),
        (
            {"image": None, "label": None, "img": [b"x"] * 8},
            {"img": Value("binary")},
            "The data set `{id}` has no column `image`, `label`; it has `domain`, `img`. "
            "Name the right ones with `data.columns.image` and `data.columns.label`.",
        ),
        (
            {"image": ["a.png"] * 8},
            {"image": Value("string")},
            "The column `image` of `{id}` holds no images (Value('string')); "
            "name the column that does with `data.columns.image`.",
        ),
        (
            {"label": [0, 1] * 4},
            {"label": Value("int64")},
            "The column `label` of `{id}` holds numbers or the like (Value('int64')), not names; name a "
            "column of names with `data.columns.label`, or make it a `ClassLabel` with names.",
        ),
        (
            {"label": ["cat", None, "dog", None] * 2},
            {},
            "`{id}` has rows with nothing in the column `label` (4), the first is train row 1; "
            "every image needs a class and a domain.",
        ),
        (
            {"domain": [0, 1, 0, -1] * 2},
            {"domain": ClassLabel(names=["photo", "sketch"])},
            "`{id}` has rows with nothing in the column `domain` (2), the first is train row 3; "
            "every image needs a class and a domain.",
        ),
        (
            {"domain": [None] * 8},
            {},
            "`{id}` has rows with nothing in the column `domain` (8), the first is train row 0; "
            "every image needs a class and a domain.",
        ),
    ],
    ids=["a missing column", "two missing columns", "no images", "numbers", "nothing", "minus one", "all nothing"],
)
def test_columns_that_are_not_what_they_should_be_are_refused(
    hubs: Hubs, changes: dict[str, list[object] | None], features: dict[str, object], sentence: str
) -> None:
    hub = hubs.write(hubs.pets(**changes), features)
    with pytest.raises(DataError) as caught:
        open_table(hub)
    assert str(caught.value) == sentence.format(id=hub.id)
