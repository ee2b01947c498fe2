from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hamdg.report.collection import collect
from hamdg.report.many.costs import cost_part
from hamdg.report.many.effects import effects
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import TableOptions
from tests.made_up import METHODS, Method, write_runs


def table_of(folder: Path, methods: Sequence[Method] = METHODS, baseline: str = "") -> Table:
    write_runs(folder, methods)
    options = TableOptions(rows=("variant",), models=("zero_shot", "result"), baseline=baseline)
    (table,) = tabulate(collect([folder]).runs, options)
    return table


def test_methods_that_differ_in_one_key_are_its_effects(tmp_path: Path) -> None:
    (found,) = effects(table_of(tmp_path))
    assert found.reference == "HAM (reconstruction)"
    lines = zip(found.changes, found.drawn.lines, strict=True)
    assert [(change.key, change.before, change.after, line.n) for change, line in lines] == [
        ("merge.options.keep", "default", "0.5", 12),
        ("ham.enrichment.enabled", "true", "false", 12),
        ("merge.options.keep", "default", "0.1", 12),
        ("ham.harmonization.method", "l2", "none", 12),
    ]
    means = [float(line.order) for line in found.drawn.lines]
    assert means == sorted(means, reverse=True)
    assert found.drawn.lines[-1].reading == "worse"


def test_other_algorithms_and_several_changes_are_no_effects(tmp_path: Path) -> None:
    several = Method("HAM twice", "ham", (60, 60, 60, 60), 1.0, 9.0, {"train.lr": 0.5, "train.steps": 7})
    assert effects(table_of(tmp_path, (*METHODS[:5], several))) == []


def test_a_grid_without_a_center_has_its_first_method_as_reference(tmp_path: Path) -> None:
    grid = [Method(f"lr {lr}", "erm", (60, 60, 60, 60), 1.0, 9.0, {"train.lr": lr}) for lr in (0.1, 0.2, 0.3)]
    (found,) = effects(table_of(tmp_path, grid))
    assert found.reference == "lr 0.1"
    assert {change.after for change in found.changes} == {"0.2", "0.3"}


def test_the_baseline_is_the_reference_where_several_could_be(tmp_path: Path) -> None:
    grid = [Method(f"lr {lr}", "erm", (60, 60, 60, 60), 1.0, 9.0, {"train.lr": lr}) for lr in (0.1, 0.2, 0.3)]
    (found,) = effects(table_of(tmp_path, grid, baseline="lr 0.2"))
    assert found.reference == "lr 0.2"


def test_costs_are_means_over_runs_and_zero_shot_has_none(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    part = cost_part(table)
    assert part is not None
    rows = {row.label: [text for text, _ in row.cells] for row in part.rows}
    assert rows["zero-shot"] == ["64.3", "–", "–"]  # noqa: RUF001
    seconds = [
        run.summary.timings["train"] for cells in table.cells for run in cells[-1].runs if run.summary.label == "MMD"
    ]
    assert rows["MMD"][1] == f"{sum(seconds) / len(seconds):.1f}"
    assert rows["MMD"][2] == "9,600"
    assert "No method that costs as much or less is better than ERM + SMA (filled)." in part.text
    assert [level.label.text for level in part.wide.levels] + list(part.wide.below)


def test_a_single_method_has_no_cost_to_compare(tmp_path: Path) -> None:
    assert cost_part(table_of(tmp_path, METHODS[:1])) is None
