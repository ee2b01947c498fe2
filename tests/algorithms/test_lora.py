"""CLIP-LoRA: what is trained, its dropout, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.algorithms.lora import Lora
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.models.adapters.low_rank import LowRank
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.stages import pipeline
from tests.stages.conftest import tiny_arguments
from tests.tiny import CONF

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done


def test_the_learner_is_the_published_adapter(done: Callable[..., Done]) -> None:
    learner = Lora(done("lora").recipe).learner(done("lora").context())
    trained = learner.network.trainable()
    assert {name.rpartition(".")[2] for name in trained} == {"down", "up"}
    # 2 layers, 3 projections, rank 2 between 16 and 16.
    assert sum(parameter.numel() for parameter in trained.values()) == 2 * 3 * 2 * (16 + 16)
    assert Lora(done("lora").recipe).trained_parameters(done("lora").context()) == 2 * 3 * 2 * (16 + 16)
    found = [one for one in learner.network.modules() if isinstance(one, LowRank)]
    assert [one.scale for one in found] == [1 / math.sqrt(2)] * 2
    assert [one.positions for one in found] == [(0, 1, 2)] * 2
    # `kaiming_uniform_(a=sqrt 5)` of a matrix [2, 16].
    assert all(float(one.down.detach().abs().max()) <= 1 / math.sqrt(16) for one in found)
    assert not any(bool(one.up.detach().any()) for one in found)


def test_training_starts_at_the_clip_and_dropout_acts_only_there(done: Callable[..., Done]) -> None:
    context = done("lora").context()
    learner, plain = Lora(done("lora").recipe).learner(context), context.network()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(learner.network.eval()(images), plain.eval()(images))
    learner.train()
    torch.testing.assert_close(learner(images), plain.train()(images), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        for name, parameter in learner.network.trainable().items():
            parameter.add_(0.3 * name.endswith("up"))
    assert not torch.allclose(learner(images), learner(images), atol=1e-3)
    assert torch.equal(learner.network.eval()(images), learner.network(images))


def test_the_result_is_a_plain_clip(done: Callable[..., Done]) -> None:
    own = done("lora", "--history.kind=last", "--train.lr=0.01")
    context = own.context()
    entry = context.algorithm.entries(context)[-1]
    assert set(entry.weights) == {f"transformer.resblocks.{layer}.attn.in_proj_weight" for layer in (0, 1)}
    exported = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), str(own.run.merged)))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    entry.network.load(entry.weights)
    reached = entry.network.eval()(images)
    torch.testing.assert_close(ClipClassifier(exported, context.text_head)(images), reached, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(context.network().eval()(images), reached, atol=1e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--lora.rank=17",),
            "`lora` asks for a rank of 17 in the layer `transformer.resblocks.0`, whose projections are 16 wide; ",
        ),
        (
            (f"--model.name={CONF / 'tiny-rn.json'}",),
            "The image tower of `tiny-rn` (`ModifiedResNet`) has no blocks with self-attention, which adapters need; ",
        ),
        (
            ("--runtime.devices=2", "--runtime.device=cpu"),
            "`Learner` (learner `pooled`) has parametrized weights, which cannot be sent to other processes; use one",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_trains(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    recipe = read_recipe(None, [*tiny_arguments(tmp_path, "vit"), f"--algorithm={Lora.name}", *overrides])
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        pipeline.run(recipe)
