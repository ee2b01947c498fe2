from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from wandb_workspaces.reports.v2.interface import Report
from wandb_workspaces.workspaces.interface import Workspace

from hamdg.tracking.dashboard.convert import save, to_report, to_workspace
from hamdg.tracking.dashboard.layout import Dashboard, ablations

OLD = ablations(["art", "photo"], ["train.lr"])
NEW = replace(OLD, title="New", sections=OLD.sections[:2])


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
