"""Contrastive pretraining of a small CLIP from captioned images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.models.clip import LoadedClip
from hamdg.models.schedule import warm_cosine
from hamdg.models.text_head import MAX_SCALE
from hamdg.models.tokenizer import tokenize
from hamdg.models.zero_shot import to_input


@dataclass(frozen=True)
class ContrastiveConfig:
    """How a small CLIP is pretrained.

    Args:
        epochs: Passes over the images.
        batch_size: Images per step.
        lr: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay of the matrices; vectors and scalars have none.
        warmup: Steps of linear warm-up before the cosine decay to zero.
        seed: Seed of the batch order.
    """

    epochs: int = 4
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    seed: int = 0


def contrastive_loss(image: Tensor, text: Tensor, caption: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric loss where several images may share a caption.

    With the captions of a batch listed once, an image has one right caption, and a caption shares its target evenly
    among its images (https://arxiv.org/abs/2103.00020, with the duplicates counted as matches).

    Args:
        image: Image features [B, D] of length 1.
        text: Features [U, D] of length 1 of the batch's different captions.
        caption: Which of the captions belongs to each image [B].
        scale: Factor between cosines and logits.
    """
    logits = scale * image @ text.T
    owner = nn.functional.one_hot(caption, len(text)).to(logits.dtype)
    targets = (owner / owner.sum(dim=0)).T
    return (cross_entropy(logits, caption) + cross_entropy(logits.T, targets)) / 2


def train_contrastive(
    loaded: LoadedClip,
    images: NDArray[np.uint8],
    captions: Sequence[str],
    config: ContrastiveConfig,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a CLIP in place on captioned images; BatchNorm learns its statistics here, and only here.

    Args:
        loaded: The CLIP to be trained, left in evaluation mode.
        images: Images, uint8 [n, h, w, 3].
        captions: One caption per image.
        config: How long and how fast.
        on_epoch: Called after each epoch with its number (from 1) and its mean loss.
    """
    model = loaded.model
    optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.lr, betas=(0.9, 0.98))
    total = config.epochs * (len(captions) // config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, config.warmup, total))
    texts, caption_of = np.unique(np.asarray(captions), return_inverse=True)
    tokens = tokenize(loaded, texts.tolist())
    for epoch in range(config.epochs):
        model.train()
        losses = []
        for chosen in _batches(len(captions), config, epoch):
            used, caption = np.unique(caption_of[chosen], return_inverse=True)
            image = model.encode_image(to_input(loaded, images[chosen]), normalize=True)
            text = model.encode_text(tokens[used], normalize=True)
            scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
            loss = contrastive_loss(image, text, torch.from_numpy(caption), scale)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        if on_epoch is not None:
            on_epoch(epoch + 1, float(np.mean(losses)))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _batches(count: int, config: ContrastiveConfig, epoch: int) -> Iterator[NDArray[np.int64]]:
    order = np.random.default_rng([config.seed, epoch]).permutation(count)
    for start in range(0, count - config.batch_size + 1, config.batch_size):
        yield np.sort(order[start : start + config.batch_size])
