"""The verbs `hamdg data prepare` and `hamdg data sheet`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg import cli
from tests.commands.data.conftest import said
from tests.toys import write

pytestmark = pytest.mark.usefixtures("toys")


def test_prepare_fills_the_cache_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("prepare", "toys", str(root), "--size=16", "--data.cache=cache")
    lines = said(capsys, *arguments).splitlines()
    assert lines[0].startswith("    evaluation-16 and training-23: 0.0 MB in all in cache/pictures, ")
    assert sum("decoding" in line for line in lines) == 4
    assert lines[-1] == "6 images are decoded in cache/pictures."
    assert len(list(Path("cache/pictures").iterdir())) == 4
    assert said(capsys, *arguments).splitlines() == lines[-1:]


def test_prepare_takes_one_view_of_one_domain(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--size=16", "--data.cache=cache", "--view=training", "--domain", "Sketch")
    assert said(capsys, "prepare", "toys", str(root), *arguments).endswith("3 images are decoded in cache/pictures.\n")
    (folder,) = Path("cache/pictures").iterdir()
    assert folder.name.endswith("-training-23")


def test_prepare_refuses_what_does_not_fit(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1000))
    assert cli.main(["data", "prepare", "toys", str(root), "--data.cache=cache"]) == 1
    message = capsys.readouterr().err
    assert "Keeping the decoded images (evaluation-224 and training-310) needs 0.9 MB in `cache/pictures`" in message
    assert not Path("cache").exists()


def test_prepare_renders_mini(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data.cache=cache", "--domain=photo", "--data.mini.images_per_class=2")
    assert said(capsys, "prepare", "mini", *arguments) == "    `photo`: 14 images rendered\n"
    assert len(list(Path("cache").iterdir())) == 1


def test_prepare_crops_no_image_that_has_a_label_map(capsys: pytest.CaptureFixture[str]) -> None:
    for domain in ("game", "real"):
        for kind, mode in (("images", "RGB"), ("labels", "L")):
            folder = Path("streets") / domain / kind
            folder.mkdir(parents=True)
            Image.new(mode, (8, 8), 7).save(folder / "a.png")
    arguments = ("prepare", "custom", "streets", "--size=16", "--data.cache=cache", "--data.ids={7: road, 8: sky}")
    assert said(capsys, *arguments, "--view=training", code=2) == (
        "hamdg: error: Images with label maps are not cropped, so that there is no training view to prepare.\n"
    )
    assert not Path("cache").exists()
    assert said(capsys, *arguments).splitlines()[-1] == "2 images are decoded in cache/pictures."
    assert [folder.name.endswith("-evaluation-16") for folder in Path("cache/pictures").iterdir()] == [True, True]


def test_sheet_draws_files_and_leaves_missing_ones_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "real" / "dog")
    assert said(capsys, "sheet", "toys", str(root), "--classes", "dog", "--per-cell=2") == "toys-sheet.png\n"
    sheet = np.asarray(Image.open("toys-sheet.png"))
    assert sheet.shape[0] < 150
    assert (sheet[30:120, 100:320] == 255).all()
    assert not (sheet[30:120, 320:] == 255).all()


def test_sheet_of_many_classes_has_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "many" / "real" / "class_07" / "a.png")
    shown = said(capsys, "sheet", "many", "many", "--out=out/many.png", "--per-cell=1")
    assert shown.splitlines() == ["out/many-1.png", "out/many-2.png"]
    with Image.open("out/many-1.png") as first, Image.open("out/many-2.png") as second:
        assert first.height > second.height


def test_sheet_draws_mini(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    arguments = ("--out", str(out), "--per-cell=1", "--data.mini.images_per_class=2")
    assert said(capsys, "sheet", "mini", *arguments) == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_sheet_draws_streets_and_their_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    arguments = ("--out", str(out), "--per-cell=1", "--data.scenes.images=5", "--data.scenes.image_size=32")
    assert said(capsys, "sheet", "mini-scenes", *arguments) == f"{out}\n"
    purple = (np.asarray(Image.open(out)) == (128, 64, 128)).all(axis=2)
    assert purple.any()


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    arguments = ("--out=file/sheet.png", "--per-cell=1", "--data.mini.images_per_class=2")
    message = said(capsys, "sheet", "mini", *arguments, code=2)
    assert message == "hamdg: error: Cannot write `file/sheet.png`: File exists; name another file with `--out`.\n"
