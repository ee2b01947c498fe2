"""Class features of prompts, which classes they cannot tell apart, and the tokens of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.data.benchmark import prompt_name, prompt_problem
from hamdg.errors import ConfigError, WeightsError
from hamdg.models.clip import LoadedClip
from hamdg.models.tokenizer import own_tokens, token_numbers, tokenize
from hamdg.text import excerpt, listed, shortened

MAX_SCALE = 100.0
# Class features nearer to each other than this are one: with the largest scale, 100, no image moves their logits apart
# by more than 0.1. Words that a text tower does not know come out equal but for rounding (1e-7). Words that it can tell
# apart lie far above: even towers that are not trained keep all pairs of DomainNet's 345 classes 0.1 apart (0.005 if
# the width is 8), and training drives them further.
COINCIDE = 1e-3
_LISTED = 8
# The section of a recipe that names what is trained.
MODEL = "model"


@torch.no_grad()
def encode_prompts(
    loaded: LoadedClip,
    classes: Sequence[str],
    prompts: Sequence[str],
    words: Sequence[str] | None = None,
    *,
    section: str = MODEL,
    trains_text: bool = False,
) -> Tensor:
    """Encode every class by the normalized mean of its prompts' normalized features.

    Args:
        loaded: The CLIP whose text tower is used.
        classes: Class names.
        prompts: Templates, each with `{}` for the class.
        words: How prompts call the classes; by default by their names, with spaces for underscores.
        section: The section of the recipe that names the CLIP and the prompts, for messages.
        trains_text: Whether the recipe trains the text tower, for messages.

    Returns:
        Features [C, D] of length 1, in fp32.

    Raises:
        ConfigError: If there is no prompt, one without one `{}`, one that is too long for the text tower, or the
            features of two classes coincide.
        WeightsError: If a feature is not finite.
    """
    check_prompts(prompts, section)
    names = [prompt_name(name) for name in classes] if words is None else words
    tokens = prompt_tokens(loaded, names, prompts, section=section)
    training = loaded.model.training
    head = encode_classes(loaded.model.eval(), tokens.to(loaded.model.logit_scale.device), len(names))
    loaded.model.train(training)
    if not bool(torch.isfinite(head).all()):
        raise WeightsError(
            f"The text tower of `{loaded.name}` gives values that are not finite numbers for {listed(names, _LISTED)}. "
            f"Give other weights (`{section}.weights`), or another model (`{section}.name`)."
        )
    if same := coinciding(head):
        raise ConfigError(_indistinct(loaded.name, classes, names, prompts, same, section, trains_text))
    return head


def prompt_tokens(loaded: LoadedClip, words: Sequence[str], prompts: Sequence[str], *, section: str = MODEL) -> Tensor:
    """Return the tokens [prompts * classes, context] of every prompt for all classes, one prompt after another.

    Raises:
        ConfigError: One is longer than what the text tower takes.
    """
    texts = [prompt.replace("{}", word) for prompt in prompts for word in words]
    return whole_tokens(loaded, texts, f"give the class a shorter word (`data.words`), or shorten `{section}.prompts`")


def encode_classes(model: CLIP | CustomTextCLIP, tokens: Tensor, classes: int) -> Tensor:
    """Return the class features [classes, d] of the tokens that `prompt_tokens` gives; gradients pass through them."""
    features = model.encode_text(tokens, normalize=True).float()
    return normalize(features.reshape(-1, classes, features.shape[-1]).mean(dim=0), dim=-1)


@torch.no_grad()
def unknown_words(loaded: LoadedClip, words: Sequence[str]) -> list[str]:
    """Return the words that the text tower does not know: all their tokens have an embedding of zeros.

    Such a word may still have a feature of its own, if it is the only one, but one that means nothing.
    """
    embedding = getattr(loaded.model, "token_embedding", None)
    if not isinstance(embedding, torch.nn.Embedding) or not own_tokens(loaded):
        return []
    known = embedding.weight.any(dim=1).cpu()
    tokens = tokenize(loaded, words)
    # The last token of a text, before what fills the row up, has the largest number.
    ends = tokens.argmax(dim=1).tolist()
    own = [row[1:end] for row, end in zip(tokens, ends, strict=True)]
    return [word for word, row in zip(words, own, strict=True) if not bool(known[row].any())]


def coinciding(features: Tensor) -> list[list[int]]:
    """Return groups of classes whose features [C, D] are nearer to each other than any image could tell apart."""
    groups: list[list[int]] = []
    unseen = list(range(len(features)))
    while unseen:
        first, *others = unseen
        near = (features[others] - features[first]).norm(dim=-1) < COINCIDE
        same = [index for index, is_near in zip(others, near.tolist(), strict=True) if is_near]
        if same:
            groups.append([first, *same])
        unseen = [index for index in others if index not in same]
    return groups


def _indistinct(
    model: str,
    classes: Sequence[str],
    words: Sequence[str],
    prompts: Sequence[str],
    same: list[list[int]],
    section: str,
    trains_text: bool,
) -> str:
    shown = [
        f"`{name}`" + (f" (called `{word}`)" if word != prompt_name(name) else "")
        for name, word in zip(classes, words, strict=True)
    ]
    groups = [shortened([shown[index] for index in group], _LISTED) for group in same]
    # Only the model that is trained can do without text.
    frozen = "--model.text_tower=frozen " if trains_text else ""
    learned = (
        f"learn their features from the sources' images (`{frozen}--model.text_head=source_means` or `linear_probe`), "
        if section == MODEL
        else ""
    )
    return (
        f"The text tower of `{model}` gives the classes {shortened(groups, 2)} the same features under "
        f"`{section}.prompts` ({listed(prompts, 2)}), so that no image could tell them apart: it does not know these "
        f"words, or two classes have the same. Give the classes other words (`data.words`), {learned}or set "
        f"`{section}.prompts` or `{section}.name` to others."
    )


def check_prompts(prompts: Sequence[str], section: str = MODEL) -> None:
    """Refuse a list of prompts that would not tell the classes apart."""
    if problem := prompt_problem(prompts, f"{section}.prompts"):
        raise ConfigError(f"{problem}.")


def logit_scale(loaded: LoadedClip) -> float:
    """Return the learned factor between cosines and logits, at most 100 as in CLIP's training."""
    return min(float(loaded.model.logit_scale.detach().exp()), MAX_SCALE)


def whole_tokens(loaded: LoadedClip, texts: Sequence[str], remedy: str, shown: Sequence[str] | None = None) -> Tensor:
    """Return what `tokenize` does, of texts that are not cut; those of other tokenizers than open_clip's may be.

    Args:
        loaded: The CLIP.
        texts: The texts.
        remedy: What a message says is to be done about a text that is too long.
        shown: How a message shows each text; by default as it is.

    Raises:
        ConfigError: A text is longer than what the text tower takes.
    """
    tokens = tokenize(loaded, texts)
    for text, name in zip(texts, shown or texts, strict=True):
        # With its start and its end.
        count = len(token_numbers(text)) + 2 if own_tokens(loaded) else 0
        if count > tokens.shape[1]:
            raise ConfigError(
                f"The prompt `{excerpt(name)}` has {count} tokens, but the text tower of `{loaded.name}` takes "
                f"{tokens.shape[1]} and would not read the rest; {remedy}."
            )
    return tokens
