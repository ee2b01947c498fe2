"""Segmentation networks of segmentation-models-pytorch, trained from a random start or from a file of weights."""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn

from hamdg.config.recipe import Normalization
from hamdg.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError, WeightsError
from hamdg.files import write_text
from hamdg.models.export import write_network
from hamdg.models.metadata import facts_of_network, preprocess_in
from hamdg.models.network import MERGED, Network, Weights
from hamdg.models.weights import faults, mismatches, read_state
from hamdg.text import did_you_mean

LIBRARY = "smp"
# Before the names of an encoder's tensors, and of those that are timm's.
_ENCODER, _OF_TIMM = "encoder.", "model."
_SIDE = 64
# Its encoders are vision transformers, whose prefix tokens it reads, too.
_UNSUPPORTED = "dpt"


@dataclass(frozen=True)
class SegmenterArchitecture:
    """What `segmentation_models_pytorch.create_model` builds.

    Args:
        arch: The name of the decoder's kind, such as `unet`.
        encoder_name: The name of the encoder.
        encoder_depth: How many times the encoder halves the image; `None` for the library's own.
        decoder_channels: Channels of the decoder's stages, the coarsest first; `None` for the library's own.
    """

    arch: str
    encoder_name: str
    encoder_depth: int | None = None
    decoder_channels: tuple[int, ...] | None = None

    @property
    def arguments(self) -> dict[str, object]:
        """The arguments of `create_model`, without the number of classes."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given | {"encoder_weights": None}


# Small ones for the embedded benchmark and for tests, by `model.name`.
SMALL: Mapping[str, SegmenterArchitecture] = {
    "mini-unet": SegmenterArchitecture("unet", "tu-test_resnet", 3, (48, 32, 16)),
    "mini-unet-resnet18": SegmenterArchitecture("unet", "resnet18", 3, (64, 32, 16)),
}


@dataclass(frozen=True)
class LoadedSegmenter:
    """A segmentation network before training.

    Args:
        name: What recipes call it.
        architecture: What builds it.
        classes: The classes, in the order of their labels.
        preprocess: What it expects of images.
        model: The library's own module.
    """

    name: str
    architecture: SegmenterArchitecture
    classes: tuple[str, ...]
    preprocess: Preprocess
    model: nn.Module

    @property
    def encoder(self) -> nn.Module:
        """What turns images into features."""
        return cast("nn.Module", self.model.encoder)

    @property
    def width(self) -> int:
        """How many features a pixel has."""
        return next(layer.in_channels for layer in _head(self.model).modules() if isinstance(layer, nn.Conv2d))

    @property
    def head(self) -> Tensor:
        """What turns a pixel's features into scores: the weight [classes, d, h, w] of the last convolution."""
        found = [layer.weight for layer in _head(self.model).modules() if isinstance(layer, nn.Conv2d)]
        return found[-1].detach()

    def state(self) -> Mapping[str, Tensor]:
        """Return all of its tensors."""
        return self.model.state_dict()


def find_segmenter(name: str) -> SegmenterArchitecture:
    """Return the architecture that a name means: a small one, or `smp/<decoder>/<encoder>` with the library's defaults.

    Raises:
        ConfigError: There is none of that name, or the library is not installed.
    """
    if name in SMALL:
        return SMALL[name]
    library, _, rest = name.partition("/")
    arch, _, encoder = rest.partition("/")
    if library != LIBRARY or not arch or not encoder:
        hint = did_you_mean(name, list(SMALL), f"write `{LIBRARY}/unet/resnet18`, or choose a small one.")
        raise ConfigError(f"There is no segmentation model `{name}` (`model.name`); {hint}")
    smp = _library()
    if arch == _UNSUPPORTED:
        raise ConfigError(
            f"`model.name` is `{name}`, but the decoder of `{arch}` takes more of an encoder than maps of features, "
            "which is not supported; choose another kind, such as `unet` or `fpn`."
        )
    known = [one for one in smp.MODEL_ARCHITECTURES_MAPPING if one != _UNSUPPORTED]
    if arch not in known:
        raise ConfigError(
            f"There is no kind `{arch}` of segmentation models (`model.name` is `{name}`); "
            f"{did_you_mean(arch, known, 'it can be ' + ', '.join(f'`{one}`' for one in known) + '.')}"
        )
    return SegmenterArchitecture(arch, encoder)


def load_segmenter(
    name: str,
    classes: Sequence[str],
    seed: int,
    side: int = _SIDE,
    weights: Path | None = None,
    normalization: Normalization = "own",
) -> LoadedSegmenter:
    """Build a segmentation network; the seed draws its start, or what a file of weights lacks.

    Args:
        name: What recipes call it.
        classes: The classes, in the order of their labels.
        seed: Draws the start, and nothing else: torch's own random state is left as it was.
        side: The side of the images that it is given.
        weights: A file with all of its tensors, such as a run's `merged.safetensors`, or with those of its encoder, as
            torchvision's and timm's classifiers have them.
        normalization: Mean and deviation of images: those that the file states (else ImageNet's), or others.

    Raises:
        ConfigError: There is no such model, it does not take images of that side, or the library is not installed.
        WeightsError: The file has neither the network's tensors nor its encoder's.
    """
    architecture, smp = find_segmenter(name), _library()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed_hash("segmenter", seed))
        try:
            model: nn.Module = smp.create_model(**architecture.arguments, classes=len(classes))
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = str(error.args[0] if error.args else error).strip('"').rstrip(".")
            raise ConfigError(f"The model `{name}` (`model.name`) cannot be built: {reason[:300]}.") from error
    stride = int(cast("int", cast("nn.Module", model.encoder).output_stride))
    if side % stride:
        raise ConfigError(f"The model `{name}` takes images whose side is a multiple of {stride}, but got {side}.")
    stated = None
    if weights is not None:
        _load(model, weights, name)
        stated = preprocess_in(weights)
    own = Preprocess(side, IMAGENET_MEAN, IMAGENET_STD) if stated is None else replace(stated, side=side)
    preprocess = own.normalized_as(normalization)
    return LoadedSegmenter(name, architecture, tuple(classes), preprocess, model.eval())


class Segmenter(Network):
    """A copy of a segmentation network; its features are the decoder's output, its scores those of the last layers.

    The names of tensors are the library's own, so that an exported file loads strictly into what `create_model` builds.

    Args:
        loaded: The network to copy.
    """

    def __init__(self, loaded: LoadedSegmenter) -> None:
        super().__init__()
        self.name = loaded.name
        self.architecture = loaded.architecture
        self.classes = loaded.classes
        self.preprocess = loaded.preprocess
        self.model: nn.Module = copy.deepcopy(loaded.model)

    @property
    def body(self) -> nn.Module:
        """The library's own module."""
        return self.model

    @property
    def head_prefix(self) -> str:
        """What the library calls the layers behind the decoder, and a point."""
        return "segmentation_head."

    def features(self, images: Tensor) -> Tensor:
        """Return the decoder's output [n, d, h, w]."""
        encoder, decoder = cast("nn.Module", self.model.encoder), cast("nn.Module", self.model.decoder)
        features: Tensor = decoder(encoder(images))
        return features

    def scores(self, features: Tensor) -> Tensor:
        """Return scores [n, classes, h, w], of the size of the images."""
        scores: Tensor = _head(self.model)(features)
        return scores

    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path:
        """Write the whole network with these weights, and beside it the arguments of `create_model` that build it."""
        path = folder / MERGED
        facts = facts_of_network(self.name, self.classes, self.preprocess)
        write_network(path, self.model.state_dict(), weights, {**metadata, **facts})
        arguments = self.architecture.arguments | {"classes": len(self.classes)}
        write_text(folder / f"hamdg-smp-{folder.name[-8:]}.json", json.dumps(arguments, indent=2) + "\n")
        return path


def _head(model: nn.Module) -> nn.Module:
    return cast("nn.Module", model.segmentation_head)


def _load(model: nn.Module, path: Path, name: str) -> None:
    """Load a file of the whole network, or of its encoder alone, as a classifier has it."""
    own, found = model.state_dict(), read_state(path, tuple(model.state_dict()))
    state = _encoder_tensors(model, found) or found
    expected = own if state is found else {key: own[key] for key in state}
    if problems := mismatches(expected, state) or faults(expected, state):
        raise WeightsError(
            f"The weights `{path}` (`model.weights`) do not fit the model `{name}`: {'; '.join(problems)}. "
            "Give weights of the same model and classes, or of its encoder."
        )
    model.load_state_dict({**own, **{key: state[key] for key in expected}})


def _encoder_tensors(model: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a classifier by the names that they have in the network; none if it is not its encoder.

    Encoders are called as torchvision and timm call them, apart from what stands before. Counts of batches, which older
    files lack, stay as they are.
    """
    inner = {
        key.removeprefix(_ENCODER).removeprefix(_OF_TIMM): key for key in model.state_dict() if key.startswith(_ENCODER)
    }
    needed = {key for key in inner if not key.endswith("num_batches_tracked")}
    return {inner[key]: found[key] for key in inner if key in found} if needed <= found.keys() else {}


def _library() -> ModuleType:
    """Return segmentation-models-pytorch.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except ImportError as error:
        raise ConfigError(
            "Segmentation models need segmentation-models-pytorch; install it with `pip install 'hamdg[segmentation]'`."
        ) from error
