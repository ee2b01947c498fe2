"""DMM where both towers of a CLIP are trained: similarities by tower, images and distillation with the text towers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from hamdg import cli
from hamdg.algorithms.dmm import loop
from hamdg.algorithms.dmm.distillation import distill, lesson
from hamdg.algorithms.dmm.similarity import MEASURES, by_tower
from hamdg.config.algorithms.dmm import DistillConfig, DmmSettings
from hamdg.config.recipe import ModelConfig, Recipe
from hamdg.errors import ConfigError
from hamdg.merge import merge
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipTowers
from hamdg.models.text_head import prompt_tokens
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, part, run_directory
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from hamdg.stages.step_files import StepFiles
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny

SOURCES = ("art_painting", "cartoon", "photo")
CLIP = (
    "--algorithm=dmm",
    "--merge.method=uniform",
    "--model.text_tower=trained",
    "--model.statistics=live",
    "--train.lr=0.01",
    "--dmm.start.per_class=0",
    "--dmm.synthesize.images=7",
    "--dmm.synthesize.steps=2",
    "--dmm.distill.steps=3",
    "--dmm.distill.batch_size=4",
)


def tower_of(name: str) -> str:
    return "image" if name.startswith("visual.") else "text"


def model(image: list[float], text: list[float]) -> dict[str, Tensor]:
    statistics = {"visual.bn.running_mean": torch.zeros(2), "visual.bn.running_var": torch.ones(2)}
    return {"visual.w": torch.tensor(image), "text.w": torch.tensor(text), **statistics}


def test_each_tower_has_its_own_cosine_and_the_whole_model_that_of_both() -> None:
    start = model([0.0, 0.0], [0.0, 0.0])
    models = {"a": model([3.0, 0.0], [0.0, 1.0]), "b": model([0.0, 3.0], [0.0, 1.0])}
    found = by_tower(MEASURES["task_vectors"], models, start, tower_of)
    assert list(found) == ["both", "image", "text"]
    assert found["image"] == {("a", "b"): 0.0}
    assert found["text"]["a", "b"] == pytest.approx(1.0)
    assert found["both"]["a", "b"] == pytest.approx(1 / 10)
    # A text tower has no statistics, and a network of one tower nothing to tell apart.
    assert list(by_tower(MEASURES["statistics"], models, start, tower_of)) == ["both", "image"]
    assert list(by_tower(MEASURES["task_vectors"], models, start, lambda name: "")) == ["both"]


class Uncounted(loop.Loop):
    """A loop that nothing follows."""

    def __init__(self) -> None:
        """Do without a run."""

    def resumed(self) -> None:
        return None

    def done(self, step: int, loss: float, text: str, state: Callable[[], Any]) -> None:
        """Go on."""


def towers(shift: float = 0.0) -> ClipTowers:
    loaded = load_clip(ModelConfig(str(CONF / "tiny-rn.json"), "random"))
    network = ClipTowers(loaded, prompt_tokens(loaded, ["dog", "house"], ["a {}"]), 2)
    network.live_statistics = True
    network.load({name: own + shift * own.sign() for name, own in network.weights().items() if own.ndim > 1})
    return network


@pytest.mark.parametrize("which", ["both", "image"])
def test_the_text_tower_learns_from_the_teachers_where_it_is_to(which: Any) -> None:
    student, images = towers(), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = {name: own.clone() for name, own in student.weights().items()}
    config = DistillConfig(steps=2, batch_size=4, towers=which)
    lessons = {"a": lesson(towers(0.05), images, torch.device("cpu"))}
    found = distill(student, lessons, {}, config, 0, Uncounted(), torch.device("cpu"))
    # All that a merge holds is in the result.
    assert found.weights.keys() == before.keys()
    moved = {tower_of(name) for name, own in found.weights.items() if not torch.equal(own, before[name])}
    assert moved == ({"image", "text"} if which == "both" else {"image"})


def test_both_towers_are_compared_merged_and_distilled(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny(*CLIP)
    pipeline.run(recipe, until="distill")
    said, run = capsys.readouterr().out, RunDirectory(run_directory(recipe))
    for tower in ("both towers", "the image tower", "the text tower"):
        assert f"Cosine of the clients' task vectors, {tower}:" in said
    summary = read_step_summary(run.step("merge"))
    facts: Any = summary["facts"]["similarity"]
    assert facts["pairs"] == facts["towers"]["both"] != facts["towers"]["image"] != facts["towers"]["text"]
    assert [figure["title"].rpartition(", ")[2] for figure in summary["figures"][:3]] == [
        "both towers",
        "the image tower",
        "the text tower",
    ]
    clients = StepFiles(run.path, "train").history().last
    mean, merged = merge("uniform", clients), StepFiles(run.path, "merge").load("merged")
    assert all(torch.equal(merged[name], own) for name, own in mean.items())
    assert {"visual.bn1.running_mean", "text_projection", "transformer.resblocks.0.ln_1.weight"} <= merged.keys()
    result = StepFiles(run.path, "distill").load("merged")
    assert result.keys() == merged.keys()
    assert not torch.equal(result["text_projection"], merged["text_projection"])


@pytest.mark.slow
def test_a_killed_run_of_both_towers_ends_with_the_same_bytes(
    command: Commander, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*CLIP, "--runtime.checkpoint_every=1", "--runtime.quiet=true")
    whole, cut = command("whole", *options), command("cut", *options)
    assert cli.main(whole.argv) == 0
    done, stops = loop.Loop.done, {"synthesize": 3, "distill": 2}

    def killed(self: loop.Loop, step: int, *arguments: Any) -> None:
        done(self, step, *arguments)
        if stops.get(self._context.current) == step:
            del stops[self._context.current]
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Loop, "done", killed)
    assert cli.main(cut.argv) != 0
    assert cut.directory.step("synthesize").resume.exists()
    assert cli.main(cut.argv) != 0
    assert cut.directory.step("distill").resume.exists()
    assert cli.main(cut.argv) == 0
    for name in ("merged.safetensors", "synthesize/images.safetensors"):
        assert (whole.directory.path / name).read_bytes() == (cut.directory.path / name).read_bytes()


def test_keys_about_towers_define_no_run_that_leaves_them_out() -> None:
    recipe = Recipe(algorithm="dmm")
    assert part(recipe, ["dmm.merge"])["dmm.merge"] == {
        "similarity": "task_vectors",
        "threshold": 0.5,
        "student": "main_group",
    }
    image = DmmSettings(distill=DistillConfig(towers="image"))
    assert identity(replace(recipe, settings=image)) != identity(recipe)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["--model.text_tower=frozen", "--dmm.merge.tower=text"],
            "`dmm.merge.tower` is `text`, but there is one tower",
        ),
        (
            ["--model.text_tower=frozen", "--dmm.distill.towers=image"],
            "`dmm.distill.towers` is `image`, but there is one tower that is trained; leave it out",
        ),
        (
            ["--dmm.merge.tower=text", "--dmm.merge.similarity=statistics"],
            "`dmm.merge.tower` is `text`, but `dmm.merge.similarity` is `statistics`, and a text tower has none",
        ),
    ],
)
def test_keys_about_towers_need_two_that_are_trained(tiny: Tiny, overrides: list[str], sentence: str) -> None:
    recipe = tiny(*CLIP, *overrides)
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        pipeline.run(recipe)
    assert not Path(recipe.runtime.root).exists()
