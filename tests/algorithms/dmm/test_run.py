"""DMM through whole runs: what the steps read, leave, refuse, and go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg import cli
from hamdg.algorithms.dmm import loop, steps
from hamdg.cohort.resume import CheckpointError
from hamdg.config.algorithms.dmm import DmmSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.domain import WallError
from hamdg.errors import ConfigError, TrainingError
from hamdg.merge import merge
from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.sharing import step_identities
from hamdg.stages.step_files import StepFiles
from tests.stages.conftest import tiny_arguments

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny

SOURCES = ("art_painting", "cartoon", "photo")
DMM = (
    "--algorithm=dmm",
    "--model.name=mini-resnet8-16",
    "--model.weights=null",
    "--model.image_size=32",
    "--model.statistics=live",
    "--merge.method=uniform",
    "--dmm.start.steps=3",
    "--dmm.start.per_class=2",
    "--dmm.synthesize.images=7",
    "--dmm.synthesize.steps=3",
    "--dmm.distill.steps=3",
    "--dmm.distill.batch_size=4",
)
BOUNDS = "--dmm.bounds.enabled=true"
DIRICHLET = ("--dmm.clients.by=dirichlet", "--dmm.clients.count=2", "--dmm.clients.alpha=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunDirectory]:
    """Return a function that gives the finished run of some overrides, which nothing may change."""
    root = tmp_path_factory.mktemp("dmm")

    @cache
    def run(*overrides: str) -> RunDirectory:
        recipe = read_recipe(None, [*tiny_arguments(root, "rn"), *DMM, *overrides])
        pipeline.run(recipe)
        return RunDirectory(run_directory(recipe))

    return run


Finished = Callable[..., RunDirectory]


def test_no_step_after_the_clients_training_opens_a_domain(finished: Finished) -> None:
    run = finished(BOUNDS)
    opened = {name: read_step_summary(run.step(name))["opened"] for name in ("common_start", "train")}
    assert opened == {"common_start": list(SOURCES), "train": list(SOURCES)}
    for name in ("merge", "synthesize", "distill"):
        assert read_step_summary(run.step(name))["opened"] == []
    # The bound on training images does, and says so.
    assert read_step_summary(run.step("bounds"))["opened"] == list(SOURCES)
    notes = {row["key"]: row["note"] for row in read_record(run.path)["rows"]}
    assert {key for key, note in notes.items() if note} == {"dmm_real"}
    assert notes["dmm_real"] == "reads training images, which DMM does without"


@pytest.mark.parametrize("step", ["merge", "synthesize", "distill"])
def test_the_wall_stops_a_step_that_would_read_images(tiny: Tiny, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(*DMM)
    pipeline.run(recipe, until="train")
    pipeline.run(recipe, until=step)
    own = RunDirectory(run_directory(recipe)).step(step)
    own.reset()
    name = {"merge": "merge_clients", "synthesize": "synthesize_images", "distill": "distill_models"}[step]
    monkeypatch.setattr(steps, name, lambda context: context.data(["photo"]))
    with pytest.raises(WallError, match="The domain `photo` must not be opened here"):
        pipeline.run(recipe, until=step)
    assert not own.is_done


def test_rows_are_those_that_were_announced(finished: Finished) -> None:
    record = read_record(finished(BOUNDS).path)
    keys = [row["key"] for row in record["rows"]]
    averages = ["average_first", "average_naive", "average", "ties", "average_synthesized", "merged"]
    clients = [f"source/{name}" for name in SOURCES]
    assert keys == ["start", *clients, "best_client", "ensemble", *averages, "dmm_noise", "dmm_real", "dmm"]
    recipe = read_recipe(finished(BOUNDS).config)
    assert list(algorithm_of(recipe).keys(SOURCES)) == keys
    assert record["label"] == "DMM (reconstruction)"
    assert "our reconstruction" in record["footnote"]
    assert record["batchnorm"] == "live"


def test_the_best_client_is_chosen_on_the_hold_out_sets(finished: Finished) -> None:
    run = finished(BOUNDS)
    facts: Any = read_step_summary(run.step("train"))["facts"]
    rows = {row["key"]: row for row in read_record(run.path)["rows"]}
    # What the record has for each client, too.
    assert facts["validation"] == {name: pytest.approx(rows[f"source/{name}"]["validation"]) for name in SOURCES}
    best = max(SOURCES, key=lambda name: facts["validation"][name])
    assert rows["best_client"]["targets"] == rows[f"source/{best}"]["targets"]


def test_what_the_steps_leave(finished: Finished) -> None:
    run = finished(BOUNDS)
    facts: Any = read_step_summary(run.step("merge"))["facts"]
    assert facts["similarity"]["measure"] == "task_vectors"
    assert set(facts["similarity"]["pairs"]) == {"art_painting|cartoon", "art_painting|photo", "cartoon|photo"}
    figures = read_step_summary(run.step("merge"))["figures"]
    assert figures[0]["title"] == "Cosine of the clients' task vectors"
    # Hardly trained, all clients are divergent: all are merged, and all teach.
    assert facts["teachers"] == facts["student"] == list(SOURCES)
    clients = StepFiles(run.path, "train").history()
    mean = merge("uniform", clients.last)
    merged = load_tensors(run.path / "merge" / "merged.safetensors")
    assert all(torch.equal(merged[name], own) for name, own in mean.items())
    start = StepFiles(run.path, "common_start").history().last["common_start"]
    assert all(torch.equal(own[name], start[name]) for own in clients.start.values() for name in start)

    images = load_tensors(run.path / "synthesize" / "images.safetensors")
    assert {name: tuple(own.shape) for name, own in images.items()} == {
        **{f"images/{name}": (7, 3, 32, 32) for name in SOURCES},
        **{f"targets/{name}": (7,) for name in SOURCES},
    }
    assert images["targets/photo"].tolist() == list(range(7))
    with Image.open(run.path / "synthesize" / "contact_sheet.png") as sheet:
        assert sheet.width > 3 * 32
    assert np.load(run.path / "synthesize" / "samples.npz")["images"].shape == (21, 96 // 3, 32, 3)
    statistics = load_tensors(run.path / "synthesize" / "reestimated.safetensors")
    assert torch.equal(statistics["conv1.weight"], mean["conv1.weight"])
    assert not torch.equal(statistics["bn1.running_mean"], mean["bn1.running_mean"])

    # Weights were taught, statistics stay those of the merge.
    result = load_tensors(run.merged)
    assert not torch.equal(result["conv1.weight"], mean["conv1.weight"])
    assert torch.equal(result["bn1.running_mean"], mean["bn1.running_mean"])


def test_the_distillation_may_begin_with_the_statistics_of_its_images(finished: Finished) -> None:
    run = finished("--dmm.distill.statistics=measured", "--dmm.distill.lr=1e-9")
    result, measured = load_tensors(run.merged), load_tensors(run.path / "synthesize" / "reestimated.safetensors")
    name = "layer2.0.bn1.running_mean"
    torch.testing.assert_close(result[name], measured[name])
    assert not torch.equal(result[name], load_tensors(run.path / "merge" / "merged.safetensors")[name])


def test_a_dirichlet_split_has_clients_of_its_own(finished: Finished) -> None:
    run = finished(*DIRICHLET)
    record = read_record(run.path)
    assert [row["key"] for row in record["rows"]][1:3] == ["source/client-1", "source/client-2"]
    facts: Any = read_step_summary(run.step("train"))["facts"]
    counts = facts["counts"]
    # 42 images of each of 3 domains, of which 8 validate.
    assert sum(map(sum, counts.values())) == 3 * 34
    assert min(map(sum, counts.values())) >= 4
    assert read_step_summary(run.step("train"))["opened"] == list(SOURCES)


def test_with_all_similar_the_merge_is_the_result(finished: Finished) -> None:
    run = finished(*DIRICHLET, "--dmm.merge.threshold=-1", BOUNDS)
    facts: Any = read_step_summary(run.step("merge"))["facts"]
    assert (facts["teachers"], facts["student"]) == ([], ["client-1", "client-2"])
    merged, result = load_tensors(run.path / "merge/merged.safetensors"), load_tensors(run.merged)
    assert all(torch.equal(result[name], own) for name, own in merged.items())
    assert set(load_tensors(run.path / "synthesize/images.safetensors")) == {"images/group-1", "targets/group-1"}
    rows = {row["key"]: row for row in read_record(run.path)["rows"]}
    assert rows["dmm_real"]["held_out"] == rows["dmm"]["held_out"] == rows["merged"]["held_out"]


def test_pretrained_weights_may_be_the_start(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny(*DMM, "--dmm.start.per_class=0")
    assert [step.name for step in algorithm_of(recipe).steps()] == ["train", "merge", "synthesize", "distill"]
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    start = StepFiles(run.path, "train").history().start["photo"]
    base = load_tensors(run.base)
    assert all(torch.equal(base[name], own) for name, own in start.items())
    assert "hardly ever merge" not in capsys.readouterr().err


def test_clients_that_went_far_are_warned_of(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_FAR", 1e-6)
    pipeline.run(tiny(*DMM, "--dmm.start.per_class=0"), until="merge")
    assert "models without a common, trained start hardly ever merge" in capsys.readouterr().err


def said(recipe: Recipe) -> str:
    with pytest.raises(ConfigError) as caught:
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()
    return str(caught.value)


def test_what_dmm_cannot_do_is_refused_before_anything_trains(tiny: Tiny) -> None:
    assert "`model.statistics` is `frozen`" in said(tiny(*DMM, "--model.statistics=frozen"))
    vit = tiny("--algorithm=dmm", "--merge.method=uniform", tower="vit")
    assert said(vit).startswith("The algorithm `dmm` works with the statistics of BatchNorm, but `model.name`")
    assert said(tiny(*DMM, "--merge.method=fisher")) == (
        "`merge.method`: `fisher` needs gradients of the images, which the algorithm `dmm` merges without; choose a "
        "method that needs none."
    )
    few = tiny(*DMM, "--dmm.clients.by=dirichlet", "--dmm.clients.count=40", "--dmm.clients.alpha=0.01")
    assert said(few).startswith("No split by `dmm.clients.alpha` 0.01 of 102 images")


def test_a_later_option_retrains_nothing(tiny: Tiny) -> None:
    recipe = tiny(*DMM, BOUNDS)
    settings = recipe.settings
    assert isinstance(settings, DmmSettings)
    changes = {
        "merge": replace(settings, merge=replace(settings.merge, threshold=0.9)),
        "synthesize": replace(settings, synthesize=replace(settings.synthesize, steps=9)),
        "distill": replace(settings, distill=replace(settings.distill, steps=9)),
        "train": replace(settings, clients=replace(settings.clients, by="dirichlet")),
        "common_start": replace(settings, start=replace(settings.start, lr=0.5)),
    }

    def identities(own: Recipe) -> dict[str, str]:
        return step_identities(own, algorithm_of(own).steps(), SOURCES, ["sketch"])

    before = identities(recipe)
    order = list(before)
    for first, changed in changes.items():
        after = identities(replace(recipe, settings=changed))
        assert [name for name in order if after[name] != before[name]] == order[order.index(first) :]


@pytest.mark.parametrize(("step", "at"), [("synthesize", 5), ("distill", 2)])
def test_a_killed_run_ends_with_the_same_bytes(
    command: Commander, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    overrides = (*DMM, "--runtime.checkpoint_every=1", "--runtime.quiet=true")
    whole, cut = command("whole", *overrides), command("cut", *overrides)
    assert cli.main(whole.argv) == 0
    done, seen = loop.Loop.done, list[int]()

    def counted(self: loop.Loop, number: int, *arguments: Any) -> None:
        if self._context.current == step:
            seen.append(number)
        done(self, number, *arguments)
        if self._context.current == step and number == stop:
            raise KeyboardInterrupt

    stop = at
    monkeypatch.setattr(loop.Loop, "done", counted)
    assert cli.main(cut.argv) != 0
    assert cut.directory.step(step).resume.exists()
    stop = -1
    assert cli.main(cut.argv) == 0
    # It went on, and did not begin again.
    assert seen[at] == at + 1
    for name in ("merged.safetensors", "synthesize/images.safetensors", "synthesize/contact_sheet.png"):
        assert (whole.directory.path / name).read_bytes() == (cut.directory.path / name).read_bytes()


def test_a_checkpoint_that_cannot_be_used_is_said(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(*DMM)
    context = open_context(recipe, RunDirectory(run_directory(recipe)))
    own = replace(context, current="distill", identity="abc")
    counted = loop.Loop(own, 5, "dmm.distill.lr")
    assert counted.resumed() is None
    own.files.folder.mkdir(parents=True)
    own.files.resume.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint"):
        counted.resumed()
    assert loop.Loop(own, 5, "dmm.distill.lr", resumable=False).resumed() is None
    torch.save({"global_step": 2}, own.files.resume)
    with pytest.raises(CheckpointError, match="is damaged"):
        counted.resumed()
    state = {"global_step": 2, "origin": {"step": "other"}, "state": {}, "seconds": 1.0}
    torch.save(state, own.files.resume)
    with pytest.raises(CheckpointError, match="is of another step"):
        counted.resumed()
    with pytest.raises(TrainingError, match=r"the loss of the step `distill` became nan at step 3.*`dmm.distill.lr`"):
        counted.done(3, float("nan"), "", dict)
