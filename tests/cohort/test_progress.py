"""What a training tells the progress of its run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hamdg import console
from hamdg.cohort.progress import TrainingProgress, describe
from hamdg.progress import Progress
from hamdg.tracking.keys import MetricKey

if TYPE_CHECKING:
    from tests.cohort.conftest import World

pytestmark = [
    # BatchNorm is in evaluation mode on purpose: its statistics are frozen.
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    # Lightning's own use of torch's pytree.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
]
LEFT = r"( \| (at least|about) \d+ s left)?"
SHOWN = r"loss art \d\.\d\d, cartoon \d\.\d\d, photo \d\.\d\d \| added \d+%"


def test_losses_and_what_learners_and_couplings_show_stand_in_one_line(world: World) -> None:
    cohort = world.cohort()
    cohort.latest = {MetricKey("loss", "art"): 0.5, MetricKey("loss", "photo"): 1.234, MetricKey("lr"): 1.0}
    assert describe(cohort) == "loss art 0.50, photo 1.23"
    counts = (("added", 2.0), ("candidates", 8.0))
    cohort.latest |= {MetricKey(f"enrichment/{name}", source): n for name, n in counts for source in ("art", "photo")}
    cohort.latest |= {
        MetricKey("cosine/after", "art|photo", "conv1"): 1.0,
        MetricKey("cosine/after", "art|photo"): -0.5,
    }
    assert describe(cohort) == "loss art 0.50, photo 1.23 | added 25% | cosine -0.50"


def test_a_line_is_printed_at_every_quarter(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress({"train": 1.0})
    with progress.part("train"):
        world.fit(world.cohort(), [TrainingProgress(world.train.steps, progress)])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  step")]
    assert [int(line.split()[1].partition("/")[0]) for line in said] == [1, 3, 4, 6]
    assert all(re.fullmatch(rf"  step +\d/6 \| {SHOWN}( \| cosine [+-]\d\.\d\d)?{LEFT}", line) for line in said), said


def test_a_quiet_training_prints_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with console.output(quiet=True):
        world.fit(world.cohort(), [TrainingProgress(world.train.steps, Progress())])
    assert "step" not in capsys.readouterr().out
