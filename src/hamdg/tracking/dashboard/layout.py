"""What a dashboard shows, as plain data: no W&B here, so that it can be printed, tested and changed without a network.

Panels read what runs log (docs/tracking.md): the configuration of a W&B run by its flat keys, and its summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hamdg.text import as_title

# Configuration keys of every W&B run, which panels group and filter by. Run attributes (`group`, `job_type`) would not
# do: grouping by them was broken in the W&B app for a year and a half.
METHOD, HELD_OUT, STEP, SEED = "method", "held_out", "step", "seed"
# What tells steps apart that do other things, whatever an algorithm calls them.
KIND, TRAINING = "kind", "train"

PanelKind = Literal["bars", "lines", "scatter", "parallel", "importance", "compare", "media", "note"]


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        kind: What it draws: `bars` (mean and standard error by group), `lines` (curves by group), `scatter` (the second
            metric against the first), `parallel` (parallel coordinates of configuration and result), `importance` (of
            the configuration for a result), `compare` (what two runs differ in), `media` (tables and images), `note`
            (Markdown).
        title: Its title.
        metrics: Keys of the summary or of curves; of `parallel` and `scatter`, `config:KEY` is a configuration key.
        pattern: Of `lines`, a regular expression for the curves instead.
        groupby: The configuration key that runs are grouped by.
        text: Of a `note`, Markdown.
        width: In 24ths of the page.
        height: In rows of about 30 pixels.
    """

    kind: PanelKind
    title: str = ""
    metrics: tuple[str, ...] = ()
    pattern: str = ""
    groupby: str = ""
    text: str = ""
    width: int = 12
    height: int = 8


@dataclass(frozen=True)
class Section:
    """Panels under one heading.

    Args:
        name: The heading.
        panels: The panels.
        kind: Which steps' runs they are about: all that train models (`train`), or those of one name (`merge`,
            `evaluate`); empty for all.
        lead: A sentence that says how to read them.
        is_open: Whether the section is unfolded.
    """

    name: str
    panels: tuple[Panel, ...]
    kind: str = "evaluate"
    lead: str = ""
    is_open: bool = True


@dataclass(frozen=True)
class Dashboard:
    """A workspace, or a report, before it is one.

    Args:
        title: What it is called.
        sections: Its sections.
        columns: Configuration keys and summary keys (`summary:KEY`) that the list of runs shows.
    """

    title: str
    sections: tuple[Section, ...]
    columns: tuple[str, ...]


def ablations(domains: Sequence[str], varied: Sequence[str], table: str = "", metric: str = "accuracy") -> Dashboard:
    """Return the dashboard of an ablation: which variant is better, on which domain, and why.

    Args:
        domains: The benchmark's domains.
        varied: Dotted recipe keys that the variants differ in, for the panels on what matters.
        table: Our own table of means and standard errors, as Markdown; the newest one that a sweep logged without it.
        metric: The primary metric, under whose name runs log their headline.
    """
    return Dashboard(
        "Ablations",
        (
            _headline(table, metric),
            _by_domain(domains, metric),
            _what_matters(varied, metric),
            _training(metric),
            _diagnostics(),
            _two_runs(),
        ),
        (METHOD, HELD_OUT, SEED, STEP, f"summary:{metric}", "summary:validation"),
    )


def _headline(table: str, metric: str) -> Section:
    own = Panel("note", text=table, width=24, height=10) if table else _media("Means over seeds", "summary/table")
    lead = (
        "Means and standard errors in the table are computed by hamdg over seeds. Grouped numbers of the panels below "
        "depend on how many runs W&B samples: they are for looking only."
    )
    by_method = Panel(
        "bars", f"{as_title(metric)} on the held-out domain", (metric,), groupby=METHOD, width=24, height=10
    )
    return Section("Headline", (own, by_method), lead=lead)


def _by_domain(domains: Sequence[str], metric: str) -> Section:
    panels = (Panel("bars", f"Held out: {name}", (f"{metric}/{name}",), groupby=METHOD) for name in domains)
    return Section("By held-out domain", tuple(panels))


def _what_matters(varied: Sequence[str], metric: str) -> Section:
    columns = (*(f"config:{key}" for key in varied), "summary:validation", f"summary:{metric}")
    panels = (
        Panel("importance", f"What the {metric} depends on", (metric,)),
        Panel("scatter", f"Source validation against held-out {metric}", ("summary:validation", f"summary:{metric}")),
        Panel("parallel", "Settings and results", columns, width=24, height=10),
    )
    lead = "Settings are chosen on source validation: a setting picked by the held-out domain is an oracle."
    return Section("What matters", panels, lead=lead)


def _training(metric: str) -> Section:
    panels = (
        Panel("lines", "Training loss of every learner", pattern="^loss/", groupby=METHOD),
        Panel(
            "lines",
            f"{as_title(metric)} on the sources' hold-out sets",
            pattern=f"^validation/{metric}/",
            groupby=METHOD,
        ),
        Panel("lines", "Norm of the gradients", pattern="^gradient_norm/", groupby=METHOD),
        Panel("lines", "Learning rate", ("lr",), groupby=METHOD),
    )
    return Section("Training", panels, kind=TRAINING, lead="Mean and standard deviation over the runs of a method.")


def _diagnostics() -> Section:
    panels = (
        Panel("lines", "Cosine between the learners' updates, before", pattern="^cosine/before/", groupby=METHOD),
        Panel("lines", "Cosine between the learners' updates, after", pattern="^cosine/after/", groupby=METHOD),
        Panel("lines", "Samples that joined a batch", pattern="^enrichment/added/", groupby=METHOD),
        Panel("lines", "Threshold of enrichment", pattern="^enrichment/threshold/", groupby=METHOD),
        _media("Confusion", "confusion"),
        _media("Most confident mistakes", "mistakes"),
    )
    lead = "A cosine near 1 means that the models hardly differ, so that there is little to merge."
    return Section("Diagnostics", panels, kind="", lead=lead, is_open=False)


def _two_runs() -> Section:
    panel = Panel("compare", "What two runs differ in", width=24, height=10)
    return Section("Two runs", (panel,), lead="Choose two runs in the list.", is_open=False)


def _media(title: str, key: str) -> Panel:
    return Panel("media", title, (key,), width=24, height=10)
