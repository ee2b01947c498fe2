"""CoOp as a run: the context learns, the CLIP stays, and what cannot learn a context is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.algorithms.coop import fresh_context
from hamdg.config.reading import read_recipe
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.models.prompted_clip import PromptedClip, embedded
from hamdg.runs.steps import read_validation
from hamdg.stages import pipeline
from tests.stages.conftest import tiny_arguments

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

    Runs = Callable[..., Done]

OWN = ("--coop.context=5", "--history.kind=last", "--train.lr=0.1")


def test_a_context_is_drawn_by_the_seed_with_the_papers_spread() -> None:
    context = fresh_context(200, 64, seed=3)
    assert torch.equal(context, fresh_context(200, 64, seed=3))
    assert not torch.equal(context, fresh_context(200, 64, seed=4))
    assert float(context.std()) == pytest.approx(0.02, rel=0.02)
    assert float(context.mean()) == pytest.approx(0.0, abs=1e-3)


def test_the_context_learns_and_the_clip_stays(done: Runs) -> None:
    context = done("coop", *OWN).context()
    start, result = context.algorithm.entries(context)
    assert (start.key, result.key) == context.algorithm.keys(context.sources) == ("zero_shot", "coop")
    found = context.step("train").history()
    width = embedded(context.clip, "a").shape[1]
    assert torch.equal(found.start["pooled"]["prompt.context"], fresh_context(5, width, context.recipe.seed))
    assert list(result.weights) == ["prompt.context"]
    assert context.algorithm.trained_parameters(context) == 5 * width
    assert not torch.equal(found.last["pooled"]["prompt.context"], found.start["pooled"]["prompt.context"])
    exported = load_tensors(context.run.merged)
    assert all(torch.equal(exported[name], tensor) for name, tensor in context.clip.model.state_dict().items())
    network = result.network
    assert isinstance(network, PromptedClip)
    with torch.no_grad():
        wanted = network.logit_scale * network.class_features(result.weights["prompt.context"])
    torch.testing.assert_close(load_tensors(context.run.path / "head.safetensors")["weight"], wanted)
    assert set(read_validation(context.run)) == {"zero_shot", "coop"}


def test_words_may_be_the_start_of_the_context(done: Runs) -> None:
    context = done("coop", "--coop.init=a photo of a", "--train.lr=0.1").context()
    found = context.step("train").history().start["pooled"]["prompt.context"]
    assert torch.equal(found, embedded(context.clip, "a photo of a"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--model.text_tower=trained"], r"nothing else, but `model\.text_tower` is `trained`; leave it out\.$"),
        (["--model.text_head=source_means"], r"nothing else, but `model\.text_head` is `source_means`; leave it out"),
        (["--model.name=mini-resnet8", "--model.weights=null"], r"`coop` needs a CLIP .* `mini-resnet8` is an image"),
        ([], r"^The prompt `\[16 vectors\] .*\.` has \d+ tokens, but the text tower of `tiny-vit` takes 16 "),
        (["--coop.init= "], r"^`coop\.init` is ` `, which holds no word; give some words, or leave it out\.$"),
    ],
)
def test_what_cannot_learn_a_context_is_refused_before_anything_is_written(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    arguments = [*tiny_arguments(tmp_path / "runs", "vit"), "--algorithm=coop", "--runtime.quiet=true", *settings]
    with pytest.raises(ConfigError, match=message):
        pipeline.run(read_recipe(None, arguments))
    assert not (tmp_path / "runs").exists()


def test_statistics_that_would_move_are_refused(tmp_path: Path) -> None:
    arguments = [*tiny_arguments(tmp_path / "runs", "rn"), "--algorithm=coop", "--model.statistics=live"]
    with pytest.raises(ConfigError, match=r"nothing else, but `model\.statistics` is `live`; leave it out\.$"):
        pipeline.run(read_recipe(None, [*arguments, "--runtime.quiet=true"]))
