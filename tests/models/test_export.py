from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.config.recipe import ModelConfig
from hamdg.errors import WeightsError
from hamdg.models import full_state, load_clip, write_config

CONF = Path(__file__).parents[1] / "conf"

ALONE = """
import sys, torch, open_clip
from pathlib import Path
from safetensors.torch import save_file
for folder in map(Path, sys.argv[1:]):
    open_clip.add_model_config(folder / "merged.json")
    model = open_clip.create_model("merged", pretrained=str(folder / "merged.safetensors")).eval()
    with torch.no_grad():
        features = model.encode_image(torch.ones(2, 3, 32, 32), normalize=True)
    save_file({"features": features}, folder / "features.safetensors")
assert "hamdg" not in sys.modules
"""


def export(kind: Literal["rn", "vit"], folder: Path) -> Tensor:
    """Write a changed tower and return the features that it gives."""
    loaded = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))
    merged = {name: parameter.detach() * 1.1 for name, parameter in loaded.encoder.named_parameters()}
    folder.mkdir()
    save_file(full_state(loaded, merged), folder / "merged.safetensors")
    write_config(loaded, folder / "merged.json")
    features: Tensor = torch.func.functional_call(loaded.encoder, merged, torch.ones(2, 3, 32, 32))
    return normalize(features, dim=-1).detach()


@pytest.mark.slow  # a merged model of a run is loaded so by the default tests
def test_open_clip_alone_loads_what_was_exported(tmp_path: Path) -> None:
    expected = {tmp_path / "rn": export("rn", tmp_path / "rn"), tmp_path / "vit": export("vit", tmp_path / "vit")}

    subprocess.run([sys.executable, "-c", ALONE, *map(str, expected)], check=True, capture_output=True)

    for folder, features in expected.items():
        torch.testing.assert_close(load_file(folder / "features.safetensors")["features"], features)


def test_full_state_copies_and_keeps_the_rest() -> None:
    loaded = load_clip(ModelConfig(str(CONF / "tiny-rn.json"), "random"))
    weight = torch.zeros_like(loaded.model.visual.conv1.weight)

    state = full_state(loaded, {"conv1.weight": weight})

    assert set(state) == set(loaded.model.state_dict())
    assert state["visual.conv1.weight"].count_nonzero() == 0
    assert torch.equal(state["token_embedding.weight"], loaded.model.token_embedding.weight)
    state["visual.conv1.weight"].add_(1)
    assert weight.count_nonzero() == 0
    assert loaded.model.visual.conv1.weight.count_nonzero() > 0


def test_full_state_refuses_another_tower() -> None:
    loaded = load_clip(ModelConfig(str(CONF / "tiny-rn.json"), "random"))
    wrong = {"proj": torch.zeros(2), "conv1.weight": torch.zeros(1)}
    with pytest.raises(
        WeightsError, match=r"does not fit the model `tiny-rn`: 1 unexpected \(`proj`\); 1 of another shape"
    ):
        full_state(loaded, wrong)
