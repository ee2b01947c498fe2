"""The stages strung together, for both kinds of image towers: files, record, table, repetition."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hamdg import cli
from hamdg.algorithms.base import Step, StepResult
from hamdg.algorithms.erm import Erm
from hamdg.config.reading import read_recipe
from hamdg.data.domain import open_domain
from hamdg.data.resolve import prompts_of
from hamdg.data.subset import holdout
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import merge_facts, read_record, selection_counts
from hamdg.runs.steps import read_index, read_step_summary, read_validation
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from hamdg.tracking.rows import read_rows

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny
    from tests.tiny import Tower

Finished = Callable[["Tower"], RunDirectory]
SOURCES = ["art_painting", "cartoon", "photo"]
HISTORIES = {f"train/{kind}/{source}.safetensors" for kind in ("start", "last", "history") for source in SOURCES}
ROWS = [
    "zero_shot",
    "source/art_painting",
    "source/cartoon",
    "source/photo",
    "uniform_last",
    "uniform_history",
    "shrunk",
    "erm/erm",
    "erm/erm_sma",
    "ham",
]
TOWERS = pytest.mark.parametrize("tower", ["rn", "vit"])


def snapshot(run: RunDirectory) -> dict[str, tuple[int, bytes]]:
    files = [path for path in run.path.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return {str(path.relative_to(run.path)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@TOWERS
def test_a_run_leaves_the_files_of_the_contract(finished: Finished, tower: Tower) -> None:
    run = finished(tower)
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    config = f"hamdg-tiny-{tower}-{run.path.name.removeprefix('seed0-')}.json"
    whole = {"base.safetensors", "config.yaml", "splits.json", "start.json"}
    steps = {
        "train.json",
        "train/index.json",
        "train/metrics.csv",
        "train/samples.npz",
        "merge.json",
        "merge/merged.safetensors",
    }
    ends = {
        "merged.safetensors",
        config,
        "validation.json",
        "predictions.npz",
        "lines.json",
        "record.json",
        "report.html",
        "done",
        ".lock",
    }
    assert files == HISTORIES | whole | steps | ends
    assert run.done.stat().st_mtime_ns == max(path.stat().st_mtime_ns for path in run.path.rglob("*[!k]"))


@TOWERS
def test_the_record_holds_the_table_in_order_and_true_counts(finished: Finished, tower: Tower) -> None:
    record = read_record(finished(tower).path)
    assert [row["key"] for row in record["rows"]] == ROWS
    assert record["sources"] == SOURCES
    assert record["n_held_out"] == 42
    assert record["images_seen"] == 4 * 4 * 3
    selected = selection_counts(record)
    assert selected is not None
    for counts in selected.values():
        assert counts["candidates"] == 4 * 4 * 2
        assert counts["noisy_candidates"] is not None
        assert counts["noisy_added"] is not None
        assert 0 <= counts["noisy_added"] <= counts["noisy_candidates"] <= counts["candidates"]
    added = sum(counts["added"] for counts in selected.values())
    assert f"the models saw {48 + added} images" in record["steps"]["train"]["figures"][0]["note"]
    assert record["held_out_accuracy"] == record["rows"][-1]["held_out"]
    assert record["timings"]["total"] == pytest.approx(sum(v for k, v in record["timings"].items() if k != "total"))


@TOWERS
def test_measurements_are_finite_and_cover_every_step(finished: Finished, tower: Tower) -> None:
    rows = read_rows(finished(tower).step("train").metrics)
    assert all(math.isfinite(row.value) for row in rows)
    losses = sorted((row.step, row.source) for row in rows if row.name == "loss")
    assert losses == [(step, source) for step in (1, 2, 3, 4) for source in SOURCES]
    checks = sorted((row.step, row.source) for row in rows if row.name == "validation/accuracy")
    assert checks == [(step, source) for step in (2, 4) for source in SOURCES]
    assert not [row for row in rows if row.name == "validation/loss"]


ALONE = """
import json, sys
from pathlib import Path
import numpy as np, open_clip, torch
names = {}
for folder in sys.argv[1:]:
    (config,) = Path(folder).glob("hamdg-*.json")
    open_clip.add_model_config(config)
    names[folder] = config.stem
for folder, name in names.items():
    model = open_clip.create_model(name, pretrained=f"{folder}/merged.safetensors").eval()
    prompts = json.load(open(f"{folder}/alone/prompts.json"))
    with torch.no_grad():
        images = torch.from_numpy(np.load(f"{folder}/alone/images.npy"))
        tokens = open_clip.get_tokenizer(name)(prompts)
        images, texts = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
        np.save(f"{folder}/alone/logits.npy", (model.logit_scale.exp() * images @ texts.T).numpy())
assert "hamdg" not in sys.modules
"""


def test_open_clip_alone_loads_two_merged_models_in_one_script_and_predicts_the_same(copied: Finished) -> None:
    folders: dict[Path, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    run = copied("rn")
    (control,) = (run.path.parents[1] / "erm").iterdir()
    for each in (run, RunDirectory(control)):
        folders[each.path] = _prepared(each)
    subprocess.run([sys.executable, "-W", "ignore", "-c", ALONE, *map(str, folders)], check=True, timeout=100)
    for folder, expected in folders.items():
        np.testing.assert_allclose(np.load(folder / "alone" / "logits.npy"), expected, rtol=1e-4, atol=1e-4)


def _prepared(run: RunDirectory) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Lay out what a stranger needs, and return the scores that hamdg itself gives."""
    recipe = run.recipe()
    context = open_context(recipe, run)
    sketch = open_domain(recipe, "sketch", 32)
    ((pictures, _),) = holdout(sketch, np.arange(len(sketch.labels))).parts(len(sketch.labels))
    images = context.preprocess(pictures)
    (run.path / "alone").mkdir()
    np.save(run.path / "alone" / "images.npy", images.numpy())
    prompts = [prompts_of(recipe)[0].format(name) for name in context.bench.classes]
    (run.path / "alone" / "prompts.json").write_text(json.dumps(prompts))
    network, merged = context.network(), load_tensors(run.merged)
    network.load({name: merged[f"visual.{name}"] for name in network.weights()})
    with torch.no_grad():
        scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = network.eval()(images).numpy()
    return scores


def test_a_finished_run_is_not_repeated(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied("vit")
    before = snapshot(run)
    overrides = [f"--runtime.root={run.path.parents[3]}", "--runtime.quiet=false"]
    assert cli.main(["run", str(run.config), *overrides]) == 0
    after = snapshot(run)
    # The root in it is another one, and so are the times of a copy.
    for name in ("config.yaml", "done"):
        del before[name], after[name]
    assert after == before
    assert "is done; `--force` repeats it" in capsys.readouterr().out


def test_force_repeats_a_run_to_the_same_bytes(copied: Finished) -> None:
    run = copied("vit")
    before = {name: content for name, (_, content) in snapshot(run).items()}
    pipeline.run(read_recipe(run.config, [f"--runtime.root={run.path.parents[3]}"]), force=True)
    after = {name: content for name, (_, content) in snapshot(run).items()}
    assert after.keys() == before.keys()
    same = [name for name in before if name.endswith((".safetensors", ".csv")) or name == "train/index.json"]
    assert len(same) == 14
    for name in same:
        assert after[name] == before[name], name


def test_evaluate_writes_the_record_of_a_moved_run_again(copied: Finished) -> None:
    run = copied("vit")
    old = read_record(run.path)
    run.report.unlink()
    assert cli.main(["evaluate", str(run.path)]) == 0
    new = read_record(run.path)
    assert new["rows"] == old["rows"]
    assert new["command"] == "hamdg run tiny"
    assert run.is_done
    assert run.report.is_file()


def test_merge_again_makes_a_run_of_its_own_without_training(
    copied: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("vit")
    before = snapshot(run)
    with monkeypatch.context() as patch:
        patch.setattr("hamdg.stages.fit._Training.lead", lambda *_: pytest.fail("trained"))
        assert cli.main(["merge", str(run.path), "--merge.options.keep=0.3"]) == 0
    assert {name: content for name, content in snapshot(run).items() if name != "config.yaml"} == {
        name: content for name, content in before.items() if name != "config.yaml"
    }
    (new,) = [path for path in run.path.parent.iterdir() if path != run.path]
    record = read_record(new)
    merge = merge_facts(record)
    assert merge is not None
    assert merge["method"] == "rhm"
    assert merge["options"] == {
        "keep": 0.3,
        "scope": "tensor",
        "criterion": "magnitude",
        "combine": "mean",
        "norm": "none",
    }
    assert record["config"]["merge"]["options"] == merge["options"]  # type: ignore[index]
    assert {"ham", "merge"} <= record["config"].keys()
    kept = [share for layers in merge["kept"].values() for share in layers.values()]
    assert np.mean(kept) == pytest.approx(0.3, abs=0.05)
    assert [row["key"] for row in record["rows"]] == ROWS


def test_until_merge_leaves_a_merged_model_and_no_record(tiny: Tiny) -> None:
    recipe = tiny(tower="vit")
    record = pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    assert run.merged.is_file()
    assert not record.exists()
    assert not run.is_done
    assert pipeline.run(recipe, until="evaluate").is_file()
    assert run.is_done


def test_a_recipe_made_in_python_runs_as_on_the_command_line(tiny: Tiny) -> None:
    recipe = tiny("--held_out=art", tower="vit")
    record = pipeline.run(replace(recipe, held_out="Art"), until="merge")
    assert record == RunDirectory(run_directory(recipe)).record
    with pytest.raises(ConfigError, match=r"^`held_out`: benchmark `mini` has no domain `arts`; it has"):
        pipeline.run(replace(recipe, held_out="arts"))


@TOWERS
def test_an_erm_run_has_its_own_table(tiny: Tiny, tower: Tower) -> None:
    record = read_record(pipeline.run(tiny("--algorithm=erm", tower=tower)))
    assert [row["key"] for row in record["rows"]] == ["zero_shot", "erm", "erm_sma"]
    assert selection_counts(record) is None


VARIANTS = [
    ("none", "global", ["history.kind=mean", "ham.enrichment.enabled=false"]),
    ("none", "layer", ["history.kind=last", "merge.method=uniform"]),
    ("cosine", "global", ["history.kind=ema", "ham.enrichment.combine=sum"]),
    ("cosine", "layer", ["history.kind=beta", "ham.enrichment.confidence=max_probability"]),
    ("l2", "global", ["history.kind=snapshots", "history.keep=2", "history.start=0"]),
    ("l2", "layer", ["history.kind=mean", "merge.options.criterion=relative"]),
    ("sign_consensus", "global", ["history.kind=ema", "merge.options.scope=global", "ham.harmonization.every=2"]),
    (
        "sign_consensus",
        "layer",
        ["history.kind=beta", "merge.options.combine=disjoint", "ham.harmonization.minority_scale=.5"],
    ),
    ("pcgrad", "global", ["history.kind=snapshots", "merge.options.norm=match_mean"]),
    ("pcgrad", "layer", ["history.kind=last", "merge.options.criterion=agreement", "train.clip_norm=0"]),
]


@pytest.mark.parametrize(("method", "scope", "options"), VARIANTS)
def test_every_option_runs(tiny: Tiny, method: str, scope: str, options: list[str]) -> None:
    own = [f"--ham.harmonization.method={method}", f"--ham.harmonization.scope={scope}", *(f"--{o}" for o in options)]
    recipe = tiny(*own, tower="rn" if scope == "global" else "vit")
    run = RunDirectory(pipeline.run(recipe, until="merge").parent)
    index, merged = read_index(run.step("train")), read_step_summary(run.step("merge"))["facts"]["merge"]
    assert isinstance(merged, dict)
    assert index["kind"] == recipe.history.kind
    assert list(index["sources"]) == SOURCES
    assert all(0 <= value <= 1 for value in read_validation(run).values())
    assert bool(merged["kept"]) == (recipe.merge.method == "rhm")
    rows = read_rows(run.step("train").metrics)
    assert bool([row for row in rows if row.name == "enrichment/added"]) == (
        "ham.enrichment.enabled=false" not in options
    )
    before = {(r.step, r.source, r.layer): r.value for r in rows if r.name == "cosine/before"}
    after = {(r.step, r.source, r.layer): r.value for r in rows if r.name == "cosine/after"}
    assert before.keys() == after.keys()
    assert {key[0] for key in before} <= {1, 4}
    # PCGrad has nothing to do where no two gradients point against each other.
    decisive = [value for (_, _, layer), value in before.items() if (layer == "") == (scope == "global")]
    idle = method == "none" or (method == "pcgrad" and min(decisive) >= 0)
    assert (before == after) == idle


def test_a_run_with_swad_goes_by_the_losses_on_its_hold_outs_and_says_what_it_averages(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    # All losses are below an r of a million times their mean, so that no valley can end.
    options = ["--history.kind=swad", "--history.n_s=1", "--history.r=1e6", "--history.every=3"]
    run = RunDirectory(pipeline.run(tiny(*options)).parent)
    index = read_index(run.step("train"))
    assert index["steps"] == [2, 3, 4]
    losses = {
        (row.source, row.step): row.value
        for row in read_rows(run.step("train").metrics)
        if row.name == "validation/loss"
    }
    assert sorted(losses) == [(source, step) for source in SOURCES for step in (2, 4)]
    valleys = {source: files["valley"] for source, files in index["sources"].items()}
    assert valleys == {
        source: {
            "found": True,
            "ended": False,
            "first_step": 2,
            "last_step": 4,
            "states": 3,
            "threshold": 1e6 * losses[source, 2],
        }
        for source in SOURCES
    }
    assert read_record(run.path)["steps"]["train"]["facts"]["valleys"] == valleys
    said = capsys.readouterr().out
    for source in SOURCES:
        sentence = "SWAD is the mean of 3 states, of steps 2 to 4; its valley had not ended with the training"
        assert f"{source}: {sentence}\n" in said


def test_a_run_without_swad_tells_of_no_valley(finished: Finished) -> None:
    assert "valleys" not in read_record(finished("rn").path)["steps"]["train"]["facts"]


@TOWERS
def test_swad_over_the_whole_training_is_its_mean(tiny: Tiny, tower: Tower) -> None:
    losing = ["--history.kind=swad", "--history.n_s=1", "--history.r=1e6", "--history.every=1"]
    runs = [
        RunDirectory(pipeline.run(tiny(*options, tower=tower), until="merge").parent)
        for options in (losing, ["--history.kind=mean", "--history.start=0", "--history.every=1"])
    ]
    for source in SOURCES:
        swad, mean = (load_tensors(run.step("train").folder / "history" / f"{source}.safetensors") for run in runs)
        assert swad.keys() == mean.keys()
        for name, tensor in swad.items():
            torch.testing.assert_close(tensor, mean[name], rtol=1e-5, atol=1e-6)
        # How the history is kept changes nothing about the training.
        ours, theirs = (load_tensors(run.step("train").folder / "last" / f"{source}.safetensors") for run in runs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("names", "whose"),
    [
        (("train", "record"), "the run's own files or stages, `record`"),
        (("evaluate",), "the run's own files or stages, `evaluate`"),
        (("train", "merge", "train"), "another step, `train`"),
    ],
)
def test_a_step_cannot_have_the_name_of_what_a_run_has_already(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], whose: str
) -> None:
    recipe = tiny("--algorithm=erm", "--controls.erm=false")
    steps = [Step(name, lambda _: StepResult()) for name in names]
    monkeypatch.setattr(Erm, "steps", lambda _: steps)
    with pytest.raises(ConfigError, match=re.escape(f"algorithm `erm` has the name of {whose}; rename it.")):
        pipeline.run(recipe)
    assert not run_directory(recipe).exists()
