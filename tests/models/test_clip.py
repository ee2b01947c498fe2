from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError, WeightsError
from hamdg.models import find_weights, load_clip, tiny_config
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.weights import SETTINGS

CONF = Path(__file__).parents[1] / "conf"
TINY = ModelConfig(name=str(CONF / "tiny-rn.json"), weights="random")


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_tiny_config_is_the_file_in_conf(kind: Literal["rn", "vit"]) -> None:
    assert json.loads((CONF / f"tiny-{kind}.json").read_text()) == tiny_config(kind)


def test_load_from_json_path() -> None:
    loaded = load_clip(TINY)

    assert loaded.name == "tiny-rn"
    assert loaded.image_size == 32
    assert loaded.config == tiny_config("rn")
    assert loaded.mean == (0.48145466, 0.4578275, 0.40821073)
    assert not loaded.model.training


def test_random_weights_repeat_and_leave_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    first, second = load_clip(TINY).model.state_dict(), load_clip(TINY).model.state_dict()

    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_shipped_architectures_take_48_pixels(name: str) -> None:
    loaded = load_clip(ModelConfig(name=name, weights="random"))

    assert loaded.image_size == 48
    assert loaded.model.encode_image(torch.zeros(2, 3, 48, 48)).shape == (2, 128)


def test_half_precision_file_is_loaded_in_full_precision(tmp_path: Path) -> None:
    state = {key: value.half() + 0.5 for key, value in load_clip(TINY).model.state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")

    loaded = load_clip(ModelConfig(TINY.name, str(tmp_path / "half.safetensors"))).model.state_dict()

    assert all(value.dtype != torch.float16 for value in loaded.values())
    assert torch.equal(loaded["visual.conv1.weight"], state["visual.conv1.weight"].float())


def test_weights_beside_the_configuration_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(tiny_config("vit")))
    state = {key: value + 1 for key, value in _tiny("vit").items()}
    save_file(state, tmp_path / "own.safetensors")

    loaded = load_clip(ModelConfig(str(tmp_path / "own.json"))).model.state_dict()

    assert torch.equal(loaded["visual.proj"], state["visual.proj"])


def test_builtin_model_is_built_by_name() -> None:
    with torch.device("meta"):
        loaded = load_clip(ModelConfig("ViT-S-32-alt", "random"), device="meta")

    assert loaded.image_size == 224


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"but got `mini-rm`\. The nearest name is `mini-rn`\.$"):
        load_clip(ModelConfig("mini-rm"))
    with pytest.raises(ConfigError, match=r"but got `ViT-B32`\. The nearest name is `ViT-B-32`\.$"):
        load_clip(ModelConfig("ViT-B32"))


def test_missing_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"`model.name` is the path `.*none.json`, which cannot be read \(No such file"
    ):
        load_clip(ModelConfig(str(tmp_path / "none.json")))


def test_configuration_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"`.*bad.json` is not valid JSON \(.*\)\. Mend the file\."):
        load_clip(ModelConfig(str(path)))


def test_configuration_without_a_text_tower(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_text(json.dumps({"embed_dim": 8, "vision_cfg": {}}))
    with pytest.raises(ConfigError, match=r"half.json` lacks `text_cfg`\. Give an open_clip model JSON\."):
        load_clip(ModelConfig(str(path)))


def test_configuration_with_a_wrong_key(tmp_path: Path) -> None:
    config = tiny_config("rn") | {"text_cfg": {"widht": 8}}
    path = tmp_path / "typo.json"
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"cannot build the model `typo` from its configuration \(.*'widht'\)"):
        load_clip(ModelConfig(str(path), "random"))


@pytest.mark.parametrize(
    ("tower", "wrong"),
    [
        ("vision_cfg", {"patch_size": 0}),
        ("vision_cfg", {"head_width": 0}),
        ("vision_cfg", {"pos_embed_type": "spiral"}),
        ("text_cfg", {"heads": 0}),
    ],
)
def test_configuration_with_a_value_that_no_tower_has(tower: str, wrong: dict[str, object], tmp_path: Path) -> None:
    config = json.loads(json.dumps(tiny_config("vit")))
    config[tower] |= wrong
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"^open_clip cannot build the model `odd` from its configuration \(.+\)\. M"):
        load_clip(ModelConfig(str(path), "random"))


def test_configuration_whose_tower_is_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "flat.json"
    path.write_text(json.dumps(tiny_config("rn") | {"text_cfg": 8}))
    with pytest.raises(
        ConfigError, match=r"Expected `text_cfg` of the model configuration to be a mapping, but got `8`"
    ):
        load_clip(ModelConfig(str(path), "random"))


def test_model_without_weights() -> None:
    with pytest.raises(
        WeightsError, match=r"`tiny-rn` comes without weights beside `tiny-rn.json`\. Set `model.weights`"
    ):
        load_clip(ModelConfig(TINY.name))


def _tiny(kind: Literal["rn", "vit"]) -> dict[str, torch.Tensor]:
    state = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random")).model.state_dict()
    return {str(key): value for key, value in state.items()}


def test_weights_of_a_tag_are_looked_for_and_files_and_shipped_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("hamdg.models.clip.tag_weights", lambda model, tag: asked.append((model, tag)))
    for name, weights in (("mini-rn", None), ("RN50", "random"), ("RN50", __file__), ("RN50", "openai")):
        find_weights(ModelConfig(name, weights))
    assert asked == [("RN50", "openai")]
    with pytest.raises(WeightsError, match=r"^The weights file `.*none.pt` does not exist. Set `model.weights` to"):
        find_weights(ModelConfig("RN50", "none.pt"))


def test_images_are_normalized_as_a_recipe_says() -> None:
    own, clip = load_clip(TINY), load_clip(replace(TINY, normalization="clip"))
    imagenet = load_clip(replace(TINY, normalization="imagenet"))
    assert (own.mean, own.std) == (clip.mean, clip.std)
    assert own.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert own.std == pytest.approx(open_clip.OPENAI_DATASET_STD)
    assert imagenet.mean == pytest.approx(open_clip.constants.IMAGENET_MEAN)
    assert imagenet.std == pytest.approx(open_clip.constants.IMAGENET_STD)


# What a file says of the CLIP in it.

VIT = str(CONF / "tiny-vit.json")


def features(weights: Path, name: str = VIT) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load_clip(ModelConfig(name, str(weights))).model.encode_image(torch.ones(1, 3, 32, 32))
    return found


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """Return the configuration of the tiny vision transformer with OpenAI's activation."""
    path = tmp_path / "quick.json"
    path.write_text(json.dumps(tiny_config("vit") | {"quick_gelu": True}))
    return str(path)


def test_an_exported_clip_is_computed_with_the_activation_that_it_was_trained_with(quick: str, tmp_path: Path) -> None:
    save_file(_tiny("vit"), tmp_path / "plain.safetensors")
    files = {}
    for name in (VIT, quick):
        loaded = load_clip(ModelConfig(name, str(tmp_path / "plain.safetensors")))
        network = ClipClassifier(loaded, torch.eye(16))
        (tmp_path / loaded.name).mkdir()
        files[name] = network.export(network.weights(), tmp_path / loaded.name, {"format": "pt"})
        assert load_clip(ModelConfig(name, str(files[name]))).config == loaded.config
    gelu, quick_gelu = features(files[VIT]), features(files[quick], quick)
    assert not torch.allclose(gelu, quick_gelu)
    # Whatever the configuration beside it says.
    assert torch.equal(features(files[quick]), quick_gelu)
    assert torch.equal(features(files[VIT], quick), gelu)
    assert load_clip(ModelConfig(VIT, str(files[quick]))).config["quick_gelu"] is True


def test_an_archive_of_openai_is_computed_with_its_activation(quick: str, tmp_path: Path) -> None:
    state = _tiny("vit")
    save_file(state, tmp_path / "plain.safetensors")
    settings = {name: torch.tensor(32) for name in SETTINGS}
    torch.save(state | settings, tmp_path / "openai.pt")
    assert torch.equal(features(tmp_path / "openai.pt"), features(tmp_path / "plain.safetensors", quick))
    assert not torch.allclose(features(tmp_path / "openai.pt"), features(tmp_path / "plain.safetensors"))


def test_an_exported_clip_has_images_normalized_as_in_its_training(tmp_path: Path) -> None:
    loaded = load_clip(replace(TINY, normalization="imagenet"))
    network = ClipClassifier(loaded, torch.eye(16))
    config = ModelConfig(TINY.name, str(network.export(network.weights(), tmp_path, {})))
    assert load_clip(config).preprocess == loaded.preprocess
    assert load_clip(replace(config, normalization="clip")).mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
