from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from wandb_workspaces.reports.v2.interface import PanelGrid, Report
from wandb_workspaces.workspaces.interface import Workspace

from hamdg.tracking.dashboard.convert import save, to_report, to_workspace
from hamdg.tracking.dashboard.layout import Dashboard, ablations

OLD = ablations(["art", "photo"], ["train.lr"])
NEW = replace(OLD, title="New", sections=OLD.sections[:2])


def test_a_section_of_a_report_has_the_runs_that_it_is_about() -> None:
    grids = [block for block in to_report(OLD, "team", "p").blocks if isinstance(block, PanelGrid)]
    filters = {one.name: one.filters for grid in grids for one in grid.runsets}
    assert filters["Training"] == 'Config("kind") == "train"'
    assert filters["Headline"] == 'Config("kind") == "evaluate"'
    assert not filters["Diagnostics"]


@pytest.mark.parametrize(("convert", "parts"), [(to_workspace, "sections"), (to_report, "blocks")])
def test_a_page_that_replaces_another_keeps_its_address(
    convert: Callable[[Dashboard, str, str], Workspace | Report], parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = convert(OLD, "team", "p"), convert(NEW, "team", "p")
    kind = type(old)
    saved: list[tuple[Workspace | Report, dict[str, object]]] = []
    monkeypatch.setattr(kind, "from_url", lambda address: old)
    monkeypatch.setattr(kind, "save", lambda page, **options: saved.append((page, options)))
    monkeypatch.setattr(kind, "url", "https://wandb.ai/team/p/old")
    assert save(new, "https://wandb.ai/team/p/old") == "https://wandb.ai/team/p/old"
    ((page, options),) = saved
    assert page is old
    assert getattr(page, parts) == getattr(new, parts)
    assert "New" in (getattr(page, "name", ""), getattr(page, "title", ""))
    # What was published stays so.
    assert not options.get("draft")
