from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hamdg.config import ModelConfig
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
    expected = (
        r"The weights `openai` of the model `RN50` \(`timm/resnet50_clip.openai/`\) are not in the local cache "
        r"\(`.+`\) and `http://127.0.0.1:9` does not answer\. Connect this machine, or fetch the file elsewhere "
        r"and set `model.weights` to its path\.$"
    )
    with pytest.raises(WeightsError, match=expected):
        load_clip(ModelConfig("RN50", "openai"))
    assert time.perf_counter() - started < 10


@pytest.mark.usefixtures("offline")
def test_a_name_look_up_that_hangs_does_not_hang_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(request: object, timeout: float) -> io.BytesIO:
        release.wait(5)
        return io.BytesIO()

    monkeypatch.setattr("hamdg.network.ANSWER_WITHIN", 0.05)
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
    monkeypatch.setattr(hub, "download_pretrained", lambda entry: str(path))

    loaded = load_clip(ModelConfig("RN50", "openai"))

    assert loaded.config["quick_gelu"] is True
    assert type(loaded.model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_failed_download_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: dict[str, str]) -> str:
        raise FileNotFoundError("404")

    monkeypatch.setattr(hub, "answers", lambda host: True)
    monkeypatch.setattr(hub, "download_pretrained", fail)
    with pytest.raises(WeightsError, match=r"could not be downloaded from `timm/resnet50_clip.openai/` \(404\)\. Set"):
        hub.tag_weights("RN50", "openai")
