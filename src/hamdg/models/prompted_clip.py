"""A frozen CLIP whose prompts begin with learned context vectors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from hamdg.errors import ConfigError
from hamdg.models.clip import LoadedClip
from hamdg.models.clip_classifier import ClipNetwork
from hamdg.models.export import write_linear
from hamdg.models.network import HEAD, Weights, unsaved
from hamdg.models.text_head import encode_classes, whole_tokens
from hamdg.models.tokenizer import own_tokens, token_numbers

# Stands for a context vector among the tokens of a prompt.
_PLACEHOLDER = "x"


class PromptedClip(ClipNetwork):
    """A CLIP that reads `[context] class.` in place of each prompt; only the context is trained.

    The exported file is the CLIP as it was; the class features, times its scale, lie beside it.

    Args:
        loaded: The CLIP, which is copied.
        words: How prompts call the classes.
        context: What the context vectors [n, width] start from, of embeddings of tokens.
        scale: Factor between cosines and scores; by default CLIP's own.
        classes: Names of the classes, for exported files; by default the words.

    Raises:
        ConfigError: The text tower has no embeddings of tokens that vectors could replace, or a prompt is too long.
    """

    tokens: Tensor

    def __init__(
        self,
        loaded: LoadedClip,
        words: Sequence[str],
        context: Tensor,
        scale: float | None = None,
        *,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(loaded, scale)
        token_embedding(loaded)
        self.classes = tuple(words if classes is None else classes)
        self.prompt = nn.ParameterDict({"context": context.detach().clone()})
        self.clip: CLIP | CustomTextCLIP = unsaved(copy.deepcopy(loaded.model)).requires_grad_(False)
        self.register_buffer("tokens", prompted_tokens(loaded, words, len(context)), persistent=False)
        self._known: tuple[Tensor, Tensor] | None = None

    def train(self, mode: bool = True) -> Self:
        """Leave the CLIP in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def layers(self) -> Mapping[str, nn.Module]:
        """Return what is trained."""
        return {"prompt": self.prompt}

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return features [n, d] of length 1; they never change, and no gradient passes through them."""
        return normalize(self.clip.visual(images), dim=-1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the scaled cosines [n, classes] between features and class features."""
        context = self.prompt["context"]
        return self.cosine_scores(
            features, self.class_features(context) if torch.is_grad_enabled() else self._kept(context)
        )

    def class_features(self, context: Tensor) -> Tensor:
        """Return the features [classes, d] of length 1 that the text tower gives the classes behind a context."""
        with _inserted(_embedding(self.clip), context):
            return encode_classes(self.clip, self.tokens, len(self.tokens))

    def _kept(self, context: Tensor) -> Tensor:
        """Return the class features of a context that does not learn now, encoded once and not for every batch."""
        known = self._known
        if known is None or known[0].device != context.device or not torch.equal(known[0], context):
            known = self._known = context.detach().clone(), self.class_features(context)
        return known[1]

    @torch.no_grad()
    def export(self, weights: Weights, folder: Path, metadata: Mapping[str, str]) -> Path:
        """Write the CLIP as it was, and beside it its scale times the class features, and the context."""
        context = weights["prompt.context"].to(self.prompt["context"])
        head = {"weight": self.logit_scale * self.class_features(context), "context": context}
        write_linear(folder / HEAD, head, self.classes, metadata, normalized=True)
        return super().export({}, folder, metadata)


def token_embedding(loaded: LoadedClip) -> nn.Embedding:
    """Return the embeddings of tokens of a CLIP's text tower.

    Raises:
        ConfigError: It is no text transformer of open_clip with open_clip's own tokens.
    """
    if not own_tokens(loaded) or _tower(loaded.model) is None:
        tower = type(getattr(loaded.model, "text", loaded.model)).__name__
        raise ConfigError(
            "Context vectors stand among the embeddings of tokens of open_clip's own text transformer, but the text "
            f"tower of `{loaded.name}` is another one (`{tower}`) or has other tokens; choose another `model.name`."
        )
    return _embedding(loaded.model)


def embedded(loaded: LoadedClip, text: str) -> Tensor:
    """Return the embeddings [tokens, width] of a text, without those of its start and its end."""
    return token_embedding(loaded).weight.detach()[token_numbers(text)].clone()


def prompted_tokens(loaded: LoadedClip, words: Sequence[str], vectors: int) -> Tensor:
    """Return the tokens [classes, context] of `[context] class.`, with others in the places of the context's vectors.

    Raises:
        ConfigError: One is longer than what the text tower takes.
    """
    texts = [" ".join([_PLACEHOLDER] * vectors + [f"{word}."]) for word in words]
    shown = [f"[{vectors} vectors] {word}." for word in words]
    return whole_tokens(loaded, texts, "give the class a shorter word (`data.words`), or use fewer vectors", shown)


def _tower(model: CLIP | CustomTextCLIP) -> CLIP | TextTransformer | None:
    tower = model if isinstance(model, CLIP) else model.text
    return tower if isinstance(tower, CLIP | TextTransformer) else None


def _embedding(model: CLIP | CustomTextCLIP) -> nn.Embedding:
    tower = _tower(model)
    assert tower is not None, "`token_embedding` checks it"
    embedding: nn.Embedding = tower.token_embedding
    return embedding


@contextmanager
def _inserted(embedding: nn.Embedding, context: Tensor) -> Iterator[None]:
    """Put vectors [n, width] behind the start of every text whose tokens are embedded while the block runs.

    All that follows is the text tower's own: its positions, its mask, and where it finds the end of a text.
    """

    def insert(module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        vectors = context.to(found.dtype).expand(len(found), -1, -1)
        return torch.cat([found[:, :1], vectors, found[:, 1 + len(context) :]], dim=1)

    handle = embedding.register_forward_hook(insert)
    try:
        yield
    finally:
        handle.remove()
