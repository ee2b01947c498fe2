"""What a user sees of a training: a bar on a terminal, a line at every quarter elsewhere."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from hamdg.cohort.progress import ProgressBar, ProgressLines, describe, progress_callback
from hamdg.tracking.keys import MetricKey

if TYPE_CHECKING:
    from tests.cohort.conftest import World

pytestmark = [
    # BatchNorm is in evaluation mode on purpose: its statistics are frozen.
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    # Lightning's own use of torch's pytree.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
]
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


def test_a_terminal_gets_a_bar_a_pipe_lines_and_quiet_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_callback(8, quiet=True) == []
    kinds = []
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda found=is_terminal: found)
        kinds += [type(callback) for callback in progress_callback(8, quiet=False)]
    assert kinds == [ProgressBar, ProgressLines]


def test_a_line_is_printed_at_every_quarter(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fit(world.cohort(), [ProgressLines(world.train.steps)])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  step")]
    assert [int(line.split()[1].partition("/")[0]) for line in said] == [1, 3, 4, 6]
    assert all(re.fullmatch(rf"  step +\d/6 \| {SHOWN}( \| cosine [+-]\d\.\d\d)?", line) for line in said), said


def test_the_bar_follows_the_steps_and_is_closed(world: World) -> None:
    bar, screen = ProgressBar(world.train.steps), io.StringIO()
    bar.progress.live.console = Console(file=screen, width=200)
    world.fit(world.cohort(), [bar])
    (task,) = bar.progress.tasks
    assert (task.completed, task.total) == (6, 6)
    assert re.match(SHOWN, task.description)
    assert bar.progress.finished
    assert not bar.progress.live.is_started
    assert "6/6" in screen.getvalue()
