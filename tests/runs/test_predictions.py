from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamdg.errors import DataError, RunDirectoryError
from hamdg.files import write_json
from hamdg.runs.directory import RunDirectory
from hamdg.runs.lines import LineFacts, read_lines
from hamdg.runs.predictions import (
    MapPredictions,
    Mistakes,
    Predictions,
    TargetPredictions,
    WorstMaps,
    read_predictions,
    write_predictions,
)


def made(images: int = 5) -> Predictions:
    draw = np.random.default_rng(0)
    keys = ["zero_shot", "source/photo", "ham"]
    target = TargetPredictions(
        draw.integers(0, 3, images),
        {key: draw.integers(0, 3, images) for key in keys},
        {key: draw.random(images, dtype=np.float32) for key in keys},
    )
    mistakes = Mistakes(draw.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8), ("sketch", "sketch"), np.array([3, 1]))
    return Predictions({"sketch": target}, mistakes)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file, wanted = tmp_path / "predictions.npz", made()
    write_predictions(file, wanted)
    found = read_predictions(file)
    own, read = wanted.targets["sketch"], found.targets["sketch"]
    np.testing.assert_array_equal(read.labels, own.labels)
    assert list(read.predicted) == list(read.confidence) == list(own.predicted)
    for key in own.predicted:
        np.testing.assert_array_equal(read.predicted[key], own.predicted[key])
        np.testing.assert_array_equal(read.confidence[key], own.confidence[key])
    assert found.mistakes is not None
    assert wanted.mistakes is not None
    assert found.mistakes.targets == ("sketch", "sketch")
    np.testing.assert_array_equal(found.mistakes.images, wanted.mistakes.images)
    np.testing.assert_array_equal(found.mistakes.positions, [3, 1])


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_predictions(tmp_path / name, made())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_large_number_of_classes_keeps_its_numbers(tmp_path: Path) -> None:
    labels = np.array([0, 40_000])
    target = TargetPredictions(labels, {"ham": labels[::-1]}, {"ham": np.ones(2, np.float32)})
    write_predictions(tmp_path / "a.npz", Predictions({"a": target}))
    found = read_predictions(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.targets["a"].predicted["ham"], [40_000, 0])
    assert found.mistakes is None


def without(file: Path, name: str) -> None:
    with np.load(file) as stored:
        arrays = {key: stored[key] for key in stored if key != name}
    np.savez(file, **arrays)


def test_a_damaged_file_says_how_it_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "predictions.npz"
    again = f"let `hamdg evaluate {tmp_path}` write it again"
    for damage in (lambda: file.write_bytes(b"no archive"), lambda: np.savez(file, other=np.zeros(1))):
        damage()
        with pytest.raises(DataError, match=f"is damaged or holds no predictions.*{again}"):
            read_predictions(file)
    for name in ("labels_0", "confidence_0", "mistake_positions"):
        write_predictions(file, made())
        without(file, name)
        with pytest.raises(DataError, match="is damaged or holds no predictions"):
            read_predictions(file)


def test_damage_at_any_place_is_told_in_the_same_words(tmp_path: Path) -> None:
    file = tmp_path / "predictions.npz"
    write_predictions(file, made())
    whole = file.read_bytes()
    draw = random.Random(0)
    # The last places are those of the archive's index.
    for at in [*draw.sample(range(len(whole)), 300), *range(len(whole) - 22, len(whole))]:
        file.write_bytes(whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :])
        with suppress(DataError):
            read_predictions(file)


def test_a_mistake_of_no_image_is_refused(tmp_path: Path) -> None:
    file, found = tmp_path / "predictions.npz", made(images=2)
    write_predictions(file, found)
    with pytest.raises(DataError, match="its mistakes are of no image"):
        read_predictions(file)


def test_lines_are_read_and_checked(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert read_lines(run) is None
    facts = LineFacts(result="ham", at=[0.0, 1.0], images={"a": 3}, lines={"zero_shot": {"a": [0.5, None]}})
    write_json(run.lines, facts)
    assert read_lines(run) == facts
    write_json(run.lines, {**facts, "at": [0.0]})
    with pytest.raises(RunDirectoryError, match="a line has not one value a point"):
        read_lines(run)


def maps() -> Predictions:
    draw, keys = np.random.default_rng(1), ["source/game", "erm"]
    found = MapPredictions(
        {key: draw.integers(0, 1 << 40, (4, 4)) for key in keys},
        {key: draw.random(6, dtype=np.float32) for key in keys},
        {key: draw.random(6, dtype=np.float32) for key in keys},
    )
    return Predictions({}, None, {"dusk": found, "fog": found})


def test_figures_of_label_maps_are_read_back(tmp_path: Path) -> None:
    file, wanted = tmp_path / "a.npz", maps().maps["fog"]
    write_predictions(file, maps())
    found = read_predictions(file)
    assert (found.targets, found.mistakes, list(found.maps)) == ({}, None, ["dusk", "fog"])
    read = found.maps["fog"]
    assert list(read.predicted) == list(wanted.confusions)
    for key in wanted.confusions:
        np.testing.assert_array_equal(read.confusion(key, 4), wanted.confusions[key])
        np.testing.assert_array_equal(read.mean_iou[key], wanted.mean_iou[key])
        np.testing.assert_array_equal(read.pixel_accuracy[key], wanted.pixel_accuracy[key])
    # No pixel is kept.
    assert file.stat().st_size < 5_000


def worst(position: int = 5) -> WorstMaps:
    draw = np.random.default_rng(2)
    images, labels = draw.integers(0, 256, (1, 4, 6, 3), dtype=np.uint8), draw.integers(0, 4, (2, 1, 4, 6), np.uint8)
    colors = draw.integers(0, 256, (4, 3), dtype=np.uint8)
    return WorstMaps(images, labels[0], labels[1], ("fog",), np.array([position]), colors)


def test_the_worst_label_maps_are_read_back(tmp_path: Path) -> None:
    file, wanted = tmp_path / "a.npz", worst()
    write_predictions(file, replace(maps(), worst=wanted))
    found = read_predictions(file).worst
    assert found is not None
    for name in ("images", "labels", "predicted", "positions", "colors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.targets == ("fog",)
    for bad, message in (
        (worst(position=6), "its worst label maps are of no image"),
        (replace(wanted, targets=("day",)), "its worst label maps are of no image"),
        (replace(wanted, labels=wanted.labels[:, 1:]), "its worst label maps do not fit"),
    ):
        write_predictions(file, replace(maps(), worst=bad))
        with pytest.raises(DataError, match=message):
            read_predictions(file)


def test_figures_of_label_maps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    write_predictions(file, maps())
    with np.load(file) as stored:
        arrays = dict(stored)
    np.savez_compressed(file, **arrays | {"map_iou_0": arrays["map_iou_0"][:1]})
    with pytest.raises(DataError, match="its figures of label maps do not fit"):
        read_predictions(file)
