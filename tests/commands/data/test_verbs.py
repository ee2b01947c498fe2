"""The verbs `hamdg data list` and `hamdg data verify`, and wrong usage of all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from hamdg import cli
from hamdg.data.hub.table import open_table
from tests.commands.data.conftest import MANY, said
from tests.conftest import CpuTime, Plugin
from tests.toys import write

pytestmark = pytest.mark.usefixtures("toys")


def test_list_tells_what_there_is_and_where(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(root.parent))
    paragraphs = said(capsys, "list").split("\n\n")
    toys = next(one for one in paragraphs if one.startswith("toys"))
    assert toys.splitlines() == [
        "toys (Toys)",
        "    domains   real, sketch",
        "    classes   2: cat, dog",
        "    images    6, as in the papers",
        "              5, cut",
        f"    found     {root}",
    ]
    mini = next(one for one in paragraphs if one.startswith("mini"))
    assert "    found     everywhere: its images are rendered" in mini
    pacs = next(one for one in paragraphs if one.startswith("pacs"))
    assert "    hub       flwrlabs/pacs\n    found     not found" in pacs
    many = next(one for one in paragraphs if one.startswith("many"))
    assert "    classes   41, from class_00 to class_40" in many


def test_list_names_a_broken_package_and_goes_on(plugin: Plugin, capsys: pytest.CaptureFixture[str]) -> None:
    plugin("weather-benchmark", "hamdg.benchmarks", {"weather": "weather_benchmark:WEATHER"}, "1 / 0")
    paragraphs = said(capsys, "list").split("\n\n")
    assert paragraphs[-2] == (
        "weather\n    broken    The benchmark `weather` of the package `weather-benchmark` cannot be loaded "
        "(ZeroDivisionError: division by zero); repair or remove that package."
    )
    assert paragraphs[-1].startswith("custom")


def test_list_is_quick_and_imports_neither_torch_nor_the_hub(cpu_time: CpuTime) -> None:
    code = (
        "import sys\nfrom hamdg.cli import main\nmain(['data', 'list'])\n"
        "assert not {'torch', 'datasets', 'numpy', 'PIL'} & set(sys.modules)\n"
    )
    seconds, said = cpu_time(code)
    assert "art_painting, cartoon, photo, sketch" in said
    assert seconds < 0.5


def test_verify_prints_the_table_and_the_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "verify", "toys", str(root)).splitlines() == [
        f"Toys: {root}",
        "class  real  sketch  total",
        "-----  ----  ------  -----",
        "cat     2/2     1/1    3/3",
        "dog     1/1     2/2    3/3",
        "total   3/3     3/3    6/6",
        "",
        "By its counts this is Toys, as in the papers: 6 images.",
        "The data card is in data_card.json.",
    ]
    card = json.loads(Path("data_card.json").read_text())
    assert (card["version"], card["pictures"], card["contents_sha256"]) == ("as in the papers", 6, None)


def test_verify_recognizes_another_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "sketch" / "dog" / "1.png").unlink()
    shown = said(capsys, "verify", "toys", str(root), "--out", "cards/toys.json")
    assert "By its counts this is Toys, cut: 5 images.\nAbout these counts: One sketch is missing.\n" in shown
    assert json.loads(Path("cards/toys.json").read_text())["version"] == "cut"


def test_verify_lists_all_that_is_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "real" / "cat" / "1.png").unlink()
    (root / "sketch" / "dogs").mkdir()
    (root / "sketch" / "dog" / "notes.txt").touch()
    (root / "sketch" / "cat" / "0.png").write_text("no image")
    lines = said(capsys, "verify", "toys", str(root), code=1).splitlines()
    assert lines[1:6] == [
        "class    real  sketch   total",
        "-----  ------  ------  ------",
        "cat    1/2 -1     1/1  2/3 -1",
        "dog    1/1        2/2  3/3",
        "total  2/3 -1     3/3  5/6 -1",
    ]
    assert lines[6:] == [
        "",
        "`sketch`: the folder `dogs` is not a class of Toys; did you mean `dog`?",
        "1 image cannot be read:",
        f"    {root}/sketch/cat/0.png: no image format that Pillow knows; the file begins with b'no image'",
        "Files ignored because they are not images: 1.",
        "This is no known version of Toys; nearest is Toys, as in the papers: 6 images; here -1 in real/cat.",
        "The data card is in data_card.json.",
    ]
    assert json.loads(Path("data_card.json").read_text())["version"] is None


def test_verify_counts_a_missing_domain(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "sketch")
    lines = said(capsys, "verify", "toys", str(root), code=1).splitlines()
    assert lines[5] == "total   3/3  0/3 -3  3/6 -3"
    assert lines[7] == "`sketch`: the domain has no folder; the folders there are `real`."


def test_verify_finds_equal_files_and_can_leave_decoding_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "verify", "toys", str(root), "--contents", "--no-decode")
    assert "4 images repeat another one byte for byte:\n    real/cat/0.png = real/dog/0.png = " in shown
    assert "No image was decoded (`--no-decode`), so damaged ones were not found." in shown
    assert len(json.loads(Path("data_card.json").read_text())["contents_sha256"]) == 64


def test_verify_lists_of_many_classes_those_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in MANY.classes:
        write(tmp_path / "many" / "real" / name / "a.png")
    write(tmp_path / "many" / "real" / "class_07" / "b.png")
    shown = said(capsys, "verify", "many", "many", code=1)
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["class_07", "total"]
    assert "Left out: 40 classes of which nothing wrong is known; `--all` lists them." in shown
    assert "class_08" in said(capsys, "verify", "many", "many", "--all", code=1)
    for number in range(8):
        write(tmp_path / "many" / "real" / "class_07" / f"{number}.png")
    shown = said(capsys, "verify", "many", "many")
    assert "By its counts this is Many, raw: 50 images.\nIts counts by class are not known, so only" in shown


def test_verify_names_truncated_images_and_what_would_read_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "real" / "cat" / "0.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-1000])
    shown = said(capsys, "verify", "toys", str(root), code=1)
    assert f"1 image cannot be read:\n    {path}: image file is truncated" in shown
    assert "Of these, `--data.truncated=read` would read 1 as far as they go, as DomainBed does." in shown
    shown = said(capsys, "verify", "toys", str(root), "--data.truncated=read")
    assert f"1 image of truncated files, read as far as they go:\n    {path}: image file is truncated" in shown
    assert json.loads(Path("data_card.json").read_text())["truncated"] == "read"
    assert "Expected `data.truncated` to be one of `refuse`, `read`, but got `reed`" in said(
        capsys, "verify", "toys", str(root), "--data.truncated=reed", code=2
    )


def test_verify_of_own_data_wants_every_class_everywhere(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "verify", "custom", str(root))
    assert "Every class has images in every domain, and none is damaged: 2 classes in 2 domains." in shown
    assert shown == said(capsys, "verify", "custom", f"--data.root={root}")
    (root / "real" / "dog" / "0.png").unlink()
    shown = said(capsys, "verify", "custom", str(root), code=1)
    assert "`real`: there are no images in the folder of the class `dog`." in shown
    assert "Not everything is there or readable: 2 classes in 2 domains." in shown


def test_verify_of_own_data_leaves_out_what_is_not_chosen(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "splits").mkdir()
    (root / "splits" / "list.txt").touch()
    said(capsys, "verify", "custom", str(root), code=2)
    shown = said(capsys, "verify", "custom", str(root), "--data.domains=[Sketch,real]")
    assert "Left out because `data.domains` names others: `splits`." in shown
    assert "2 classes in 2 domains." in shown


def table_of(root: Path, file: Path) -> Path:
    """Write the images of a folder into a `.parquet` file, their domains as numbers."""
    paths = sorted(root.rglob("*.png"))
    domains = sorted({path.parent.parent.name for path in paths})
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": None} for path in paths],
        "label": [path.parent.name for path in paths],
        "domain": [domains.index(path.parent.parent.name) for path in paths],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), file)
    return file


@pytest.mark.parametrize("file", ["toys.parquet", "data/train-00000-of-00001.parquet", "toys-0.parquet"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_parquet_file_or_a_folder_of_them_is_a_root(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    folder: bool,
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    place = table_of(root, tmp_path / "table" / file)
    place = tmp_path / "table" if folder else place
    shown = said(capsys, "verify", "custom", str(place))
    assert shown.startswith(f"{place.name}: {place}\n")
    assert "2 classes in 2 domains." in shown
    assert next(line for line in shown.splitlines() if line.startswith("total")).split() == ["total", "3", "3", "6"]
    said(capsys, "sheet", "custom", str(place), "--out=sheet.png")
    open_table.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "tosy"], "`benchmark`: there is no benchmark `tosy`; did you mean `toys`?"),
        (["sheet", "mino"], "`benchmark`: there is no benchmark `mino`; did you mean `mini`?"),
        (
            ["verify", "mini"],
            "`mini` is rendered on this machine, so there are no files to verify; look at it with "
            "`hamdg data sheet mini`.",
        ),
        (["sheet", "mini", "--per-cell=0"], "Expected `--per-cell` to be an integer between 1 and 100, but got `0`."),
        (
            ["sheet", "mini", "--per-cell=101"],
            "Expected `--per-cell` to be an integer between 1 and 100, but got `101`.",
        ),
        (
            ["prepare", "toys", "--size=1000000000"],
            "Expected `--size` to be an integer between 1 and 4,096, but got `1000000000`.",
        ),
        (["prepare", "toys", "--size=0"], "Expected `--size` to be an integer between 1 and 4,096, but got `0`."),
        (["prepare", "toys", "--view=trainign"], "There is no view `trainign`; did you mean `training`?"),
        (
            ["prepare", "toys", "Toys", "--domain=photo"],
            "`--domain`: `toys` has no domain `photo`; it has `real`, `sketch`.",
        ),
        (["sheet", "toys", "Toys", "--classes=cat,cow"], "`--classes`: Toys has no class `cow`; it has `cat`, `dog`."),
        (["verify", "toys", "--content"], "There is no option or key `--content`; did you mean `--contents`?"),
        (
            ["verify", "toys", "Toys", "--data.subset=3"],
            "`hamdg data verify` takes the recipe keys `data.root`, `data.hub`, `data.revision`, `data.lists`, "
            "`data.domains`, `data.ids`, `data.columns.image`, `data.columns.label`, `data.columns.domain`, "
            "`data.truncated` here, but got `--data.subset`; leave it out.",
        ),
        (
            ["sheet", "mini", "--data.shots=1"],
            "`hamdg data sheet mini` takes the recipe keys `data.mini` here, but got `--data.shots`; leave it out.",
        ),
        (
            ["prepare", "mini", "--train.steps", "3"],
            "`hamdg data prepare mini` takes the recipe keys `data.mini`, `data.cache` here, but got `--train.steps`; "
            "leave it out.",
        ),
        (
            ["verify", "toys", "Toys", "--data.revision=abc"],
            "`data.revision` belongs to `data.hub`, which is not given; leave it out.",
        ),
        (
            ["verify", "toys", "Toys", "--data.domains=[real]"],
            "`data.domains` belongs to `benchmark: custom`; `toys` has its own domains, so leave it out.",
        ),
        (
            ["verify", "custom", "Toys", "--data.domains=[real, skecth]"],
            "`data.domains` names `skecth`, but `{root}` has `real`, `sketch`.",
        ),
        (
            ["verify", "toys", "Toys", "--out=Toys"],
            "Cannot write `Toys`: Is a directory; name another file with `--out`.",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert root.is_dir()
    message = message.replace("{root}", str(root))
    assert said(capsys, *arguments, code=2) == f"hamdg: error: {message}\n"


def test_images_that_are_nowhere_are_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("verify", "prepare", "sheet"):
        assert "`toys`" in said(capsys, verb, "toys", code=2)


def test_an_interrupted_verification_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hamdg.data.verify.verify.examine", interrupted)
    assert cli.main(["data", "verify", "toys", str(root)]) == 130
    assert capsys.readouterr().err == "\nhamdg: stopped; nothing was written.\n"
    assert not Path("data_card.json").exists()


@pytest.mark.real_data
def test_real_images_are_verified(pacs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "verify", "pacs", str(pacs_root))
    assert "By its counts this is PACS, as in the papers: 9,991 images." in shown


@pytest.mark.real_data
def test_a_missing_sketch_and_a_damaged_image_are_told(
    pacs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(
        pacs_root, copy, copy_function=os.link if pacs_root.stat().st_dev == tmp_path.stat().st_dev else shutil.copy
    )
    next((copy / "sketch" / "dog").iterdir()).unlink()
    assert "By its counts this is PACS, Dassl's: 9,990 images." in said(
        capsys, "verify", "pacs", str(copy), "--no-decode"
    )
    broken = next((copy / "photo" / "dog").iterdir())
    content = broken.read_bytes()
    broken.unlink()  # so that the file it is linked to stays whole
    broken.write_bytes(content[: len(content) // 2])
    shown = said(capsys, "verify", "pacs", str(copy), code=1)
    assert f"1 image cannot be read:\n    {broken}: " in shown
