"""CLIP as a classifier: its image tower is fine-tuned against frozen class features, or along with its text tower."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor, nn
from torch.nn.functional import normalize

from hamdg.merge.files import save_tensors
from hamdg.models.clip import LoadedClip
from hamdg.models.export import full_state, write_config
from hamdg.models.metadata import facts_of_clip
from hamdg.models.network import MERGED, Network, Weights
from hamdg.models.text_head import encode_classes, logit_scale
from hamdg.models.weights import PREFIX


class ClipNetwork(Network):
    """A network that a CLIP gives its weights to, and whose files are whole CLIPs.

    Args:
        loaded: The CLIP; in files it gives what the network does not train.
        scale: Factor between cosines and scores; by default CLIP's own. It is not trained.
    """

    def __init__(self, loaded: LoadedClip, scale: float | None = None) -> None:
        super().__init__()
        self.loaded = loaded
        self.preprocess = loaded.preprocess
        self.logit_scale = logit_scale(loaded) if scale is None else scale

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # The CLIP that it came from only completes files: copies share it, text tower and all.
        memo[id(self.loaded)] = self.loaded
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return twin

    def cosine_scores(self, features: Tensor, class_features: Tensor) -> Tensor:
        """Return the scaled cosines [n, classes] between features and class features, both of length 1."""
        # In bf16 a score of 25 is only known to 1/8: too coarse for a loss, and for a threshold.
        with torch.autocast(features.device.type, enabled=False):
            return self.logit_scale * features.float() @ class_features.T

    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path:
        """Write the whole CLIP with these weights, and the JSON file that open_clip builds it from."""
        path = folder / MERGED
        facts = facts_of_clip(self.preprocess, quick_gelu=bool(self.loaded.config.get("quick_gelu")))
        save_tensors(path, full_state(self.loaded, weights, self.prefix), {**metadata, **facts})
        # open_clip knows models by the names of such files.
        name = re.sub(r"[^\w.-]", "-", self.loaded.name)
        write_config(self.loaded, folder / f"hamdg-{name}-{folder.name[-8:]}.json")
        return path


class ClipClassifier(ClipNetwork):
    """A copy of CLIP's image tower, and one feature per class that its features are compared with.

    Args:
        loaded: The CLIP whose image tower is copied; it completes the tower in exported files.
        class_features: Unit-length features [classes, d], which are not trained.
        scale: Factor between cosines and scores; by default CLIP's own.
    """

    prefix: ClassVar[str] = PREFIX
    class_features: Tensor

    def __init__(self, loaded: LoadedClip, class_features: Tensor, scale: float | None = None) -> None:
        super().__init__(loaded, scale)
        self.visual: nn.Module = copy.deepcopy(loaded.model.visual)
        self.register_buffer("class_features", class_features, persistent=False)

    @property
    def body(self) -> nn.Module:
        """The image tower; files have `visual.` before the names of its tensors."""
        return self.visual

    def features(self, images: Tensor) -> Tensor:
        """Return features [n, d] of length 1."""
        return normalize(self.visual(images), dim=-1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the scaled cosines [n, classes] between features and class features."""
        return self.cosine_scores(features, self.class_features)


class ClipTowers(ClipNetwork):
    """A copy of both towers of a CLIP: the text tower encodes the prompts in every pass, and learns along.

    The names of its weights are those of the whole CLIP. Embeddings of words are not trained, as the prompts hold a few
    words of tens of thousands, nor is the scale.

    Args:
        loaded: The CLIP.
        tokens: The tokens [prompts * classes, context] of every prompt for all classes, one prompt after another.
        classes: How many classes there are.
        scale: Factor between cosines and scores; by default CLIP's own.
    """

    tokens: Tensor

    def __init__(self, loaded: LoadedClip, tokens: Tensor, classes: int, scale: float | None = None) -> None:
        super().__init__(loaded, scale)
        self.clip: CLIP | CustomTextCLIP = copy.deepcopy(loaded.model)
        self.classes = classes
        self.register_buffer("tokens", tokens, persistent=False)
        for name, module in self.clip.named_modules():
            if isinstance(module, nn.Embedding) and self.tower_of(name) == "text":
                module.requires_grad_(False)
        for name, parameter in self.clip.named_parameters():
            if name in ("logit_scale", "logit_bias"):
                parameter.requires_grad_(False)

    @property
    def body(self) -> nn.Module:
        """The whole CLIP."""
        return self.clip

    def tower_of(self, name: str) -> str:
        """Return `image` or `text`."""
        return "image" if name.startswith(PREFIX) else "text"

    def features(self, images: Tensor) -> Tensor:
        """Return features [n, d] of length 1."""
        return normalize(self.clip.visual(images), dim=-1)

    def class_features(self) -> Tensor:
        """Return the features [classes, d] of length 1 that the text tower gives the classes now."""
        return encode_classes(self.clip, self.tokens, self.classes)

    def scores(self, features: Tensor) -> Tensor:
        """Return the scaled cosines [n, classes] between features and class features."""
        return self.cosine_scores(features, self.class_features())
