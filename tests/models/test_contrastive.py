from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hamdg.config.recipe import ModelConfig
from hamdg.mini import DomainArrays
from hamdg.models import load_clip
from hamdg.models.contrastive import ContrastiveConfig, contrastive_loss, train_contrastive
from hamdg.models.zero_shot import zero_shot

CONF = Path(__file__).parents[1] / "conf"
COLORS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def slow_loss(image: torch.Tensor, text: torch.Tensor, caption: list[int], scale: float) -> float:
    """The loss by its definition, in float64 and with loops."""
    cosine = [[scale * float(i.double() @ t.double()) for t in text] for i in image]
    pictures = range(len(image))
    total = 0.0
    for row in pictures:
        total -= (cosine[row][caption[row]] - math.log(sum(map(math.exp, cosine[row])))) / len(image)
    for column in range(len(text)):
        own = [row for row in pictures if caption[row] == column]
        norm = math.log(sum(math.exp(cosine[row][column]) for row in pictures))
        total -= sum(cosine[row][column] - norm for row in own) / len(own) / len(text)
    return total / 2


def test_loss_equals_the_slow_reference() -> None:
    generator = torch.Generator().manual_seed(3)
    image, text = (normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (5, 3))
    caption = [0, 2, 2, 1, 0]

    found = contrastive_loss(image, text, torch.tensor(caption), torch.tensor(7.0))

    assert float(found) == pytest.approx(slow_loss(image, text, caption, 7.0), rel=1e-5)


def test_loss_by_hand() -> None:
    # Two orthogonal pairs at scale ln 3: each right answer has probability 3 / 4.
    eye = torch.eye(2)
    assert float(contrastive_loss(eye, eye, torch.tensor([0, 1]), torch.tensor(3.0).log())) == pytest.approx(
        math.log(4 / 3)
    )


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_pretraining_learns_colors_and_repeats(kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=240)
    noise = rng.integers(-20, 20, size=(240, 32, 32, 3))
    images = (np.array(list(COLORS.values()))[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    captions = [f"a {list(COLORS)[label]} square" for label in labels]
    config = ContrastiveConfig(epochs=6, batch_size=24, lr=3e-3, warmup=5)
    test = DomainArrays("plain", images, np.zeros(240, dtype=np.int64), labels)
    losses: list[float] = []

    def train() -> float:
        loaded = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))
        train_contrastive(loaded, images, captions, config, lambda epoch, loss: losses.append(loss))
        assert not loaded.model.training
        return zero_shot(loaded, test, list(COLORS), ["a {} square"])

    assert train() > 0.9
    train()
    assert losses[:6] == losses[6:]
    assert losses[5] < losses[0]
