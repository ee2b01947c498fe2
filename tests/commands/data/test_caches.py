from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from hamdg.cli import main
from hamdg.config.reading import read_recipe
from hamdg.data.cache.stores import stores
from hamdg.data.domain import open_domain


@pytest.fixture
def cache(small_pacs: Path, tmp_path: Path) -> Path:
    """Return a cache with the images of two domains."""
    arguments = ["--benchmark=pacs", f"--data.root={small_pacs}", f"--data.cache={tmp_path}"]
    for name in ("photo", "sketch"):
        open_domain(read_recipe(None, arguments), name, 16).evaluation.prepare(np.arange(35))
    return tmp_path


def name_of(cache: Path, domain: str) -> str:
    return next(one.name for one in stores(cache) if one.domain == domain)


def domains(cache: Path) -> set[str]:
    return {one.domain for one in stores(cache)}


def test_the_list_names_data_set_size_and_use(
    cache: Path, small_pacs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "cache", "list", f"--cache={cache}"]) == 0
    said = capsys.readouterr().out
    assert f"MB of decoded images and activations in {cache}" in said
    for domain in ("photo", "sketch"):
        (line,) = [one for one in said.splitlines() if one.startswith(name_of(cache, domain))]
        for part in (str(small_pacs / domain), "35 of 35", " MB", time.strftime("%Y-%m-%d")):
            assert part in line
    assert main(["data", "cache", "list", f"--data.cache={cache / 'other'}"]) == 0
    assert capsys.readouterr().out == f"No decoded images and no activations are kept in {cache / 'other'}.\n"


def test_stores_are_deleted_by_name(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "cache", "delete", name_of(cache, "photo")[:8], f"--cache={cache}"]) == 0
    assert capsys.readouterr().out.startswith("Deleted 1 of 2 stores, 0.")
    assert domains(cache) == {"sketch"}


def test_stores_are_deleted_by_rule(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMDG_CACHE", str(cache))
    week = time.time() - 7 * 86_400
    os.utime(cache / "pictures" / name_of(cache, "photo") / "used", (week, week))
    assert main(["data", "cache", "delete", "--outdated"]) == 0
    assert domains(cache) == {"photo", "sketch"}
    assert main(["data", "cache", "delete", "--older=6.5"]) == 0
    assert domains(cache) == {"sketch"}
    assert main(["data", "cache", "delete", "--all"]) == 0
    assert domains(cache) == set()


def test_what_is_used_stays(cache: Path, small_pacs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--benchmark=pacs", f"--data.root={small_pacs}", f"--data.cache={cache}"]
    reader = open_domain(read_recipe(None, arguments), "photo", 16)
    name = name_of(cache, "photo")
    assert main(["data", "cache", "list", f"--cache={cache}"]) == 0
    assert capsys.readouterr().out.count("in use") == 1
    assert main(["data", "cache", "delete", "--all", f"--cache={cache}"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"A process uses `{name}`; nothing of that was deleted."
    assert domains(cache) == {reader.name}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [],
            "Say what to delete: stores by the names that `hamdg data cache list` shows, `--outdated`, `--older=DAYS` "
            "or `--all`.",
        ),
        (["--older=-1"], "Expected `--older` to be a number of days, 0 or more, but got `-1`."),
        (["--older=nan"], "Expected `--older` to be a number of days, 0 or more, but got `nan`."),
        (["photo"], "There is no store `photo`; `hamdg data cache list` shows the names."),
    ],
)
def test_what_is_not_meant_is_not_deleted(
    cache: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "cache", "delete", *arguments, f"--cache={cache}"]) == 2
    assert capsys.readouterr().err == f"hamdg: error: {sentence}\n"
    assert domains(cache) == {"photo", "sketch"}
