"""AHP through tiny runs: what is exported, what the page draws, and what is refused before anything trains."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.algorithms.ahp.algorithm import Ahp
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline
from tests.stages.conftest import tiny_arguments
from tests.tiny import CONF

if TYPE_CHECKING:
    from pathlib import Path

    from tests.algorithms.conftest import Done

LAST = ("--history.kind=last", "--train.lr=0.01")


def test_the_result_is_a_plain_clip_that_gives_the_scores_of_the_adapted_one(done: Callable[..., Done]) -> None:
    own = done("ahp", *LAST)
    context = own.context()
    entry = context.algorithm.entries(context)[-1]
    blocks = [f"transformer.resblocks.{layer}.attn" for layer in (0, 1)]
    assert set(entry.weights) == {f"{one}.{name}" for one in blocks for name in ("in_proj_weight", "out_proj.weight")}
    # Of 2 layers with 2 heads of 8: 2 projections of rank 8, of which each head has both factors, and the gates.
    assert context.algorithm.trained_parameters(context) == 2 * (2 * 2 * 8 * (16 + 8) + 2)

    exported = load_clip(ModelConfig(str(CONF / "tiny-vit.json"), str(own.run.merged)))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    entry.network.load(entry.weights)
    reached = entry.network.eval()(images)
    torch.testing.assert_close(ClipClassifier(exported, context.text_head)(images), reached, atol=1e-5, rtol=1e-5)
    start = context.network().eval()(images)
    assert not torch.allclose(start, reached, atol=1e-3)
    for name, value in exported.state().items():
        changed = name.startswith("visual.") and name.removeprefix("visual.") in entry.weights
        assert torch.equal(value, context.pretrained.state()[name]) != changed, name


def test_the_page_draws_the_gates_of_all_layers_and_heads(done: Callable[..., Done]) -> None:
    gates, penalty = read_step_summary(done("ahp", *LAST).run.step("train"))["figures"]
    assert gates["kind"] == "heat_map"
    assert gates["columns"] == ["layer 1", "layer 2"]
    assert list(gates["rows"]) == ["head 1", "head 2"]
    values = torch.tensor(list(gates["rows"].values()))
    assert bool(values.any())
    torch.testing.assert_close(values.sum(dim=0), torch.zeros(2))
    assert gates["highest"] == pytest.approx(float(values.abs().max()))
    assert penalty["kind"] == "curves"


def test_without_gates_none_are_drawn(done: Callable[..., Done]) -> None:
    run = done("ahp", *LAST, "--ahp.gates=false", "--ahp.mmd.weight=0", "--ahp.lora=shared").run
    assert [figure["kind"] for figure in read_step_summary(run.step("train"))["figures"]] == ["curves"]


def test_lr_of_the_gates_alone(done: Callable[..., Done]) -> None:
    figures = read_step_summary(done("ahp", *LAST, "--ahp.gate_lr=0.5").run.step("train"))["figures"]
    plain = read_step_summary(done("ahp", *LAST).run.step("train"))["figures"]
    assert figures[0]["kind"] == plain[0]["kind"] == "heat_map"
    assert figures[0]["highest"] > 5 * plain[0]["highest"]


RN = (f"--model.name={CONF / 'tiny-rn.json'}",)
CLASSIFIER = ("--model.name=mini-resnet8-16", "--model.weights=null", "--model.image_size=32")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--ahp.ranks=[2, 9]",),
            "`ahp` asks for a rank of 9 in the layer `transformer.resblocks.1`, whose heads are 8 wide; choose",
        ),
        (
            RN,
            "The image tower of `tiny-rn` (`ModifiedResNet`) has no blocks with self-attention, which adapters need; ",
        ),
        (
            CLASSIFIER,
            "The algorithm `ahp` compares image features with frozen class features, but `model.name` "
            "`mini-resnet8-16` has a linear layer; choose a CLIP.",
        ),
        (
            ("--model.text_tower=trained",),
            "The algorithm `ahp` compares image features with frozen class features, but "
            "`model.text_tower` is `trained`; leave it out.",
        ),
        (
            ("--model.head=trained",),
            "The algorithm `ahp` compares image features with frozen class features, but "
            "`model.head` is `trained`; leave it out.",
        ),
        (
            ("--ahp.lora=none", "--ahp.gates=false"),
            "`ahp.lora` is `none` and `ahp.gates` is `false`, so nothing is trained; choose one.",
        ),
        (
            ("--ahp.gates=false",),
            "`ahp.mmd.to` is `gates`, which this recipe does not have, so the discrepancy would teach nothing",
        ),
        (
            ("--ahp.lora=none", "--ahp.mmd.to=lora"),
            "`ahp.mmd.to` is `lora`, which this recipe does not have, so the discrepancy would teach nothing",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_trains(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    recipe = read_recipe(None, [*tiny_arguments(tmp_path, "vit"), f"--algorithm={Ahp.name}", *overrides])
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        pipeline.run(recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--ahp.ranks=[]", "Expected `ahp.ranks` to be a list of integers between 1 and 10,000 that is not empty, but"),
        ("--ahp.ranks=[0]", "Expected `ahp.ranks.0` to be an integer between 1 and 10,000, but got `0`"),
        ("--ahp.projections=[q, o]", "Expected `ahp.projections.1` to be one of `q`, `k`, `v`, but got `o`"),
        ("--ahp.mmd.gammas=[1, -1]", "Expected `ahp.mmd.gammas.1` to be a number above 0, but got `-1`"),
    ],
)
def test_values_that_make_no_sense(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        read_recipe(None, [f"--algorithm={Ahp.name}", override])
