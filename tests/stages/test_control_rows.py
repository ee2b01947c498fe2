"""The rows of a control, as they stand in the table of another run."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from hamdg.config.recipe import Recipe
from hamdg.data.resolve import benchmark_of
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import Record, Row
from hamdg.stages import control_rows
from hamdg.stages.context import Context
from hamdg.stages.discovery import algorithm_of
from hamdg.tasks.registry import TASKS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stages.conftest import Tiny

TARGETS = ("--merge.method=adamerging", "--merge.target_data=adamerging")
ERROR = 0.01


def row(metric: str, **values: tuple[float, float, float, int]) -> Row:
    targets = {
        name: {metric: whole, f"{metric}_in80": inside, f"{metric}_in20": outside, "images": images}
        for name, (whole, inside, outside, images) in values.items()
    }
    mean = sum(own[0] for own in values.values()) / len(values)
    return cast(
        "Row",
        {
            "key": "erm",
            "label": "ERM",
            "group": "merged",
            "held_out": mean,
            "held_out_in80": 0.5,
            "standard_error": ERROR,
            "validation": 0.7,
            "note": "",
            "targets": targets,
        },
    )


def joined(recipe: Recipe, own: Row, monkeypatch: pytest.MonkeyPatch, path: Path) -> Row:
    """Return how a control's row, measured on whole targets and averaged plainly, is joined to a run's table."""
    record = cast("Record", {"part": "all", "average": "arithmetic", "rows": [own]})
    monkeypatch.setattr(control_rows, "read_record", lambda _: record)
    bench = benchmark_of(recipe)
    context = SimpleNamespace(recipe=recipe, bench=bench, task=TASKS[bench.task], algorithm=algorithm_of(recipe))
    control = SimpleNamespace(recipe=SimpleNamespace(algorithm="erm"), run=RunDirectory(path))
    (found,) = control_rows.joined_rows(cast("Context", context), cast("Context", control), ["ham"])
    assert (found["key"], found["group"], found["note"]) == ("erm/erm", "control", "same images")
    assert (found["targets"], found["validation"]) == (own["targets"], 0.7)
    return found


def test_what_a_run_has_not_read_of_its_target_is_what_its_controls_are_tested_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = row("accuracy", sketch=(0.8, 0.9, 0.4, 100))
    found = joined(tiny(*TARGETS), own, monkeypatch, tmp_path)
    assert (found["held_out"], found["held_out_in80"]) == (0.4, 0.9)
    assert found["standard_error"] == pytest.approx(math.sqrt(0.4 * 0.6 / 20))


def test_several_targets_have_the_mean_of_the_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = row("accuracy", photo=(0.8, 0.9, 0.4, 100), sketch=(0.2, 0.1, 0.6, 100))
    found = joined(tiny("--held_out=photo+sketch", "--evaluate.average=harmonic"), own, monkeypatch, tmp_path)
    assert found["held_out"] == pytest.approx(0.32)
    assert found["held_out_in80"] == pytest.approx(0.18)
    # The harmonic mean H of two moves with each p by H^2 / (2 p^2).
    slopes = [0.32**2 / (2 * p**2) for p in (0.8, 0.2)]
    assert found["standard_error"] == pytest.approx(0.04 * math.hypot(*slopes))


@pytest.mark.parametrize("average", ["arithmetic", "harmonic"])
def test_what_is_alike_stays_as_it_was_measured(
    tiny: Tiny, average: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = row("accuracy", sketch=(0.8, 0.9, 0.4, 100))
    two = row("accuracy", photo=(0.8, 0.9, 0.4, 100), sketch=(0.2, 0.1, 0.6, 100))
    held_out, own = ("sketch", one) if average == "harmonic" else ("photo+sketch", two)
    found = joined(tiny(f"--held_out={held_out}", f"--evaluate.average={average}"), own, monkeypatch, tmp_path)
    for name in ("held_out", "held_out_in80", "standard_error"):
        assert found[name] == own[name]


def test_of_fewer_label_maps_the_error_is_larger(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = ("--benchmark=mini-scenes", "--held_out=dusk", "--algorithm=experts", "--model.name=mini-unet")
    own = row("mIoU", dusk=(0.8, 0.9, 0.4, 100))
    found = joined(tiny(*model, "--model.weights=null", *TARGETS), own, monkeypatch, tmp_path)
    assert found["held_out"] == 0.4
    assert found["standard_error"] == pytest.approx(ERROR * math.sqrt(100 / 20))
