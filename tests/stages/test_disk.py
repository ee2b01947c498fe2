"""A run that will not fit is refused before its first byte, with all that it will need summed up."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from hamdg.config.recipe import Recipe
from hamdg.errors import StorageError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

# Of each domain 35 noisy images, kept whole for training (28) and as squares of 32 for evaluation.
SQUARE = 3 * 32 * 32
SOURCES_FOR_EVALUATION, HELD_OUT = 3 * 7 * SQUARE, 35 * SQUARE


class Usage(NamedTuple):
    """What `shutil.disk_usage` gives."""

    total: int
    used: int
    free: int


def free(monkeypatch: pytest.MonkeyPatch, amount: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, int(amount)))


def pacs(tiny: Tiny, root: Path, cache: Path, *overrides: str) -> Recipe:
    crops = ("--benchmark=pacs", f"--data.root={root}", f"--data.cache={cache}", "--data.augment=clip")
    return tiny(*crops, *overrides, tower="vit")


def taken(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.glob("pictures/*/pixels"))


@pytest.mark.parametrize("control", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_all_that_a_run_will_keep_is_summed_before_its_first_byte(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    recipe = pacs(tiny, small_pacs, cache, f"--controls.erm={control}")
    free(monkeypatch, 0)
    with pytest.raises(StorageError) as caught:
        pipeline.run(recipe)
    need = float(re.findall(r"needs ([\d.]+) MB", str(caught.value))[0])
    files = sum(path.stat().st_size for path in small_pacs.rglob("*.png"))
    assert str(caught.value) == (
        "Keeping the decoded images of this run (`art_painting`, `cartoon`, `photo`, `sketch`) needs "
        f"{need:.1f} MB in `{cache / 'pictures'}`, where 0.0 MB are free; free some space, point `HAMDG_CACHE` (or "
        "`--data.cache`) to another disk, keep them compressed with `--data.store=compressed` (at most "
        f"{files / 1e6:.1f} MB), or decode on every reading with `--data.decode_once=false`."
    )
    assert not cache.exists()
    assert not run_directory(recipe).exists()
    free(monkeypatch, 0.94e6 * need)
    with pytest.raises(StorageError):
        pipeline.run(recipe)
    assert not cache.exists()
    free(monkeypatch, 1.05e6 * need)
    pipeline.run(recipe)
    assert 0.7e6 * need < taken(cache) < 1e6 * need


def test_what_is_decoded_on_every_reading_needs_no_room_and_gives_the_same_bytes(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        free(patch, 0)
        pipeline.run(pacs(tiny, small_pacs, cache, "--data.decode_once=false"), until="merge")
    assert not cache.exists()
    recipe = pacs(tiny, small_pacs, cache)
    merged = RunDirectory(run_directory(recipe)).merged
    decoded_ahead = merged.read_bytes()
    pipeline.run(recipe, until="merge", force=True)
    assert merged.read_bytes() == decoded_ahead


def test_what_is_there_or_will_not_be_read_is_not_counted(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    pipeline.run(pacs(tiny, small_pacs, cache), until="train")
    free(monkeypatch, 1.1 * HELD_OUT)
    pipeline.run(pacs(tiny, small_pacs, cache))
    assert RunDirectory(run_directory(pacs(tiny, small_pacs, cache))).is_done
    free(monkeypatch, 0)
    pipeline.run(pacs(tiny, small_pacs, cache), force=True, until="train")


def test_a_trained_run_is_not_asked_for_images_to_train_on(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    recipe = pacs(tiny, small_pacs, cache)
    pipeline.run(recipe, until="train")
    shutil.rmtree(cache)
    free(monkeypatch, 1.1 * (HELD_OUT + SOURCES_FOR_EVALUATION))
    pipeline.run(recipe)
    shutil.rmtree(cache)
    # Nor is one that takes the training of another.
    pipeline.run(pacs(tiny, small_pacs, cache, "--merge.method=uniform"))


def test_compressed_images_are_summed_once_for_training_and_evaluation(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    # All images are smaller than what is kept of large ones, so that their files are kept.
    files = sum(path.stat().st_size for path in small_pacs.rglob("*.png"))
    recipe = pacs(tiny, small_pacs, cache, "--data.store=compressed", "--merge.method=fisher")
    free(monkeypatch, files)
    with pytest.raises(StorageError) as caught:
        pipeline.run(recipe)
    assert f"needs {1.05 * files / 1e6:.1f} MB" in str(caught.value)
    assert "--data.store" not in str(caught.value)
    free(monkeypatch, 1.06 * files)
    pipeline.run(recipe)
    assert taken(cache) == files


def test_methods_that_look_at_images_need_them_decoded(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    recipe = pacs(tiny, small_pacs, cache, "--merge.method=fisher", "--merge.examples=5")
    pipeline.run(recipe, until="train")
    shutil.rmtree(cache)
    need = HELD_OUT + SOURCES_FOR_EVALUATION + 3 * 5 * SQUARE
    free(monkeypatch, 1.04 * need)
    with pytest.raises(StorageError, match=f"needs {1.05 * need / 1e6:.1f} MB"):
        pipeline.run(recipe)
    free(monkeypatch, 1.06 * need)
    pipeline.run(recipe)


def test_activations_are_counted_before_the_first_is_computed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    network = (
        "--model.name=mini-resnet8-16",
        "--model.weights=null",
        "--model.image_size=32",
        "--model.frozen_blocks=1",
    )
    recipe = tiny(*network, "--data.views=2", f"--data.cache={cache}", "--algorithm=erm")
    with monkeypatch.context() as patch:
        free(patch, 1e6)
        with pytest.raises(StorageError) as caught:
            pipeline.run(recipe)
    need = float(re.findall(r"needs ([\d.]+) MB", str(caught.value))[0])
    assert str(caught.value) == (
        "Keeping the activations of frozen layers of this run (`art_painting`, `cartoon`, `photo`) needs "
        f"{need:.1f} MB in `{cache}`, where 1.0 MB are free; free some space, lower `data.views`, or point "
        "`HAMDG_CACHE` (or `--data.cache`) to another disk."
    )
    assert not (cache / "activations").exists()
    assert not run_directory(recipe).exists()
    pipeline.run(recipe, until="train")
    kept = sum(path.stat().st_size for path in cache.glob("activations/*/values.npy"))
    assert kept == pytest.approx(1e6 * need / 1.05, abs=1e5)
    free(monkeypatch, 1e6)
    pipeline.dry_run(recipe, force=True)
