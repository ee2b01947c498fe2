from __future__ import annotations

import io
import re
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, try_to_load_from_cache
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file

from hamdg.config.recipe import ModelConfig
from hamdg.errors import WeightsError
from hamdg.models import hub, load_clip
from hamdg.models.clip import build_clip
from hamdg.models.configs import resolve_config


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repo, name: None)
    # Port 9 (discard) refuses at once; a name look-up would need a network.
    monkeypatch.setattr("hamdg.models.hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("offline")
def test_tag_without_network_says_what_is_missing_where_and_the_way_out() -> None:
    started = time.perf_counter()
    cache = constants.HF_HUB_CACHE
    expected = (
        "The weights `openai` of the model `ViT-B-16-quickgelu` are not here: "
        "`timm/vit_base_patch16_clip_224.openai` is "
        f"neither in the cache `{cache}` nor within reach, since `http://127.0.0.1:9` does not answer. Three ways to "
        "provide them: give a file that you have with `--model.weights=FILE`; copy the folder "
        "`models--timm--vit_base_patch16_clip_224.openai` from the cache of a machine that has it into "
        f"`{cache}`; or connect this machine to the network. Then repeat the command."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(expected)}$"):
        load_clip(ModelConfig("ViT-B-16-quickgelu", "openai"))
    assert time.perf_counter() - started < 1


@pytest.mark.usefixtures("offline")
def test_a_name_look_up_that_hangs_does_not_hang_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.PATIENCE < 3  # the whole command has 10 s, and most of them go into importing torch
    release = threading.Event()

    def hang(request: object, timeout: float) -> io.BytesIO:
        release.wait(5)
        return io.BytesIO()

    monkeypatch.setattr("hamdg.models.hub.PATIENCE", 0.05)
    monkeypatch.setattr("urllib.request.urlopen", hang)
    try:
        with pytest.raises(WeightsError, match="does not answer"):
            hub.tag_weights("RN50", "openai")
    finally:
        release.set()


def test_unknown_tag_lists_those_of_the_model() -> None:
    with pytest.raises(
        WeightsError, match=r"`opnai`, which is neither a file nor a pretrained tag.*\(openai, yfcc15m, cc12m\)"
    ):
        load_clip(ModelConfig("RN50", "opnai"))


def test_tag_of_a_model_that_has_none() -> None:
    with pytest.raises(
        WeightsError, match=r"of the model `mini-rn`\. Set it to a weights file \(the model has no tags\)"
    ):
        load_clip(ModelConfig("mini-rn", "openai"))


def test_openai_weights_switch_quick_gelu_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = resolve_config("RN50").config
    small = config | {"vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 224, "head_width": 64}}
    monkeypatch.setattr("hamdg.models.configs.open_clip.get_model_config", lambda name: dict(small))
    path = tmp_path / "fetched.safetensors"
    with torch.device("meta"):
        shapes = build_clip(small | {"text_cfg": {"width": 8, "heads": 1, "layers": 1}}, "small").state_dict()
    save_file({key: torch.zeros_like(value, device="cpu") for key, value in shapes.items()}, path)
    small["text_cfg"] = {"width": 8, "heads": 1, "layers": 1}
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repo, name: str(path))

    loaded = load_clip(ModelConfig("RN50", "openai"))

    assert loaded.config["quick_gelu"] is True
    assert type(loaded.model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_failed_download_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: dict[str, str]) -> str:
        raise FileNotFoundError("404")

    monkeypatch.setattr(hub, "answers", lambda host, within: True)
    monkeypatch.setattr(hub, "download_pretrained", fail)
    expected = r"could not be downloaded from `timm/resnet50_clip.openai` \(404\)\. Three ways to provide them: give"
    with pytest.raises(WeightsError, match=expected):
        hub.tag_weights("RN50", "openai")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_what_the_cache_holds_is_taken_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--timm--resnet50_clip.openai" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / name).write_bytes(b"")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    find = partial(try_to_load_from_cache, cache_dir=tmp_path)
    monkeypatch.setattr(hub, "try_to_load_from_cache", find)
    assert hub.tag_weights("RN50", "openai").path == snapshot / name


def test_a_file_for_the_recipes_model_gets_quick_gelu_as_the_tag_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert get_pretrained_cfg("ViT-B-16-quickgelu", "openai")["quick_gelu"] is True
    small = resolve_config("ViT-B-16-quickgelu").config | {
        "vision_cfg": {"layers": 1, "width": 8, "head_width": 8, "patch_size": 16, "image_size": 32},
        "text_cfg": {"width": 8, "heads": 1, "layers": 1},
    }
    monkeypatch.setattr("hamdg.models.configs.open_clip.get_model_config", lambda name: dict(small))
    save_file(build_clip(small, "small").state_dict(), tmp_path / "mine.safetensors")
    model = load_clip(ModelConfig("ViT-B-16-quickgelu", str(tmp_path / "mine.safetensors"))).model
    for tower in (model.visual.transformer, model.transformer):
        assert type(tower.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
