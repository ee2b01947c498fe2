"""The cache of rendered images: written whole, checked on loading, shared by processes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamdg.config.data import MiniConfig
from hamdg.errors import ConfigError, StorageError
from hamdg.mini import cache as cache_module
from hamdg.mini import load_domain, render_domain
from hamdg.mini.cache import cache_file

CONFIG = MiniConfig(images_per_class=2, image_size=32)


def forbid_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(domain: str, config: MiniConfig) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(cache_module, "render_images", fail)


def test_the_second_load_maps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_domain("cartoon", CONFIG, tmp_path / "new" / "folder")
    forbid_rendering(monkeypatch)
    second = load_domain("cartoon", CONFIG, tmp_path / "new" / "folder")
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.images, render_domain("cartoon", CONFIG).images)


def test_one_file_serves_all_amounts_of_label_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_domain("cartoon", CONFIG, tmp_path)
    forbid_rendering(monkeypatch)
    noisy = load_domain("cartoon", replace(CONFIG, label_noise=0.5), tmp_path)
    assert int((noisy.labels != noisy.clean_labels).sum()) == 7


@pytest.mark.parametrize(
    "other",
    [
        replace(CONFIG, seed=1),
        replace(CONFIG, images_per_class=3),
        replace(CONFIG, image_size=33),
        replace(CONFIG, spurious=0.5),
        replace(CONFIG, imbalance=1.1),
    ],
)
def test_what_changes_the_images_changes_the_file(tmp_path: Path, other: MiniConfig) -> None:
    assert cache_file("photo", other, tmp_path) != cache_file("photo", CONFIG, tmp_path)
    assert cache_file("sketch", CONFIG, tmp_path) != cache_file("photo", CONFIG, tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file_is_rendered_again(tmp_path: Path, damage: str) -> None:
    load_domain("sketch", CONFIG, tmp_path)
    path = cache_file("sketch", CONFIG, tmp_path)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"truncated": content[:-100], "flipped": flipped, "empty": b"", "text": b"hello"}[damage])
    again = load_domain("sketch", CONFIG, tmp_path)
    np.testing.assert_array_equal(again.images, render_domain("sketch", CONFIG).images)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_may_start_together(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hamdg.config.data import MiniConfig\n"
        "from hamdg.mini import data_digest, load_domain\n"
        "config = MiniConfig(images_per_class=10, image_size=32)\n"
        "print(data_digest([load_domain('art_painting', config, Path(sys.argv[1]))]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(printed) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    occupied = tmp_path / "cache"
    occupied.write_text("a file, not a folder")
    message = (
        f"The rendered images could not be written to `{occupied}` (File exists); free some space there "
        "or choose another folder with `data.cache`."
    )
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        load_domain("cartoon", CONFIG, occupied)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hamdg.files.os.replace", full)
    message = (
        f"The rendered images could not be written to `{tmp_path}` (No space left on device); free some space there "
        "or choose another folder with `data.cache`."
    )
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        load_domain("cartoon", CONFIG, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_settings_are_checked_before_the_cache_is_touched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        load_domain("cartoon", replace(CONFIG, image_size=1), tmp_path)
    assert list(tmp_path.iterdir()) == []
