"""A run's own files are merged by `hamdg merge`, into files that open_clip loads with the run's configuration."""

from __future__ import annotations

import json
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
    from tests.stages.conftest import Tiny, Tower

SOURCES = ["art_painting", "cartoon", "photo"]
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
    # What a shell makes of `RUN/history/*`: the index and folders, too.
    files = sorted(map(str, run.step("train").folder.joinpath("history").glob("*")))
    assert str(run.step("train").index) in files
    arguments = ["--method", method, "--base", str(run.base), *files, "--out", str(out), *more]
    assert cli.main(["merge", *arguments]) == 0
    provenance = read_provenance(out)
    assert provenance is not None
    assert sorted(provenance.sources) == SOURCES
    return out


@KINDS
def test_the_run_s_own_merge_is_found_again_from_its_files(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    uniform = ("--merge.method=uniform", f"--history.kind={kind}", "--history.start=0", "--history.every=2")
    run = RunDirectory(pipeline.run(tiny(*uniform), until="merge").parent)
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
    state = context.loaded.model.state_dict()
    assert base.keys() == state.keys()
    assert all(torch.equal(base[name], state[name]) for name in state)
    for path in run.step("train").index.parent.rglob("*.safetensors"):
        assert open_tensors(path).keys() == named
        assert read_metadata(path)["hamdg.completed_by"] == sha256_file(run.base)
    origin = read_provenance(run.merged)
    assert origin is not None
    assert origin.base == sha256_file(run.base)


def test_runs_that_start_alike_share_one_base(tiny: Tiny) -> None:
    first, second, other = tiny(), tiny("--seed=1"), tiny("--seed=1", tower="vit")
    bases = [RunDirectory(pipeline.run(recipe, until="merge").parent).base for recipe in (first, second, other)]
    assert bases[0].samefile(bases[1])
    assert not bases[0].samefile(bases[2])


def test_a_damaged_base_is_not_shared(tiny: Tiny) -> None:
    first = RunDirectory(pipeline.run(tiny(), until="merge").parent).base
    whole = first.read_bytes()
    first.write_bytes(whole[:-4] + b"\0\0\0\0")
    second = RunDirectory(pipeline.run(tiny("--seed=1"), until="merge").parent).base
    assert not first.samefile(second)
    assert second.read_bytes() == whole


def test_a_run_of_a_version_without_a_base_is_merged_again(copied: Callable[[Tower], RunDirectory], tiny: Tiny) -> None:
    run = copied("rn")
    as_older_versions_wrote(run)
    assert cli.main(["merge", str(run.path), "--merge.options.keep=0.3", "--runtime.report=false"][:3]) == 0
    (again,) = [path for path in run.path.parent.iterdir() if path != run.path]
    assert (again / "merged.safetensors").is_file()


def as_older_versions_wrote(run: RunDirectory) -> None:
    """Rename the files of a history, with their tensors, to what they were before there was a base."""
    from hamdg.merge.files import save_tensors

    index = json.loads(run.step("train").index.read_text())
    for source, files in index["sources"].items():
        for entry, name in ((files["last"], "last"), (files["history"][0], "history")):
            old, new = (
                run.step("train").index.parent / entry["file"],
                run.step("train").folder / "snapshots" / source / f"{name}.safetensors",
            )
            tensors = {name.removeprefix(PREFIX): tensor for name, tensor in load_tensors(old).items()}
            save_tensors(new, tensors, {"source": source, "step": "4", "kind": "mean"})
            old.unlink()
            entry |= {"file": f"{source}/{new.name}", "sha256": sha256_file(new)}
    run.base.unlink()
    run.step("train").index.write_text(json.dumps(index))
    for path in (run.step("train").summary, run.step("merge").summary):
        known = json.loads(path.read_text())
        path.write_text(json.dumps({key: known[key] for key in known if key not in ("wrote", "read", "start_files")}))
    run.done.write_bytes(b"")
