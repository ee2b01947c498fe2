"""The frozen text head: one unit-length feature per class, averaged over the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import open_clip
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.errors import ConfigError
from hamdg.models.clip import LoadedClip
from hamdg.models.configs import section

MAX_SCALE = 100.0


@torch.no_grad()
def encode_prompts(loaded: LoadedClip, classes: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """Encode every class by the normalised mean of its prompts' normalised features.

    Args:
        loaded: The CLIP whose text tower is used.
        classes: Class names; underscores are read as spaces.
        prompts: Templates, each with `{}` for the class name.

    Returns:
        Features [C, D] of length 1, in fp32.

    Raises:
        ConfigError: If there is no prompt, or a prompt without `{}`.
    """
    check_prompts(prompts)
    names = spoken(classes)
    tokens = tokenize(loaded, [prompt.replace("{}", name) for prompt in prompts for name in names])
    training = loaded.model.training
    features = loaded.model.eval().encode_text(tokens.to(loaded.model.logit_scale.device), normalize=True)
    loaded.model.train(training)
    per_prompt = features.float().reshape(len(prompts), len(names), -1)
    return normalize(per_prompt.mean(dim=0), dim=-1)


def spoken(classes: Sequence[str]) -> list[str]:
    """Return class names as prompts name them: underscores become spaces."""
    return [name.replace("_", " ") for name in classes]


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse a list of prompts that would not tell the classes apart."""
    if not prompts:
        raise ConfigError("Expected argument `model.prompts` to hold at least one template, but got an empty list.")
    for prompt in prompts:
        if "{}" not in prompt:
            raise ConfigError(
                f"Expected every template in `model.prompts` to hold `{{}}` for the class name, but got `{prompt}`."
            )


def logit_scale(loaded: LoadedClip) -> float:
    """Return the learned factor between cosines and logits, at most 100 as in CLIP's training."""
    return min(float(loaded.model.logit_scale.detach().exp()), MAX_SCALE)


def tokenize(loaded: LoadedClip, texts: Sequence[str]) -> Tensor:
    """Turn texts into the token numbers [n, context] that the model's text tower expects."""
    text = section(loaded.config, "text_cfg")
    if "hf_tokenizer_name" in text:
        return torch.as_tensor(open_clip.get_tokenizer(loaded.name)(list(texts)))
    context = text.get("context_length", 77)
    return torch.as_tensor(_simple_tokenizer()(list(texts), context_length=context))


@lru_cache(maxsize=1)
def _simple_tokenizer() -> open_clip.SimpleTokenizer:
    # Reading the vocabulary takes a good part of a second.
    return open_clip.SimpleTokenizer()
