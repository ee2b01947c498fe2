"""Networks, and what they start from: CLIPs and classifiers, class features, export, mini-CLIP and its pretraining."""

from __future__ import annotations

import hamdg.models.without_wandb  # noqa: F401 - before all that imports open_clip
from hamdg.models.clip import LoadedClip, load_clip
from hamdg.models.configs import SHIPPED, tiny_config
from hamdg.models.export import full_state, write_config
from hamdg.models.layers import layer_of
from hamdg.models.pretrained import Pretrained, find_weights, load_pretrained
from hamdg.models.text_head import encode_prompts, logit_scale

__all__ = [
    "SHIPPED",
    "LoadedClip",
    "Pretrained",
    "encode_prompts",
    "find_weights",
    "full_state",
    "layer_of",
    "load_clip",
    "load_pretrained",
    "logit_scale",
    "tiny_config",
    "write_config",
]
