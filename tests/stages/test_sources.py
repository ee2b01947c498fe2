"""All steps of a run work on the same images and splits."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from PIL import Image

from hamdg.config.recipe import Recipe
from hamdg.data import custom
from hamdg.data.registry import benchmark
from hamdg.data.splits import split
from hamdg.errors import DataError, WeightsError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline, repeating
from hamdg.stages.sources import _version_of

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

SOURCES = ("art_painting", "cartoon", "photo")


# One step: nothing here depends on what a training learns.
SHORT = ("--train.steps=1", "--train.warmup=0", "--train.check_every=1")


def pacs(tiny: Tiny, root: Path, *overrides: str) -> Recipe:
    return tiny("--benchmark=pacs", f"--data.root={root}", "--data.augment=clip", *SHORT, *overrides, tower="vit")


def test_the_split_of_every_source_is_written_down(tiny: Tiny, small_pacs: Path) -> None:
    recipe = pacs(tiny, small_pacs, "--seed=1")
    record = read_record(pipeline.run(recipe))
    whole = json.loads(RunDirectory(run_directory(recipe)).splits.read_text())
    assert (whole["rule"], whole["trial_seed"], whole["fraction"]) == ("DomainBed", 1, 0.2)
    assert tuple(whole["domains"]) == tuple(whole["validation_positions"]) == SOURCES
    for index, name in enumerate(SOURCES):
        wanted = split(35, 0.2, 1, index)[1]
        assert whole["validation_positions"][name] == wanted.tolist()
        assert whole["domains"][name]["images"] == 35
        digest = hashlib.sha256(b"".join(int(one).to_bytes(8, "little") for one in wanted)).hexdigest()
        assert whole["domains"][name]["validation_sha256"] == digest
    # DomainBed's seeds of trial 1.
    assert [whole["domains"][name]["seed"] for name in SOURCES] == [785910682, 1442673865, 1981683110]
    assert record["splits"] == whole["domains"] | {"sketch": record["splits"]["sketch"]}
    assert record["splits"]["sketch"]["environment"] == 3
    # Which images these were: by domain and class, and no published copy.
    assert record["data"]["pictures"] == 140
    assert record["data"]["version"] is None
    assert record["data"]["domains"]["sketch"]["classes"]["dog"] == 5  # type: ignore[index]


def test_shots_are_written_down_with_what_was_drawn(
    tiny: Tiny, small_pacs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = pacs(tiny, small_pacs, "--data.shots=2", "--data.subset=4", "--controls.erm=true")
    record = read_record(pipeline.run(recipe))
    whole = json.loads(RunDirectory(run_directory(recipe)).splits.read_text())
    assert (whole["shots"], whole["subset"]) == (2, 4)
    for name in SOURCES:
        drawn = whole["training_positions"][name]
        facts = whole["domains"][name]
        assert (facts["images"], facts["training"]) == (28, len(drawn))
        assert len(drawn) <= 14
        assert not set(drawn) & set(whole["validation_positions"][name])
        assert facts["training_sha256"] == hashlib.sha256(np.array(drawn, "<i8").tobytes()).hexdigest()
    assert record["splits"] == whole["domains"] | {"sketch": record["splits"]["sketch"]}
    assert "training" not in record["splits"]["sketch"]
    assert record["n_held_out"] == 28
    assert '"shots": 2' in json.dumps(record["config"])
    assert (record["data"]["shots"], record["data"]["subset"], record["data"]["truncated"]) == (2, 4, "refuse")
    assert "trained on, of 2 images per class or all that there are: art_painting " in capsys.readouterr().out


def test_a_run_says_which_images_it_trains_on(tiny: Tiny, small_pacs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.run(pacs(tiny, small_pacs), until="merge")
    said = capsys.readouterr().out
    assert f"images of PACS in `{small_pacs}`: art_painting 35, cartoon 35, photo 35\n" in said
    assert "version: no known version; `hamdg data verify pacs` says what differs\n" in said
    # The held-out domain is not even counted.
    assert "sketch 35" not in said


def test_copies_with_the_same_sources_are_both_named() -> None:
    known = benchmark("pacs")
    counts = {name: np.array(known.versions[0].by_class[name]) for name in known.domains}
    assert _version_of(known, counts) == "as in the papers"
    del counts["sketch"]
    assert _version_of(known, counts) == "as in the papers or Dassl's, which have the same sources"


def test_changed_images_are_refused_by_a_run_that_has_begun(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    recipe = pacs(tiny, root)
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    run.step("merge").summary.unlink()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(root / "photo" / "dog" / "new.png")
    message = (
        f"`{run.path}` began with other images of `photo` (35 then, 36 now; `splits.json` has their digests); "
        "bring those back, or start again with `--force` (a control: by deleting its folder)."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        pipeline.run(recipe)
    pipeline.run(recipe, force=True, until="merge")


def test_force_keeps_a_run_whose_images_nothing_could_begin_with(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    recipe = pacs(tiny, root, "--data.validation_fraction=0.1")
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    before = digest_of(run.record)
    for folder in (root / "photo").iterdir():
        for path in sorted(folder.iterdir())[1:]:
            path.unlink()
    with pytest.raises(DataError, match=r"^domain `photo` has no validation image"):
        pipeline.run(recipe, force=True, until="merge")
    assert run.step("merge").summary.exists()
    assert digest_of(run.record) == before


def bitmaps(source: Path, root: Path, seed: int | None = None) -> Path:
    """Copy images as bitmaps, whose sizes tell nothing of what they show; with a seed, as noise."""
    rng = np.random.default_rng(seed)
    for file in source.rglob("*.png"):
        pixels = np.asarray(Image.open(file))
        target = (root / file.relative_to(source)).with_suffix(".bmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        shown = pixels if seed is None else rng.integers(0, 256, pixels.shape, dtype=np.uint8)
        Image.fromarray(shown).save(target)
    return root


def test_images_of_the_same_names_and_sizes_are_refused_by_a_run_that_began_with_others(
    tiny: Tiny, small_pacs: Path, tmp_path: Path
) -> None:
    real, noise = bitmaps(small_pacs, tmp_path / "PACS"), bitmaps(small_pacs, tmp_path / "noise", seed=0)
    pipeline.run(pacs(tiny, real), until="train")
    run = RunDirectory(run_directory(pacs(tiny, noise)))
    assert run.step("train").summary.exists()
    message = (
        f"`{run.path}` began with other images of `art_painting` (35 then as now, but not the same; `splits.json` "
        "has their digests); bring those back, or start again with `--force` (a control: by deleting its folder)."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        pipeline.run(pacs(tiny, noise))
    first = digest_of(pipeline.run(pacs(tiny, real), until="merge"))
    assert digest_of(pipeline.run(pacs(tiny, noise), force=True, until="merge")) != first


def digest_of(record: Path) -> str:
    return hashlib.sha256(RunDirectory(record.parent).merged.read_bytes()).hexdigest()


def test_one_image_that_was_replaced_by_another_of_its_size_is_refused(
    tiny: Tiny, small_pacs: Path, tmp_path: Path
) -> None:
    root = bitmaps(small_pacs, tmp_path / "PACS")
    recipe = pacs(tiny, root)
    pipeline.run(recipe, until="train")
    path = root / "photo" / "dog" / "pic_000.bmp"
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match=r"began with other images of `photo` \(35 then as now, but not the same; "):
        pipeline.run(recipe)


def test_histories_are_not_merged_again_beside_other_images_or_weights(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = bitmaps(small_pacs, tmp_path / "PACS")
    recipe = pacs(tiny, root)
    run = RunDirectory(pipeline.run(recipe, until="merge").parent)
    monkeypatch.setattr("hamdg.stages.fit._Training.lead", lambda *_: pytest.fail("trained"))
    path = root / "photo" / "dog" / "pic_000.bmp"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x07")
    with pytest.raises(DataError, match=r"began with other images of `photo` \(35 then as now, but not the same; "):
        repeating.remerge(run.path, ["--merge.method=uniform"])
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.stages.context.sha256_tensors", lambda _: "0" * 64)
        with pytest.raises(WeightsError, match=r"are not those that `.*` was trained from; bring them back"):
            repeating.remerge(run.path, ["--merge.method=uniform"])
    assert list(run.path.parent.iterdir()) == [run.path]
    assert repeating.remerge(run.path, ["--merge.method=uniform"]).exists()


def test_a_run_that_knew_no_contents_goes_on(tiny: Tiny, small_pacs: Path) -> None:
    recipe = pacs(tiny, small_pacs)
    pipeline.run(recipe, until="train")
    splits = RunDirectory(run_directory(recipe)).splits
    whole = json.loads(splits.read_text())
    for facts in whole["domains"].values():
        del facts["contents"]
    splits.write_text(json.dumps(whole))
    assert read_record(pipeline.run(recipe))["n_held_out"] == 35


def test_a_training_is_not_taken_from_a_run_on_other_images(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    real, noise = bitmaps(small_pacs, tmp_path / "PACS"), bitmaps(small_pacs, tmp_path / "noise", seed=0)
    pipeline.run(pacs(tiny, real), until="train")
    other = pacs(tiny, noise, "--merge.method=uniform")
    pipeline.run(other, until="train")
    same = pacs(tiny, real, "--merge.method=ties")
    pipeline.run(same, until="train")
    histories = [RunDirectory(run_directory(one)).step("train").summary for one in (pacs(tiny, real), same, other)]
    assert [path.stat().st_nlink for path in histories] == [2, 2, 1]


def test_damaged_images_may_be_taken_away_until_something_is_learned(
    tiny: Tiny, small_pacs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    damaged = root / "photo" / "dog" / "pic_000.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    recipe = pacs(tiny, root)
    with pytest.raises(DataError, match=r"images of `photo` cannot be read: .*; delete or replace them"):
        pipeline.run(recipe)
    damaged.unlink()
    splits = read_record(pipeline.run(recipe))["splits"]
    assert splits["photo"]["images"] == 34
    assert json.loads(RunDirectory(run_directory(recipe)).splits.read_text())["domains"]["photo"] == splits["photo"]


@pytest.mark.parametrize("stage", ["train", "merge"])
def test_images_that_change_between_steps_are_refused(
    tiny: Tiny, small_pacs: Path, tmp_path: Path, stage: Literal["train", "merge"]
) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    recipe = pacs(tiny, root)
    pipeline.run(recipe, until=stage)
    (root / "photo" / "dog" / "pic_000.png").unlink()
    with pytest.raises(DataError, match=r"began with other images of `photo` \(35 then, 34 now"):
        pipeline.run(recipe)


def test_a_control_that_was_trained_on_other_images_is_refused(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    pipeline.run(pacs(tiny, small_pacs, "--controls.erm=true"))
    other = tmp_path / "PACS"
    shutil.copytree(small_pacs, other)
    (other / "photo" / "dog" / "pic_000.png").unlink()
    # Another HAM run; its control is the one above, since where images lie does not define a run.
    recipe = pacs(tiny, other, "--controls.erm=true", "--ham.harmonization.weight=5")
    with pytest.raises(DataError, match=r"/erm/seed0-\w+` began with other images of `photo` \(35 then, 34 now"):
        pipeline.run(recipe)
    assert not RunDirectory(run_directory(recipe)).step("train").summary.exists()


def test_the_same_images_elsewhere_are_the_same_run(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    recipe = pacs(tiny, small_pacs)
    pipeline.run(recipe, until="merge")
    moved = tmp_path / "moved"
    shutil.copytree(small_pacs, moved)
    elsewhere = pacs(tiny, moved)
    assert run_directory(elsewhere) == run_directory(recipe)
    record = read_record(pipeline.run(elsewhere))
    assert record["benchmark"] == "pacs"


def test_a_control_that_was_tested_on_other_images_is_refused(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    first = pacs(tiny, small_pacs, "--controls.erm=true")
    pipeline.run(first)
    (control,) = run_directory(first).parents[1].glob("erm/*")
    other = tmp_path / "PACS"
    shutil.copytree(small_pacs, other)
    (other / "sketch" / "dog" / "pic_000.png").unlink()
    recipe = pacs(tiny, other, "--controls.erm=true", "--ham.harmonization.weight=5")
    message = (
        f"The control `{control}` was tested on other images of `sketch` than there are now; test it again with "
        f"`hamdg evaluate {control}`, or do without it with `--controls.erm=false`."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        pipeline.run(recipe)


def test_a_domain_that_was_added_or_removed_is_noticed(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for domain in ("art_painting", "cartoon", "sketch"):
        shutil.copytree(small_pacs / domain, root / domain)
    recipe = tiny("--benchmark=custom", f"--data.root={root}", "--held_out=sketch", tower="vit")
    run = RunDirectory(run_directory(recipe))
    pipeline.run(recipe, until="merge")
    shutil.copytree(small_pacs / "photo", root / "photo")
    custom._of_folder.cache_clear()
    message = (
        f"`{run.path}` began with the source domains `art_painting`, `cartoon`, but now they are `art_painting`, "
        "`cartoon`, `photo`; bring those back, or start again with `--force` (a control: by deleting its folder)."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        pipeline.run(recipe)
    custom._of_folder.cache_clear()


def test_a_done_run_refuses_a_place_without_its_images_and_keeps_its_recipe(
    tiny: Tiny, small_pacs: Path, tmp_path: Path
) -> None:
    recipe = pacs(tiny, small_pacs)
    pipeline.run(recipe)
    config = RunDirectory(run_directory(recipe)).config
    before = config.read_text()
    with pytest.raises(DataError, match=r"^The folder `.*nowhere`, where the images of `pacs` should be"):
        pipeline.run(pacs(tiny, tmp_path / "nowhere"))
    assert config.read_text() == before
    # Where the run has its images it does not look again: results outlive them.
    gone = replace(recipe, data=replace(recipe.data, root=str(tmp_path / "gone")))
    config.write_text(before.replace(str(small_pacs), str(tmp_path / "gone")))
    assert pipeline.run(gone).exists()


def test_a_class_without_a_held_out_image_has_no_accuracy(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    recipe = pacs(tiny, small_pacs, "--data.subset=1", "--data.validation_fraction=0.3", "--data.batch_size=2")
    record = read_record(pipeline.run(recipe))
    assert all(len(metrics["per_class_accuracy"]) == 7 for row in record["rows"] for metrics in row["targets"].values())  # type: ignore[arg-type]
