"""A run's own files are merged by `hamdg merge`, into files that open_clip loads with the run's configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg import cli
from hamdg.digests import sha256_file
from hamdg.merge import open_tensors
from hamdg.merge.files import load_tensors, read_metadata, read_provenance
from hamdg.models.weights import PREFIX
from hamdg.runs.directory import RunDirectory
from hamdg.stages import pipeline
from hamdg.stages.context import open_context

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny
    from tests.tiny import Tower

SOURCES = ["art_painting", "cartoon", "photo"]
ONE_STEP = ("--train.steps=1", "--train.warmup=0", "--train.check_every=1")
KINDS = pytest.mark.parametrize("kind", ["mean", "last", "snapshots"])

# Loads every file under the run's configuration, strictly, and compares each tensor.
LOADS = """
import sys, open_clip
from pathlib import Path
from safetensors.torch import load_file
config, *files = sys.argv[1:]
open_clip.add_model_config(config)
for file in files:
    model = open_clip.create_model(Path(config).stem, pretrained=file)
    state, found = load_file(file), model.state_dict()
    assert set(found) == set(state) and all(found[name].equal(state[name]) for name in state), file
assert "hamdg" not in sys.modules
"""


def merged_by_hand(run: RunDirectory, method: str, out: Path, *more: str) -> Path:
    # What a shell makes of `RUN/train/history/*`.
    files = sorted(map(str, run.step("train").folder.joinpath("history").glob("*")))
    arguments = ["--method", method, "--base", str(run.base), *files, "--out", str(out), *more]
    assert cli.main(["merge", *arguments]) == 0
    provenance = read_provenance(out)
    assert provenance is not None
    assert sorted(provenance.sources) == SOURCES
    return out


@KINDS
def test_the_run_s_own_merge_is_found_again_from_its_files(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    uniform = ("--merge.method=uniform", f"--history.kind={kind}", "--history.start=0", "--history.every=2")
    run = RunDirectory(pipeline.run(tiny(*uniform, tower="vit"), until="merge").parent)
    found = open_tensors(merged_by_hand(run, "uniform", tmp_path / "again.safetensors"))
    expected = open_tensors(run.merged)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_what_methods_make_of_a_run_s_files_is_loaded_by_open_clip(
    finished: Callable[[Tower], RunDirectory], tmp_path: Path
) -> None:
    run = finished("vit")
    made = [
        merged_by_hand(run, "ties", tmp_path / "ties.safetensors", "--density", "0.3"),
        merged_by_hand(run, "karcher", tmp_path / "karcher.safetensors"),
        merged_by_hand(run, "rhm", tmp_path / "rhm.safetensors"),
        run.base,
    ]
    for source in SOURCES:
        out = tmp_path / f"{source}.safetensors"
        one = ["--method", "uniform", "--base", str(run.base), str(run.step("train").index.parent / "last" / out.name)]
        assert cli.main(["merge", *one, "--out", str(out)]) == 0
        moved, whole, base = (
            load_tensors(path) for path in (run.step("train").index.parent / "last" / out.name, out, run.base)
        )
        assert whole.keys() == base.keys() > moved.keys()
        assert all(torch.equal(whole[name], moved.get(name, base[name])) for name in whole)
        made.append(out)
    (config,) = run.path.glob("hamdg-*.json")
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOADS, config, *made], check=True, timeout=100)


def test_files_of_the_history_hold_what_training_moves_and_name_their_base(
    finished: Callable[[Tower], RunDirectory],
) -> None:
    run = finished("rn")
    context = open_context(run.recipe(), run)
    named = {PREFIX + name for name in context.base()}
    base = open_tensors(run.base)
    state = context.pretrained.state()
    assert base.keys() == state.keys()
    assert all(torch.equal(base[name], state[name]) for name in state)
    for path in run.step("train").index.parent.rglob("*.safetensors"):
        assert open_tensors(path).keys() == named
        assert read_metadata(path)["hamdg.completed_by"] == sha256_file(run.base)
    origin = read_provenance(run.merged)
    assert origin is not None
    assert origin.base == sha256_file(run.base)


def test_runs_that_start_alike_share_one_base(tiny: Tiny) -> None:
    first, second, other = tiny(*ONE_STEP, tower="vit"), tiny(*ONE_STEP, "--seed=1", tower="vit"), tiny(*ONE_STEP)
    bases = [RunDirectory(pipeline.run(recipe, until="merge").parent).base for recipe in (first, second, other)]
    assert bases[0].samefile(bases[1])
    assert not bases[0].samefile(bases[2])


def test_a_damaged_base_is_not_shared(tiny: Tiny) -> None:
    first = RunDirectory(pipeline.run(tiny(*ONE_STEP, tower="vit"), until="merge").parent).base
    whole = first.read_bytes()
    first.write_bytes(whole[:-4] + b"\0\0\0\0")
    second = RunDirectory(pipeline.run(tiny(*ONE_STEP, "--seed=1", tower="vit"), until="merge").parent).base
    assert not first.samefile(second)
    assert second.read_bytes() == whole


@pytest.mark.parametrize(
    "verb",
    [("evaluate",), pytest.param(("merge", "--merge.options.keep=0.3"), marks=pytest.mark.slow)],
    ids=lambda verb: verb[0],
)
def test_a_run_of_a_version_without_steps_is_refused_but_shown(
    copied: Callable[[Tower], RunDirectory], verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("vit")
    as_older_versions_wrote(run)
    before = sorted(run.path.rglob("*")), run.record.read_bytes()
    assert cli.main([verb[0], str(run.path), *verb[1:]]) == 2
    assert capsys.readouterr().err == (
        f"hamdg: error: `{run.start}` is missing, which runs of earlier versions do not have either; without it the "
        "run cannot go on, be merged again or be evaluated again. Restore it, or repeat the run with `--force`.\n"
    )
    assert (sorted(run.path.rglob("*")), run.record.read_bytes()) == before
    assert cli.main(["report", str(run.path)]) == 0
    recipe = run.path.parents[3] / "recipe.yaml"
    shutil.copyfile(run.config, recipe)
    again = ["run", str(recipe), f"--runtime.root={run.path.parents[3]}", "--runtime.quiet=false", "--evaluate.lines=0"]
    assert cli.main(again) == 0
    assert "is done; `--force` repeats it" in capsys.readouterr().out
    # Had it been killed in its merge, nothing of it would be taken either: by no other run, and not by itself.
    run.done.unlink()
    assert cli.main(again) == 2
    assert f"`{run.start}` is missing" in capsys.readouterr().err
    assert cli.main([*again, "--merge.options.keep=0.3"]) == 0
    assert cli.main([*again, "--force"]) == 0
    assert run.start.exists()
    assert not (run.path / "history").exists()


def as_older_versions_wrote(run: RunDirectory) -> None:
    """Give the files of a run the names that they had before there were steps, and its summaries their content."""
    folder = run.step("train").folder
    for path in sorted(folder.iterdir()):
        path.rename(run.path / path.name)
    folder.rmdir()
    shutil.rmtree(run.step("merge").folder)
    validation = json.loads(run.validation.read_text())["validation"]
    run.step("merge").summary.write_text(json.dumps({"seconds": 1.0, "validation": validation, "norms": {}}))
    run.step("train").summary.write_text(json.dumps({"seconds": 1.0, "steps": 4, "training": "12345678"}))
    run.start.unlink()
    run.validation.unlink()
    run.done.write_bytes(b"")
