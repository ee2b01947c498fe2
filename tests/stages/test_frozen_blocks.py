"""Runs with frozen low layers: computed in every step, or once for some views of each image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from hamdg import cli
from hamdg.config import algorithms
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.cache.stores import stores
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.models.architectures import build, find_architecture
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.predictions import read_predictions
from hamdg.runs.record import VALIDATE
from hamdg.stages import pipeline
from tests.stages.test_damaged_checkpoint import stopped

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

RESNET = ("--model.name=mini-resnet8-16", "--model.weights=null", "--model.image_size=32", "--model.frozen_blocks=1")
TAKERS = [name for name in algorithms.names() if algorithms.find(name).takes_activations]
# What they need beside what all need, or what makes them fast.
OWN = {
    "erm_pp": ["--train.schedule=constant", "--erm_pp.classifier_steps=1", "--erm_pp.average_start=1"],
    "linear_probe": ["--linear_probe.grid=[1]"],
    "lp_ft": ["--lp_ft.probe.grid=[1]"],
    "soup": ["--soup.runs=2"],
    "zero_shot": ["--model.text_head=source_means"],
}
ROOT = Path(__file__).parents[2]
SOURCES = ("art_painting", "cartoon", "photo")


def finished(recipe: Recipe) -> RunDirectory:
    pipeline.run(recipe)
    return RunDirectory(run_directory(recipe))


def histories(run: RunDirectory) -> dict[str, dict[str, torch.Tensor]]:
    return {name: load_tensors(run.path / f"train/history/{name}.safetensors") for name in SOURCES}


def computed(folder: Path) -> list[str]:
    """Return of which domains there are activations."""
    return sorted(one.domain for one in stores(folder / "cache") if one.there)


@pytest.mark.parametrize("live", [False, True])
def test_ham_on_activations_merges_and_exports_a_whole_network(tiny: Tiny, tmp_path: Path, live: bool) -> None:
    cache = f"--data.cache={tmp_path / 'cache'}"
    statistics = ("--model.statistics=live",) if live else ()
    run = finished(tiny(*RESNET, *statistics, cache, "--data.views=2", "--merge.method=uniform"))
    # Those of views for training, and those of images as models are tested on them.
    assert computed(tmp_path) == sorted([*SOURCES, *SOURCES, "sketch"])
    base, merged, own = load_tensors(run.base), load_tensors(run.merged), histories(run)
    network = build(find_architecture("mini-resnet8-16"))
    network.fc = nn.Linear(64, 7)
    network.load_state_dict(merged, strict=True)
    frozen = {name for name in merged if name.startswith(("conv1", "bn1", "layer1"))}
    buffers = {name for name in merged if "running" in name or "tracked" in name}
    assert set(own["photo"]) == set(merged) - frozen - (set() if live else buffers)
    assert all(torch.equal(merged[name], base[name]) for name in frozen)
    assert not torch.equal(merged["layer2.0.conv1.weight"], base["layer2.0.conv1.weight"])


def test_without_augmentation_a_view_trains_as_images_do_but_for_rounding(tiny: Tiny, tmp_path: Path) -> None:
    common = (*RESNET, "--algorithm=experts", "--merge.method=uniform", "--data.augment=none", "--train.lr=1e-4")
    images = histories(finished(tiny(*common)))
    views = histories(finished(tiny(*common, "--data.views=1", f"--data.cache={tmp_path / 'cache'}")))
    for name, own in views.items():
        assert own.keys() == images[name].keys()
        for tensor, value in own.items():
            # Activations have 11 significant bits; Adam's first steps are of the gradients' signs.
            torch.testing.assert_close(value, images[name][tensor], rtol=0, atol=1e-3)


def test_models_are_tested_on_activations_and_on_those_of_the_held_out_domain_by_the_evaluation_alone(
    tiny: Tiny, tmp_path: Path
) -> None:
    common = (*RESNET, "--algorithm=erm", "--data.augment=none", "--train.lr=1e-4", "--model.text_head=linear_probe")
    recipe = tiny(*common, "--data.views=1", f"--data.cache={tmp_path / 'cache'}")
    pipeline.run(recipe, until=VALIDATE)
    assert computed(tmp_path) == sorted([*SOURCES, *SOURCES])
    cached, plain = finished(recipe), finished(tiny(*common))
    assert computed(tmp_path) == sorted([*SOURCES, *SOURCES, "sketch"])
    found, expected = (read_predictions(run.predictions).targets["sketch"] for run in (cached, plain))
    for key, confidence in expected.confidence.items():
        # Activations have 11 significant bits.
        np.testing.assert_allclose(found.confidence[key], confidence, atol=5e-3)


@pytest.mark.parametrize("algorithm", [name for name in TAKERS if name not in ("erm", "experts", "ham")])
def test_every_other_algorithm_that_takes_activations_leaves_the_frozen_blocks_as_they_are(
    tiny: Tiny, tmp_path: Path, algorithm: str
) -> None:
    common = ("--data.views=1", "--data.augment=none", f"--data.cache={tmp_path / 'cache'}", "--train.steps=2")
    run = finished(tiny(*RESNET, *common, *OWN.get(algorithm, []), f"--algorithm={algorithm}"))
    base, merged = load_tensors(run.base), load_tensors(run.merged)
    frozen = [name for name in base if name.startswith(("conv1", "bn1", "layer1"))]
    assert "layer1.0.conv1.weight" in frozen
    assert all(torch.equal(merged[name], base[name]) for name in frozen)


def test_the_documents_name_the_algorithms_that_take_activations() -> None:
    text = (ROOT / "docs/models.md").read_text("utf-8")
    named = re.findall(r"`(\w+)`", text.partition("take activations (")[2].partition(")")[0])
    assert sorted(named) == sorted(TAKERS)


def test_algorithms_share_activations(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = (*RESNET, "--data.views=2", f"--data.cache={tmp_path / 'cache'}", "--merge.method=uniform")
    finished(tiny(*common, "--algorithm=experts"))
    assert "computing 2 x" in capsys.readouterr().out
    finished(tiny(*common, "--algorithm=erm"))
    assert "computing 2 x" not in capsys.readouterr().out


def test_a_stopped_training_goes_on_with_the_same_bytes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (*RESNET, "--data.views=2", "--merge.method=uniform", "--runtime.checkpoint_every=1")
    whole = finished(tiny(*common, f"--data.cache={tmp_path / 'one'}", f"--runtime.root={tmp_path / 'whole'}"))
    recipe = tiny(*common, f"--data.cache={tmp_path / 'two'}")

    def make() -> None:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe)

    stopped(make, monkeypatch)
    run = RunDirectory(run_directory(recipe))
    assert (run.path / "train/resume.ckpt").exists()
    pipeline.run(recipe)
    assert run.merged.read_bytes() == whole.merged.read_bytes()


def test_the_keys_define_runs_only_where_they_are_given() -> None:
    plain = read_recipe(None, ["--model.name=mini-resnet8"])
    assert identity(plain) == identity(read_recipe(None, ["--model.name=mini-resnet8", "--model.frozen_blocks=0"]))
    frozen = read_recipe(None, ["--model.name=mini-resnet8", "--model.frozen_blocks=1"])
    views = read_recipe(None, ["--model.name=mini-resnet8", "--model.frozen_blocks=1", "--data.views=2"])
    assert len({identity(plain), identity(frozen), identity(views)}) == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["--model.name=mini-rn", "--model.frozen_blocks=1"],
            "`model.frozen_blocks` is for image classifiers, but `mini-rn` is a CLIP; leave it out",
        ),
        (
            ["--model.name=mini-resnet8", "--data.views=2"],
            "`data.views` is 2, but without `model.frozen_blocks` no layer stays as it is; set that, or leave it out",
        ),
        (
            [*RESNET, "--data.views=2", "--algorithm=miro"],
            "`data.views` is 2, but the algorithm `miro` looks at images, not at activations of frozen layers; leave",
        ),
        (
            [*RESNET, "--data.views=2", "--data.augment=none"],
            "`data.views` is 2, but with `data.augment` `none` all views of an image are the same; set it to 1, or "
            "choose an augmentation",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_recipe(None, overrides)
    assert sentence in str(raised.value)


def test_a_network_with_too_few_stages_is_refused_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "mini/experts", *RESNET[:3], "--model.frozen_blocks=3", f"--runtime.root={tmp_path}"]
    assert cli.main(arguments) == 2
    assert "has 3 stages, of which one must train; use at most 2." in capsys.readouterr().err
