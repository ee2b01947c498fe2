"""Networks are evaluated in the precision that they are trained in; weights and scores stay in single precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline
from hamdg.stages.context import open_context
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_sources

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


@pytest.mark.parametrize(("precision", "half"), [("auto", False), ("fp32", False), ("bf16", True)])
def test_a_cpu_computes_in_single_precision_unless_asked(tiny: Tiny, precision: str, half: bool) -> None:
    recipe = tiny("--runtime.device=cpu", f"--runtime.precision={precision}")
    assert open_context(recipe, RunDirectory(run_directory(recipe))).half == half


def test_scores_are_those_of_the_precision_and_of_type_float(tiny: Tiny) -> None:
    recipe = tiny(tower="vit")
    context = open_context(recipe, RunDirectory(run_directory(recipe)))
    part = next(iter(open_sources(context, begun=False).holdouts().values()))
    network = context.network()
    whole, half = (
        torch.cat([batch.scores for batch in scorer.scores([Scored(network, {})], part)])
        for scorer in (Scorer(context.device, context.preprocess, half) for half in (False, True))
    )
    assert whole.dtype == half.dtype == torch.float32
    assert not torch.equal(whole, half)
    torch.testing.assert_close(whole, half, rtol=0.05, atol=0.5)


def test_a_run_in_bf16_keeps_its_weights_in_single_precision(tiny: Tiny) -> None:
    recipe = tiny("--runtime.precision=bf16", "--train.check_images=3", tower="vit")
    run = RunDirectory(Path(pipeline.run(recipe)).parent)
    assert run.is_done
    for path in (run.merged, *(run.step("train").folder / "history").iterdir()):
        assert {tensor.dtype for tensor in load_tensors(path).values() if tensor.is_floating_point()} == {torch.float32}
