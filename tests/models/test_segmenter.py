from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from lightning import Trainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.cohort.validation import measured
from hamdg.config.data import DataConfig, ScenesConfig
from hamdg.config.recipe import ModelConfig, Recipe, TrainConfig
from hamdg.data.module import SourceData
from hamdg.data.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN
from hamdg.errors import ConfigError, WeightsError
from hamdg.models.pretrained import find_weights, load_pretrained
from hamdg.models.segmenter import SMALL, LoadedSegmenter, Segmenter, find_segmenter, load_segmenter
from hamdg.tasks.segmentation import SEGMENTATION

CLASSES = ("road", "sky", "car")


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [*SMALL, "smp/fpn/resnet18"])
def test_scores_are_the_librarys_own(name: str) -> None:
    network = Segmenter(load_segmenter(name, CLASSES, 0)).eval()
    with torch.no_grad():
        features = network.features(images())
        assert network.scores(features).shape == (2, 3, 32, 32)
        torch.testing.assert_close(network(images()), network.model(images()))
    assert features.shape[1] == load_segmenter(name, CLASSES, 0).width


def test_the_seed_draws_the_start_and_nothing_else() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (load_segmenter("mini-unet", CLASSES, seed).state() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_copies_learn_apart() -> None:
    loaded = load_segmenter("mini-unet", CLASSES, 0)
    one, other = Segmenter(loaded), Segmenter(loaded)
    name, parameter = next(iter(one.trainable().items()))
    with torch.no_grad():
        parameter.add_(1)
    assert not torch.equal(one.weights()[name], other.weights()[name])


def test_statistics_stay_unless_they_live() -> None:
    network = Segmenter(load_segmenter("mini-unet", CLASSES, 0)).train()
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items() if "running" in name}
    network(images())
    assert all(torch.equal(network.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not any("running" in name for name in network.weights())
    network.live_statistics = True
    network.train()(images())
    assert any(not torch.equal(network.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert set(before) <= set(network.weights())


def test_an_exported_file_loads_strictly_without_hamdg(tmp_path: Path) -> None:
    network = Segmenter(load_segmenter("mini-unet", CLASSES, 0))
    weights = {name: tensor * 1.1 for name, tensor in network.weights().items()}
    path = network.export(weights, tmp_path, {"format": "pt"})
    (config,) = tmp_path.glob("hamdg-smp-*.json")
    model = smp.create_model(**json.loads(config.read_text())).eval()
    model.load_state_dict(load_file(path))
    network.load(weights)
    with torch.no_grad():
        assert torch.equal(model(images()), network.eval()(images()))
    # And comes back as a start.
    again = Segmenter(load_segmenter("mini-unet", CLASSES, 1, weights=path)).eval()
    with torch.no_grad():
        assert torch.equal(again(images()), network(images()))


@pytest.mark.parametrize(("name", "prefix"), [("mini-unet", "encoder.model."), ("mini-unet-resnet18", "encoder.")])
def test_a_file_of_a_classifier_gives_the_encoder_alone(tmp_path: Path, name: str, prefix: str) -> None:
    drawn = load_segmenter(name, CLASSES, 0).state()
    own = {key: tensor for key, tensor in drawn.items() if key.startswith("encoder.")}
    known = {key.removeprefix(prefix): torch.rand_like(own[key]) for key in own if "num_batches" not in key}
    save_file({**known, "fc.weight": torch.zeros(3, 3)}, tmp_path / "classifier.safetensors")
    found = load_segmenter(name, CLASSES, 0, weights=tmp_path / "classifier.safetensors").state()
    for key, tensor in found.items():
        assert torch.equal(tensor, known.get(key.removeprefix(prefix), drawn[key]))
    known.popitem()
    save_file(known, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match="Give weights of the same model and classes, or of its encoder"):
        load_segmenter(name, CLASSES, 0, weights=tmp_path / "part.safetensors")


def test_images_are_normalized_as_the_recipe_or_the_file_says(tmp_path: Path) -> None:
    config = ModelConfig("mini-unet", normalization="clip")
    loaded = load_pretrained(config, CLASSES)
    assert isinstance(loaded, LoadedSegmenter)
    assert loaded.preprocess.mean == CLIP_MEAN
    assert load_pretrained(ModelConfig("mini-unet"), CLASSES).preprocess.mean == IMAGENET_MEAN
    network = Segmenter(loaded)
    path = str(network.export(network.weights(), tmp_path, {}))
    again = load_pretrained(ModelConfig("mini-unet", path), CLASSES, side=32).preprocess
    assert (again.side, again.mean, again.std) == (32, CLIP_MEAN, CLIP_STD)
    assert load_pretrained(ModelConfig("mini-unet", path, "imagenet"), CLASSES).preprocess.mean == IMAGENET_MEAN


def test_a_file_that_is_not_there_is_missed_before_anything_runs() -> None:
    find_weights(ModelConfig("mini-unet", "random"))
    with pytest.raises(WeightsError, match=r"^The weights file `.*none.pth` does not exist. Set `model.weights` to"):
        find_weights(ModelConfig("mini-unet", "none.pth"))


def test_weights_of_other_classes_are_refused(tmp_path: Path) -> None:
    network = Segmenter(load_segmenter("mini-unet", CLASSES, 0))
    path = network.export(network.weights(), tmp_path, {})
    with pytest.raises(WeightsError, match=r"do not fit the model `mini-unet`: 2 of another shape"):
        load_segmenter("mini-unet", (*CLASSES, "tree"), 0, weights=path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mini-unett", "There is no segmentation model `mini-unett` (`model.name`); did you mean `mini-unet`?"),
        (
            "smp/unett/resnet18",
            "There is no kind `unett` of segmentation models (`model.name` is `smp/unett/",
        ),
        (
            "smp/dpt/tu-vit_base_patch16_224",
            "`model.name` is `smp/dpt/tu-vit_base_patch16_224`, but the decoder of `dpt` takes more of an encoder than",
        ),
        ("smp/unet/resnet0", "The model `smp/unet/resnet0` (`model.name`) cannot be built: "),
    ],
)
def test_unknown_models_are_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_segmenter(name, CLASSES, 0)


def test_sides_that_the_network_cannot_halve_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"takes images whose side is a multiple of 8, but got 60\.$"):
        load_segmenter("mini-unet", CLASSES, 0, side=60)


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    assert find_segmenter("mini-unet") == SMALL["mini-unet"]
    message = (
        "Segmentation models need segmentation-models-pytorch; install it with `pip install 'hamdg[segmentation]'`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load_segmenter("mini-unet", CLASSES, 0)


@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
def test_a_cohort_learns_streets(tmp_path: Path) -> None:
    scenes = ScenesConfig(images=10, image_size=32)
    config = DataConfig(batch_size=8, cache=str(tmp_path), scenes=scenes)
    train = TrainConfig(steps=15, warmup=0, lr=3e-3, clip_norm=0.0)
    recipe = Recipe("mini-scenes", "dusk", excluded=["day", "fog", "rain"], data=config, train=train)
    loaded = load_segmenter("mini-unet", tuple("abcdefgh"), 0, side=32)
    network = Segmenter(loaded)
    network.live_statistics = True
    data = SourceData(recipe, loaded.preprocess)
    data.setup()
    part = data.holdouts()["game"]
    before = measured(network.eval(), part, loaded.preprocess, SEGMENTATION)
    cohort = Cohort({"game": Learner(network, ("game",), train, SEGMENTATION)}, (), seed=0)
    trainer = Trainer(
        max_steps=15, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(cohort, datamodule=data)
    after = measured(network.eval(), part, loaded.preprocess, SEGMENTATION)
    assert after.loss < 0.8 * before.loss
    assert after.metric > before.metric + 0.1
