"""LP-FT: fine-tuning begins with the probe, as its linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.merge.files import load_tensors
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_step_summary, read_validation_by_source
from hamdg.stages import pipeline
from hamdg.stages.context import open_context

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work

OWN = ("--algorithm=lp_ft", "--history.kind=last", "--train.optimizer=sgd")


def test_training_begins_with_the_probe_and_moves_encoder_and_layer(tiny: Tiny, worked: list[Work]) -> None:
    grid = "grid=[0.01, 1]"
    probe = RunDirectory(pipeline.run(tiny("--algorithm=linear_probe", f"--linear_probe.{grid}")).parent)
    run = RunDirectory(pipeline.run(tiny(*OWN, f"--lp_ft.probe.{grid}")).parent)
    assert [work.step for work in worked] == ["features", "probe", "probe", "train"]
    found, state = load_tensors(run.step("probe").folder / "probe.safetensors"), load_tensors(run.base)
    context = open_context(run.recipe(), run)
    histories, layer = context.step("train").history(), sum(tensor.numel() for tensor in found.values())
    encoder = sum(parameter.numel() for parameter in context.pretrained.encoder.parameters())
    assert context.algorithm.trained_parameters(context) == encoder + layer
    start, last = histories.start["pooled"], histories.last["pooled"]
    assert torch.equal(start["head.weight"], found["weight"])
    assert torch.equal(start["head.bias"], found["bias"])
    assert all(torch.equal(tensor, state[name]) for name, tensor in start.items() if name.startswith("visual."))
    assert {name for name in start if not torch.equal(start[name], last[name])} >= {
        "head.weight",
        "visual.conv1.weight",
    }
    rows, others = ({row["key"]: row for row in read_record(one.path)["rows"]} for one in (run, probe))
    assert list(rows) == ["zero_shot", "linear_probe", "lp_ft"]
    # The row of the probe is that of a linear probe alone.
    assert rows["linear_probe"]["held_out"] == others["linear_probe"]["held_out"]
    by_source = [read_validation_by_source(one)["linear_probe"] for one in (run, probe)]
    assert by_source[0] == by_source[1]
    head = load_tensors(run.path / "head.safetensors")
    assert torch.equal(head["weight"], last["head.weight"])
    assert torch.equal(load_tensors(run.merged)["visual.conv1.weight"], last["visual.conv1.weight"])
    assert [read_step_summary(run.step(name))["opened"] for name in ("features", "probe", "train")] == [
        ["art_painting", "cartoon", "photo"],
        [],
        ["art_painting", "cartoon", "photo"],
    ]


def test_an_image_classifier_is_fine_tuned_from_its_probe(tiny: Tiny) -> None:
    run = RunDirectory(pipeline.run(tiny(*OWN, "--model.name=mini-resnet8", "--lp_ft.probe.grid=[1]")).parent)
    start = open_context(run.recipe(), run).step("train").history().start["pooled"]
    found = load_tensors(run.step("probe").folder / "probe.safetensors")
    assert torch.equal(start["fc.weight"], found["weight"])
    assert [row["key"] for row in read_record(run.path)["rows"]] == ["linear_probe", "lp_ft"]


@pytest.mark.parametrize("option", ["--train.accumulate=2"])
def test_batches_may_be_split_before_there_is_a_probe(tiny: Tiny, option: str) -> None:
    assert pipeline.run(tiny(*OWN, option, "--lp_ft.probe.grid=[1]"), until="train").parent.is_dir()
