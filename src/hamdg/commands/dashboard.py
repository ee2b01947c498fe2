"""`hamdg dashboard`: the W&B workspace and report in which an ablation is looked at."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.tracking.dashboard.layout import Dashboard

SUMMARY = "build the W&B workspace and report of an ablation"
KINDS = ("workspace", "report")
# What the panels on settings show where no runs are given that say what was varied.
VARIED = (
    *("algorithm", "merge.method", "history.kind", "train.lr", "data.mini.label_noise"),
    *("data.conflicts.noise", "data.conflicts.imbalance"),
)
# Keys of a recipe that name a run, or say what it is tested on.
_NAMES = ("held_out", "excluded", "seed", "label")
_MOST_VARIED = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("project", metavar="PROJECT", help="the W&B project that runs are logged to, or ENTITY/PROJECT")
    text = "run directories, folders of them, or a sweep file: their table comes first, what they differ in is drawn"
    parser.add_argument("runs", metavar="RUNS", nargs="*", default=[], help=text)
    parser.add_argument("--benchmark", metavar="NAME", default="mini", help="without runs, whose domains are drawn")
    parser.add_argument("--only", choices=KINDS, metavar="KIND", help="`workspace` or `report` (default: both)")
    text = "the address of a workspace or report to replace (with --only)"
    parser.add_argument("--update", metavar="URL", default="", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print the layout as YAML; needs no account")
    parser.epilog = "Example: hamdg dashboard hamdg lightning_logs"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Build what the arguments ask for and return the exit code."""
    if arguments.update and arguments.only is None:
        raise ConfigError("`--update` names one page of W&B; say with `--only workspace` or `--only report` which.")
    if not arguments.project.rpartition("/")[2]:
        raise ConfigError(f"PROJECT `{arguments.project}` lacks a name; give that of a W&B project, or ENTITY/PROJECT.")
    layout = _layout(arguments.runs, arguments.benchmark)
    if arguments.dry_run:
        from hamdg.config.yaml_files import dump_yaml

        console.result(dump_yaml(_plain(layout)).rstrip())
        console.result_json(_plain(layout))
        return 0
    saved = _save(layout, arguments.project, [arguments.only] if arguments.only else KINDS, arguments.update)
    console.result("\n".join(f"{kind:<9}  {address}" for kind, address in saved.items()))
    console.result_json(saved)
    return 0


def _layout(runs: Sequence[str], benchmark_name: str) -> Dashboard:
    from hamdg.data.registry import benchmark
    from hamdg.tracking.dashboard.layout import ablations

    if not runs:
        from hamdg.tasks.registry import TASKS

        bench = benchmark(benchmark_name)
        return ablations(bench.domains, VARIED, metric=TASKS[bench.task].primary)

    from hamdg.commands.given import given
    from hamdg.report.tables.build import tabulate
    from hamdg.report.tables.markup import markdown
    from hamdg.report.tables.options import TableOptions

    found = given(runs)
    for sentence in found.sentences():
        console.warning(sentence)
    held_out = {target for one in found.runs for target in one.summary.targets}
    domains = [name for name in found.runs[0].summary.domains if name in held_out]
    tables = tabulate(found.runs, TableOptions(rows=("variant",), order=found.order), found.absent)
    keys = varied([one.summary.config for one in found.runs])
    return ablations(domains, keys, markdown(tables), found.runs[0].summary.metric)


def varied(configs: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Return the dotted keys of settings that differ between recipes, in their order."""
    from hamdg.runs.settings import flat, is_aside

    found = [flat(config) for config in configs]
    keys = dict.fromkeys(key for one in found for key in one)
    differ = [key for key in keys if len({repr(one.get(key)) for one in found}) > 1]
    return tuple(key for key in differ if key not in _NAMES and not is_aside(key))[:_MOST_VARIED]


def _save(layout: Dashboard, project: str, kinds: Sequence[str], replaced: str) -> dict[str, str]:
    """Send what is asked for to W&B and return the addresses."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ConfigError("`hamdg dashboard` needs wandb-workspaces; install it with `pip install 'hamdg[dashboard]'`.")

    from hamdg.tracking.dashboard import convert

    entity, _, name = project.rpartition("/")
    entity = entity or convert.default_entity()
    saved: dict[str, str] = {}
    for kind in kinds:
        page = (convert.to_workspace if kind == "workspace" else convert.to_report)(layout, entity, name)
        saved[kind] = convert.save(page, replaced)
    return saved


def _plain(layout: Dashboard) -> dict[str, object]:
    """Return a layout as plain values, without what is left at its default."""

    def shown(value: object) -> object:
        if isinstance(value, dict):
            return {key: shown(one) for key, one in value.items() if one not in ("", (), None)}
        return [shown(one) for one in value] if isinstance(value, tuple | list) else value

    found = shown(asdict(layout))
    assert isinstance(found, dict), "a dataclass has fields"
    return found
