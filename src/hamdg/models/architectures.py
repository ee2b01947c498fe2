"""Image classifiers by name: timm's, torchvision's and our small ones, without their linear layer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import timm
import torch
import torchvision
from timm.models import PretrainedCfg
from torch import nn

from hamdg.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Channels, Preprocess
from hamdg.errors import ConfigError
from hamdg.models import mini_resnet
from hamdg.text import did_you_mean, listed

Library = Literal["timm", "torchvision", ""]
_HALF: Channels = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Architecture:
    """Where a network is from.

    Args:
        library: `timm`, `torchvision`, or nothing for one of ours.
        name: What it is called there.
    """

    library: Library
    name: str

    @property
    def full_name(self) -> str:
        """What `model.name` calls it."""
        return f"{self.library}/{self.name}" if self.library else self.name


class Head(NamedTuple):
    """The last linear layer of a network: what it is called, and how many features go into it."""

    name: str
    width: int


def find_architecture(name: str) -> Architecture:
    """Return the architecture that `model.name` names.

    Raises:
        ConfigError: There is none of that name.
    """
    library, slash, own = name.partition("/")
    if not slash:
        _check_known(name, name, list(mini_resnet.WIDTHS))
        return Architecture("", name)
    if library not in ("timm", "torchvision"):
        raise ConfigError(
            f"There is no model `{name}` (`model.name`); networks are those of `timm/` and `torchvision/`, or "
            f"{listed(list(mini_resnet.WIDTHS))}."
        )
    known = timm.list_models() if library == "timm" else torchvision.models.list_models(module=torchvision.models)
    if library == "timm" and own not in known and (tag := own.partition(".")[2]):
        raise ConfigError(
            f"`model.name` is `{name}`, but names of pretrained weights have a key of their own: set `model.name` to "
            f"`{name.removesuffix(f'.{tag}')}` and `model.weights` to `{tag}`."
        )
    _check_known(name, own, known)
    return Architecture(cast("Library", library), own)


def _check_known(name: str, own: str, known: list[str]) -> None:
    if own not in known:
        hint = did_you_mean(own, known, "`timm.list_models()` and `torchvision.models.list_models()` list them.")
        raise ConfigError(f"There is no model `{name}` (`model.name`); {hint}")


def build(architecture: Architecture) -> nn.Module:
    """Build a network with its own classifier, untrained and the same on every call.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Of some networks torchvision says that their initialization is slow or will change.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        if not architecture.library:
            return mini_resnet.MiniResNet(mini_resnet.WIDTHS[architecture.name])
        if architecture.library == "timm":
            return timm.create_model(architecture.name, pretrained=False)
        return cast("nn.Module", torchvision.models.get_model(architecture.name, weights=None))


def own_preprocess(architecture: Architecture) -> Preprocess:
    """Return what a library states of a network's images, whatever its weights; of torchvision's, ImageNet's usual."""
    if not architecture.library:
        return Preprocess(mini_resnet.SIDE, _HALF, _HALF)
    stated = timm.get_pretrained_cfg(architecture.name) if architecture.library == "timm" else None
    return Preprocess(224, IMAGENET_MEAN, IMAGENET_STD) if stated is None else stated_preprocess(stated)


def stated_preprocess(stated: PretrainedCfg) -> Preprocess:
    """Return what timm states of images."""
    return Preprocess(stated.input_size[-1], cast("Channels", stated.mean), cast("Channels", stated.std))


def split_head(network: nn.Module, name: str) -> Head:
    """Take the last linear layer out of a network, which then gives what would go into it.

    Args:
        network: The network, changed in place.
        name: What messages call it.

    Raises:
        ConfigError: It does not end in a linear layer, or has several of classes.
    """
    linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    # timm has encoders without a classifier, whose last linear layer is another one, and says so.
    stated = getattr(network, "num_classes", None) if hasattr(network, "get_classifier") else None
    if stated == 0 or not linear or linear[-1][1].out_features < 1000:
        raise ConfigError(f"`{name}` (`model.name`) does not end in a linear layer of classes; choose another model.")
    if len(heads := [path for path, layer in linear if layer.out_features == stated]) > 1:
        raise ConfigError(
            f"`{name}` (`model.name`) has several linear layers of classes ({listed(heads)}), not one; choose another "
            "model."
        )
    path, layer = linear[-1]
    network.set_submodule(path, nn.Identity())
    return Head(path, layer.in_features)
