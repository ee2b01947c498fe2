"""From a layout to the classes of `wandb_workspaces`, and on to W&B: the only module that knows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hamdg.errors import ConfigError
from hamdg.text import excerpt
from hamdg.tracking.dashboard.layout import KIND, Dashboard, Panel, Section

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as reports
    import wandb_workspaces.workspaces.interface as workspaces

# More than W&B draws by default (10), so that no seed is left out.
_RUNS = 100
_PAGE = 24
# What a saved page takes over from the one that replaces it; its address and author stay.
_CONTENT_OF_WORKSPACES = ("name", "sections", "settings", "runset_settings")
_CONTENT_OF_REPORTS = ("title", "blocks", "width")


def default_entity() -> str:
    """Return the entity of the user who is logged in.

    Raises:
        ConfigError: If there is none, or W&B does not answer.
    """
    import wandb

    try:
        entity = wandb.Api().default_entity
    except (wandb.errors.Error, wandb.errors.CommError, ValueError) as error:
        raise ConfigError(
            f"A dashboard is built on W&B, which says: {excerpt(error, 200)} Log in with `wandb login`; `--dry-run` "
            "shows the layout without."
        ) from error
    if not entity:
        raise ConfigError("W&B names no default entity for you; name it: `hamdg dashboard ENTITY/PROJECT`.")
    return str(entity)


def to_workspace(dashboard: Dashboard, entity: str, project: str) -> workspaces.Workspace:
    """Return the workspace of a dashboard; nothing is sent."""
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces.interface as workspaces

    columns = [name if ":" in name else f"config:{name}" for name in dashboard.columns]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=dashboard.title,
        sections=[
            workspaces.Section(
                name=section.name,
                panels=_panels(section, notes=True),
                is_open=section.is_open,
                layout_settings=workspaces.SectionLayoutSettings(columns=2, rows=3),
            )
            for section in dashboard.sections
        ],
        settings=workspaces.WorkspaceSettings(max_runs=_RUNS),
        runset_settings=workspaces.RunsetSettings(
            pinned_columns=["run:displayName", *columns],
            order=[expr.Ordering(expr.Metric("CreatedTimestamp"), ascending=False)],
        ),
    )


def to_report(dashboard: Dashboard, entity: str, project: str) -> reports.Report:
    """Return the report of a dashboard; nothing is sent."""
    import wandb_workspaces.reports.v2.interface as reports

    blocks: list[reports.BlockTypes] = [reports.TableOfContents()]
    for section in dashboard.sections:
        blocks.append(reports.H2(section.name))
        if section.lead:
            blocks.append(reports.P(section.lead))
        blocks += [reports.MarkdownBlock(panel.text) for panel in section.panels if panel.kind == "note"]
        if any(panel.kind != "note" for panel in section.panels):
            runset = reports.Runset(
                entity=entity,
                project=project,
                name=section.name,
                filters=f'Config("{KIND}") == "{section.kind}"' if section.kind else "",
            )
            blocks.append(reports.PanelGrid(runsets=[runset], panels=_panels(section, notes=False)))
    return reports.Report(entity=entity, project=project, title=dashboard.title, blocks=blocks, width="fluid")


def save(page: workspaces.Workspace | reports.Report, replaced: str = "") -> str:
    """Send a page to W&B and return its address; a new report is a draft that its author publishes.

    Args:
        page: The workspace or report.
        replaced: The address of a saved one that it takes the place of; a new one is made without it.

    Raises:
        ConfigError: If W&B refuses it; the message says why.
    """
    from wandb_workspaces.reports.v2.interface import Report

    with _explained(f"{page.entity}/{page.project}"):
        saved = type(page).from_url(replaced) if replaced else page
        if replaced:
            for name in _CONTENT_OF_REPORTS if isinstance(page, Report) else _CONTENT_OF_WORKSPACES:
                setattr(saved, name, getattr(page, name))
        if isinstance(saved, Report):
            saved.save(draft=not replaced)
        else:
            saved.save()
        return str(saved.url)


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn what W&B refuses into a sentence."""
    import wandb

    try:
        yield
    except (wandb.errors.Error, wandb.errors.CommError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"W&B does not take the dashboard of `{place}` ({type(error).__name__}: {excerpt(error, 200)}); check that "
            "you are logged in (`wandb login`), and that the project and its entity exist."
        ) from error


def _panels(section: Section, notes: bool) -> list[reports.PanelTypes]:
    """Return the panels of a section, placed in rows from left to right; notes of a report are blocks instead."""
    import wandb_workspaces.reports.v2.interface as reports

    found: list[reports.PanelTypes] = []
    left = top = tallest = 0
    if notes and section.lead:
        found.append(reports.MarkdownPanel(section.lead, layout=reports.Layout(x=0, y=0, w=_PAGE, h=3)))
        top = 3
    for panel in section.panels:
        if panel.kind == "note" and not notes:
            continue
        if left + panel.width > _PAGE:
            left, top, tallest = 0, top + tallest, 0
        found.append(_panel(panel, reports.Layout(x=left, y=top, w=panel.width, h=panel.height)))
        left, tallest = left + panel.width, max(tallest, panel.height)
    return found


def _panel(panel: Panel, layout: reports.Layout) -> reports.PanelTypes:
    import wandb_workspaces.reports.v2.interface as reports

    groupby = reports.Config(panel.groupby) if panel.groupby else None
    title, metrics = panel.title, [_metric(name) for name in panel.metrics]
    keys: list[str | reports.Config | reports.SummaryMetric | reports.Metric] = [*metrics]
    match panel.kind:
        case "bars":
            return reports.BarPlot(
                title=title,
                metrics=keys,
                groupby=groupby,
                groupby_aggfunc="mean",
                groupby_rangefunc="stderr",
                max_runs_to_show=_RUNS,
                max_bars_to_show=40,
                layout=layout,
            )
        case "lines":
            return reports.LinePlot(
                title=title,
                x="Step",
                y=keys,
                metric_regex=panel.pattern or None,
                groupby=groupby,
                groupby_aggfunc="mean",
                groupby_rangefunc="stddev",
                max_runs_to_show=_RUNS,
                layout=layout,
            )
        case "scatter":
            return reports.ScatterPlot(title=title, x=metrics[0], y=metrics[1], layout=layout)
        case "parallel":
            columns = [reports.ParallelCoordinatesPlotColumn(metric) for metric in metrics]
            return reports.ParallelCoordinatesPlot(title=title, columns=columns, layout=layout)
        case "importance":
            return reports.ParameterImportancePlot(with_respect_to=panel.metrics[0], layout=layout)
        case "compare":
            return reports.RunComparer(diff_only=True, layout=layout)
        case "media":
            return reports.MediaBrowser(title=title, media_keys=list(panel.metrics), layout=layout)
        case "note":
            return reports.MarkdownPanel(panel.text, layout=layout)


def _metric(name: str) -> reports.Config | reports.SummaryMetric | str:
    import wandb_workspaces.reports.v2.interface as reports

    kind, _, key = name.rpartition(":")
    return reports.Config(key) if kind == "config" else reports.SummaryMetric(key) if kind == "summary" else key
