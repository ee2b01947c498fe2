from __future__ import annotations

import re
from dataclasses import replace

import pytest
from wandb_workspaces.reports.v2.interface import Panel as Base

from hamdg.tracking.dashboard.convert import to_workspace
from hamdg.tracking.dashboard.layout import Dashboard, Panel, Section, ablations

DOMAINS = ("photo", "sketch")


@pytest.fixture
def dashboard() -> Dashboard:
    return ablations(DOMAINS, ("merge.method", "train.lr"), "| method | mean |\n| --- | ---: |\n| HAM | 67.7 |")


def panels(dashboard: Dashboard, kind: str) -> list[Panel]:
    return [panel for section in dashboard.sections for panel in section.panels if panel.kind == kind]


def test_our_own_table_comes_first_and_says_why(dashboard: Dashboard) -> None:
    headline = dashboard.sections[0]
    assert "HAM" in headline.panels[0].text
    assert "for looking only" in headline.lead


def test_without_our_table_the_one_that_a_sweep_logged_is_shown() -> None:
    first = ablations(DOMAINS, ()).sections[0].panels[0]
    assert (first.kind, first.metrics) == ("media", ("summary/table",))


def test_every_domain_has_its_bars_and_every_varied_key_its_axis(dashboard: Dashboard) -> None:
    bars = panels(dashboard, "bars")
    assert [panel.metrics for panel in bars] == [("accuracy",), ("accuracy/photo",), ("accuracy/sketch",)]
    (parallel,) = panels(dashboard, "parallel")
    assert parallel.metrics == ("config:merge.method", "config:train.lr", "summary:validation", "summary:accuracy")


def test_panels_show_the_metric_that_runs_log() -> None:
    found = ablations(DOMAINS, (), metric="mIoU")
    assert [panel.metrics for panel in panels(found, "bars")] == [("mIoU",), ("mIoU/photo",), ("mIoU/sketch",)]
    (curves,) = [panel for panel in panels(found, "lines") if panel.pattern.startswith("^validation/")]
    assert (curves.title, curves.pattern) == ("mIoU on the sources' hold-out sets", "^validation/mIoU/")
    assert "summary:mIoU" in found.columns
    assert "ccuracy" not in str(found)


def test_runs_are_grouped_by_configuration_never_by_attributes_of_runs(dashboard: Dashboard) -> None:
    assert {panel.groupby for section in dashboard.sections for panel in section.panels} == {"", "method"}


@pytest.mark.parametrize(
    "curve", ["loss/photo", "validation/accuracy/photo", "cosine/before/photo|sketch", "enrichment/added/photo"]
)
def test_the_curves_that_a_training_logs_are_drawn(dashboard: Dashboard, curve: str) -> None:
    assert [panel.title for panel in panels(dashboard, "lines") if panel.pattern and re.search(panel.pattern, curve)]


def test_a_panel_of_each_kind_becomes_one_of_the_workspace(dashboard: Dashboard) -> None:
    workspace = to_workspace(dashboard, "team", "ablations")
    assert workspace.name == "Ablations"
    assert [section.name for section in workspace.sections] == [section.name for section in dashboard.sections]
    kinds = {type(panel).__name__ for section in workspace.sections for panel in section.panels}
    assert kinds == {
        "BarPlot",
        "LinePlot",
        "MarkdownPanel",
        "MediaBrowser",
        "ParallelCoordinatesPlot",
        "ParameterImportancePlot",
        "RunComparer",
        "ScatterPlot",
    }


def test_panels_lie_side_by_side_without_touching(dashboard: Dashboard) -> None:
    wide = Section(
        "Wide", tuple(Panel("bars", str(width), ("accuracy",), width=width) for width in (12, 12, 24, 8, 8, 8, 8))
    )
    for section in to_workspace(replace(dashboard, sections=(*dashboard.sections, wide)), "team", "p").sections:
        places = [panel.layout for panel in section.panels if isinstance(panel, Base)]
        cells = {(x, y) for one in places for x in range(one.x, one.x + one.w) for y in range(one.y, one.y + one.h)}
        assert len(cells) == sum(one.w * one.h for one in places)
        assert max(one.x + one.w for one in places) <= 24


def test_a_workspace_is_what_the_app_reads(dashboard: Dashboard) -> None:
    spec = to_workspace(dashboard, "team", "p")._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    sections = spec["section"]["panelBankConfig"]["sections"]
    bars = next(panel for section in sections for panel in section["panels"] if panel["viewType"] == "Bar Chart")
    assert bars["config"]["groupBy"] == "method.value"
    assert (bars["config"]["groupAgg"], bars["config"]["groupArea"], bars["config"]["limit"]) == ("mean", "stderr", 100)
