"""Load a CLIP: the shipped mini models, any open_clip model, or any open_clip configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor, nn

from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import CLIP_MEAN, CLIP_STD, NORMALIZATIONS, Preprocess
from hamdg.errors import ConfigError, WeightsError
from hamdg.files import user_path
from hamdg.merge.files.folders import INDEX
from hamdg.merge.files.reading import ENDINGS, open_raw
from hamdg.models.configs import ClipConfig, ResolvedConfig, resolve_config, section
from hamdg.models.hub import cached_weights, tag_weights
from hamdg.models.metadata import preprocess_in, quick_gelu_in
from hamdg.models.weights import check_exists, load_weights
from hamdg.text import first_line

RANDOM = "random"


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP and what is needed to feed it and to write it out again.

    Args:
        name: Name of the model (for a JSON configuration: the file's stem).
        model: The open_clip model, in fp32 and evaluation mode.
        image_size: Side of the square images in pixels.
        mean: Mean of the pixels in [0, 1], one number for each color.
        std: Standard deviation of the pixels, likewise.
        config: The dictionary that open_clip's model JSON holds.
    """

    name: str
    model: CLIP | CustomTextCLIP
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: ClipConfig

    @property
    def encoder(self) -> nn.Module:
        """The image tower."""
        visual: nn.Module = self.model.visual
        return visual

    @property
    def width(self) -> int:
        """How many features an image has."""
        return cast("int", self.config["embed_dim"])

    @property
    def preprocess(self) -> Preprocess:
        """What it expects of images."""
        return Preprocess(self.image_size, self.mean, self.std)

    def state(self) -> Mapping[str, Tensor]:
        """Return all tensors, the text tower's included."""
        found: dict[str, Tensor] = self.model.state_dict()
        return found


def load_clip(config: ModelConfig, device: torch.device | str = "cpu") -> LoadedClip:
    """Build a CLIP and load its weights.

    Without `weights`, those beside the configuration are taken (the shipped ones for `mini-rn` and `mini-vit`).
    `weights: random` leaves the model untrained, the same on every call. The global random state is not touched.

    Args:
        config: Which model and which weights.
        device: Where the model is put.

    Raises:
        ConfigError: If there is no such model or its configuration is wrong.
        WeightsError: If the weights are missing, damaged, unsafe or made for another architecture.
    """
    resolved = resolve_config(config.name)
    mean, std = CLIP_MEAN, CLIP_STD
    path = _weights_path(resolved, config.weights)
    clip_config = dict(resolved.config)
    # Weights give worse features, without any error, under the wrong activation or normalization.
    if isinstance(path, str):
        tag = tag_weights(resolved.name, path)
        clip_config["quick_gelu"] = tag.quick_gelu
        path, mean, std = tag.path, tag.mean, tag.std
    elif path is not None:
        check_exists(path)
        quick_gelu, stated = quick_gelu_in(path), preprocess_in(path)
        if quick_gelu is not None and quick_gelu != bool(clip_config.get("quick_gelu")):
            clip_config["quick_gelu"] = quick_gelu
        mean, std = (mean, std) if stated is None else (stated.mean, stated.std)
    if config.normalization != "own":
        mean, std = NORMALIZATIONS[config.normalization]
    model = build_clip(clip_config, resolved.name)
    if path is not None:
        load_weights(model, path, resolved.name)
    size = model.visual.image_size
    side = size[0] if isinstance(size, (tuple, list)) else size
    return LoadedClip(resolved.name, model.eval().to(device), int(side), mean, std, clip_config)


def find_weights(config: ModelConfig) -> None:
    """Make sure that weights that are named are somewhere, before anything slow is done; may download those of a tag.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If there is no such file or tag, or the tag's file is neither cached nor within reach.
    """
    resolved = resolve_config(config.name)
    path = _weights_path(resolved, config.weights)
    if isinstance(path, str):
        tag_weights(resolved.name, path)
    elif path is not None:
        check_exists(path)


def model_files(config: ModelConfig) -> list[Path]:
    """Return the files that a model is read from: its JSON configuration and its weights. The hub is not asked.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If no weights are named, or an index of several files is damaged.
    """
    resolved = resolve_config(config.name)
    weights = _weights_path(resolved, config.weights)
    if isinstance(weights, str):
        weights = cached_weights(resolved.name, weights)
    several = weights is not None and weights.name.endswith(INDEX) and weights.is_file()
    own = open_raw(weights).files if several and weights is not None else (weights,)
    return [path for path in (resolved.path, *own) if path is not None]


def build_clip(config: ClipConfig, name: str, seed: int = 0) -> CLIP | CustomTextCLIP:
    """Build an untrained CLIP from its open_clip configuration, leaving the global random state as it was.

    Raises:
        ConfigError: If open_clip does not accept the configuration.
    """
    vision, text = section(config, "vision_cfg"), section(config, "text_cfg")
    custom = bool(config.get("custom_text")) or "hf_model_name" in text
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    options = {key: value for key, value in config.items() if key != "custom_text"}
    options |= {"vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return CustomTextCLIP(**options) if custom else CLIP(**options)
        except Exception as error:  # whatever values that nobody checked lead to
            raise ConfigError(
                f"open_clip cannot build the model `{name}` from its configuration ({first_line(error)}). Mend the "
                "configuration."
            ) from error


def _weights_path(resolved: ResolvedConfig, weights: str | None) -> Path | str | None:
    """Return a weights file, the name of a tag, or `None` for an untrained model."""
    if weights == RANDOM:
        return None
    if weights is not None:
        path = user_path(weights, "model.weights")
        return path if path.suffix in ENDINGS or path.is_file() else weights
    if resolved.sibling_weights is None:
        where = f" beside `{resolved.path.name}`" if resolved.path is not None else ""
        raise WeightsError(
            f"The model `{resolved.name}` comes without weights{where}. Set `model.weights` to a `.safetensors` or "
            f"weights-only `.pt` file, an open_clip tag, or `{RANDOM}` for an untrained model."
        )
    return resolved.sibling_weights
