from __future__ import annotations

import pytest
import torch
from lightning import LightningModule

from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.config.data import MiniConfig
from hamdg.config.recipe import ModelConfig
from hamdg.tools.bench import training as bench


def test_seconds_is_the_median_without_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 0.0, 3.0, 0.0, 1.0, 0.0, 2.0])
    monkeypatch.setattr("hamdg.tools.bench.training.time.perf_counter", lambda: next(clock))
    assert bench.seconds(lambda: None, repeats=3) == 2.0


def test_rendering_is_timed_in_processor_time_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(bench, "render_image", lambda domain, label, index, config: drawn.append((label, index)))
    monkeypatch.setattr("hamdg.tools.bench.training.time.process_time", lambda: next(clock))
    assert bench.images_per_second("photo", MiniConfig(), count=14) == 7.0
    assert drawn == [(label, index) for index in (0, 0, 1) for label in range(7)]


@pytest.mark.slow
def test_every_part_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "images_per_second", lambda name, config: 400.0)
    for name, small in {"LARGE": 1_000_000, "MODELS": ("mini-vit",), "PAIRS": 2, "WARM": 1}.items():
        monkeypatch.setattr(bench, name, small)
    monkeypatch.setattr(bench, "set_threads", lambda wanted: 1)
    bench.main()
    said = capsys.readouterr().out
    assert said.startswith("1 thread(s)\n")
    assert said.count("400 images/s/core") == 4
    for line in (
        "history update of 1 M parameters",
        "mini-vit: a learner alone",
        "mini-vit: a cohort of one",
        "mini-vit: a cohort of three",
        "mini-vit: three with the l2 pull",
        "mini-vit: all of HAM",
        "mini-vit: 3 history updates",
    ):
        assert line in said
    assert said.count("of a bare loop") == 5


def test_bare_loops_have_the_mathematics_of_a_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[tuple[LightningModule, bench.Bare]] = []

    def trained(module: LightningModule, bare: bench.Bare, loader: bench.Steps) -> tuple[float, float]:
        loops.append((module, bare))
        return paired(module, bare, loader)

    paired = bench.paired
    monkeypatch.setattr(bench, "paired", trained)
    monkeypatch.setattr(bench, "PAIRS", 2)
    monkeypatch.setattr(bench, "WARM", 1)
    bench.step_rows(ModelConfig("mini-vit"))
    assert len(loops) == 5
    for module, bare in loops:
        learners = module.learners.values() if isinstance(module, Cohort) else [module]
        for learner, network in zip(learners, bare.networks.values(), strict=True):
            assert isinstance(learner, Learner)
            expected = network.weights()
            for name, tensor in learner.result.weights().items():
                torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)
