"""What turns texts into tokens for a CLIP: open_clip's own tokenizer, or the one of transformers that it names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.models.clip import LoadedClip
from hamdg.models.configs import section
from hamdg.text import first_line

# What a configuration calls its tokenizer of transformers.
_NAME = "hf_tokenizer_name"
# Of a configuration that names none.
_CONTEXT = 77


def tokenize(loaded: LoadedClip, texts: Sequence[str]) -> Tensor:
    """Turn texts into the token numbers [n, context] that the model's text tower expects.

    Raises:
        ConfigError: The model names a tokenizer that cannot be loaded.
    """
    config = section(loaded.config, "text_cfg")
    context = config.get("context_length", _CONTEXT)
    if own_tokens(loaded):
        return torch.as_tensor(_simple_tokenizer()(list(texts), context_length=context))
    # The name of the model says nothing: open_clip does not know that of a file.
    options = {"context_length": context, "tokenizer_mode": config.get("tokenizer_mode")}
    more = config.get("tokenizer_kwargs")
    settings = json.dumps(options | (more if isinstance(more, dict) else {}))
    try:
        tokenizer = _named_tokenizer(str(config[_NAME]), settings)
    except (ImportError, OSError, ValueError) as error:  # as transformers answers what is not installed or not cached
        raise ConfigError(
            f"The text tower of `{loaded.name}` needs the tokenizer `{config[_NAME]}` of transformers, which cannot be "
            f"loaded ({first_line(error)}). Install it (`pip install transformers sentencepiece`) and let it download "
            "the tokenizer once, or choose another model."
        ) from error
    return torch.as_tensor(tokenizer(list(texts)))


def own_tokens(loaded: LoadedClip) -> bool:
    """Return whether texts are turned into tokens by open_clip itself."""
    return not section(loaded.config, "text_cfg").get(_NAME)


def token_numbers(text: str) -> list[int]:
    """Return the numbers of open_clip's tokens of a text, without those of its start and its end."""
    found: list[int] = _simple_tokenizer().encode(text)
    return found


@lru_cache(maxsize=1)
def _simple_tokenizer() -> open_clip.SimpleTokenizer:
    # Reading the vocabulary takes a good part of a second.
    return open_clip.SimpleTokenizer()


@lru_cache(maxsize=4)
def _named_tokenizer(name: str, settings: str) -> HFTokenizer:
    """Return a tokenizer of transformers; the settings are JSON, which can be a key."""
    return HFTokenizer(name, **json.loads(settings))
