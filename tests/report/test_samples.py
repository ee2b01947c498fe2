from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg.errors import DataError
from hamdg.report.samples import Images, Sample, data_uri, read_images, spread
from hamdg.runs.figures import image_strips


def sample(step: int) -> Sample:
    return Sample(np.zeros((4, 4, 3), np.uint8), True, "photo", "cartoon", "dog", "dog", 0.9, 0.5, step)


def test_a_file_that_is_no_archive_is_named_without_advice_to_load_pickles(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(b"zz")
    message = f"`{path}` is damaged or no archive of images. Repeat the run with `--force`."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_images(path)


def test_frozen_samples_are_named_by_domain_and_class(request: pytest.FixtureRequest) -> None:
    found = read_images(Path(request.path).parents[1] / "golden" / "ham" / "samples.npz").samples
    assert len(found) == 12
    assert {one.model for one in found} == {"art_painting", "cartoon", "photo"}
    assert all(one.accepted == (one.confidence > one.threshold) for one in found)
    assert any(one.mislabeled for one in found)


def test_mislabeled() -> None:
    assert not sample(0).mislabeled
    assert replace(sample(0), clean_label="horse").mislabeled


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", images=np.zeros((1, 2, 2, 3), np.uint8), accepted=np.zeros(1, bool))
    with pytest.raises(DataError, match=re.escape("samples.npz` lacks `model`, `domain`, `label`")):
        read_images(tmp_path / "samples.npz")


def test_spread_takes_the_ends_and_orders_by_step() -> None:
    chosen = spread([sample(step) for step in (9, 3, 0, 6, 1, 2)], 3)
    assert [one.step for one in chosen] == [0, 2, 9]
    assert [one.step for one in spread([sample(2), sample(1)], 3)] == [1, 2]


def test_images_survive_the_page() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    raw = base64.b64decode(data_uri(image).removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(raw))), image)


def test_large_images_are_reduced() -> None:
    raw = base64.b64decode(data_uri(np.zeros((224, 200, 3), np.uint8)).removeprefix("data:image/png;base64,"))
    assert max(Image.open(io.BytesIO(raw)).size) == 96


def test_strips_that_a_figure_names_need_no_more_than_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "made.npz", images=np.zeros((3, 2, 2, 3), np.uint8))
    strip = {"title": "dog", "images": [{"index": 2, "caption": "late"}, {"index": 3, "caption": "not there"}]}
    figure = image_strips("Made", "made.npz", [strip])  # type: ignore[list-item]
    sheet = read_images(tmp_path / "made.npz").sheet(figure, [])
    assert sheet is not None
    ((heading, (found,)),) = sheet.groups
    assert (heading, found.title, [tile.caption for tile in found.tiles]) == ("", "dog", ["late"])


def test_a_log_of_offered_samples_is_sorted_by_model_and_by_what_was_accepted() -> None:
    rejected = replace(sample(3), accepted=False, clean_label="horse")
    sheet = Images(np.zeros((2, 4, 4, 3), np.uint8), [sample(1), rejected]).sheet(
        image_strips("Offered", "samples.npz", note="Some."), ["cartoon", "photo"]
    )
    assert sheet is not None
    assert [(name, [strip.title for strip in strips]) for name, strips in sheet.groups] == [
        ("The photo model", ["accepted", "rejected"])
    ]
    assert sheet.note == "Some. A red frame: training sees a wrong label."


def test_without_samples_there_is_no_sheet() -> None:
    assert Images(np.zeros((0, 4, 4, 3), np.uint8)).sheet(image_strips("Offered", "samples.npz"), ["photo"]) is None
