"""Where a model's open_clip configuration comes from: shipped, a JSON file, or built into open_clip."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import open_clip

from hamdg.errors import ConfigError
from hamdg.files import user_path
from hamdg.text import reason_of

ASSETS = Path(__file__).parent / "assets"
SHIPPED = ("mini-rn", "mini-vit")
REQUIRED = ("embed_dim", "vision_cfg", "text_cfg")

ClipConfig = dict[str, object]


@dataclass(frozen=True)
class ResolvedConfig:
    """A model's configuration and where it was found.

    Args:
        name: Name under which the model is known to open_clip (for a file: its stem).
        config: The dictionary that open_clip's model JSON holds.
        path: The JSON file, or `None` for a model built into open_clip.
    """

    name: str
    config: ClipConfig
    path: Path | None

    @property
    def sibling_weights(self) -> Path | None:
        """The `.safetensors` file beside the JSON file, if there is one."""
        if self.path is None:
            return None
        weights = self.path.with_suffix(".safetensors")
        return weights if weights.is_file() else None


def resolve_config(name: str) -> ResolvedConfig:
    """Find the configuration of a model by its name or by the path of an open_clip JSON file.

    Raises:
        ConfigError: If there is no such model or file, or the file is not an open_clip configuration.
    """
    if name in SHIPPED:
        path = ASSETS / f"{name}.json"
        return ResolvedConfig(name, read_config(path), path)
    if name.endswith(".json"):
        path = user_path(name, "model.name")
        return ResolvedConfig(path.stem, read_config(path), path)
    builtin = open_clip.get_model_config(name.replace("/", "-")) if ":" not in name else None
    if builtin is None:
        raise ConfigError(_unknown_name(name))
    return ResolvedConfig(name.replace("/", "-"), builtin, None)


def read_config(path: Path) -> ClipConfig:
    """Read an open_clip model JSON.

    Raises:
        ConfigError: If the file is missing, is not JSON, or lacks one of the keys every CLIP needs.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"Argument `model.name` is the path `{path}`, which cannot be read ({reason_of(error)}). "
            "Give the path of an open_clip model JSON or a model name."
        ) from error
    except ValueError as error:
        raise ConfigError(f"The model configuration `{path}` is not valid JSON ({error}). Mend the file.") from error
    missing = [key for key in REQUIRED if not isinstance(config, dict) or key not in config]
    if missing:
        keys = ", ".join(f"`{key}`" for key in missing)
        raise ConfigError(f"The model configuration `{path}` lacks {keys}. Give an open_clip model JSON.")
    return {str(key): value for key, value in config.items()}


def section(config: ClipConfig, key: Literal["vision_cfg", "text_cfg"]) -> dict[str, object]:
    """Return one tower's part of a configuration."""
    value = config[key]
    if not isinstance(value, dict):
        raise ConfigError(f"Expected `{key}` of the model configuration to be a mapping, but got `{value}`.")
    return {str(name): item for name, item in value.items()}


def tiny_config(kind: Literal["rn", "vit"]) -> ClipConfig:
    """Return the configuration of a CLIP so small that a test of a whole pipeline takes milliseconds."""
    vision: dict[str, object] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    if kind == "vit":
        vision = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
    # open_clip's tokenizer fixes the vocabulary; a narrow text tower keeps its embedding small all the same.
    text = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    return {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}


def _unknown_name(name: str) -> str:
    known = [*SHIPPED, *open_clip.list_models()]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return (
        f"Expected argument `model.name` to be a shipped model ({', '.join(SHIPPED)}), an open_clip model name or the "
        f"path of an open_clip `.json`, but got `{name}`. The nearest name is `{nearest}`."
    )
