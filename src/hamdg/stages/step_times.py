"""How long the steps of a run took before: in runs below the same root that cost the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from hamdg.config.reading import values_of
from hamdg.errors import DataError
from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import has_records_only
from hamdg.runs.record import VALIDATE
from hamdg.runs.summary import read_summary
from hamdg.stages.context import Context

# Of the newest runs so many are read, and so many that cost the same are enough.
_READ, _ENOUGH = 20, 5
# What decides how long a step takes, beside the algorithm's own section, the benchmark and the number of sources.
_COSTS = (
    *("model.name", "train.steps", "train.accumulate", "train.check_every", "train.check_images", "history.kind"),
    *("model.image_size", "merge.method", "data.batch_size", "data.augment", "data.subset", "data.shots", "data.mini"),
    "data.store",
    *("evaluate.lines", "evaluate.images"),
    *("runtime.device", "runtime.threads", "runtime.precision", "runtime.compile", "runtime.devices", "runtime.nodes"),
)


class Earlier(NamedTuple):
    """What earlier runs took.

    Args:
        seconds: The median seconds of every step, by its name.
        runs: How many runs these are of.
    """

    seconds: Mapping[str, float]
    runs: int


def earlier_runs(context: Context) -> Earlier:
    """Return how long the steps of a run took in the newest runs that had the same to do."""
    algorithm = context.recipe.algorithm
    own = _cost(algorithm, values_of(context.recipe), len(context.sources))
    found: list[Mapping[str, float]] = []
    for file in _newest(context):
        try:
            record = read_summary(file)
        except DataError:  # an unreadable record has no times
            continue
        if (
            record.algorithm == context.recipe.algorithm
            and _cost(record.algorithm, record.config, len(record.sources)) == own
            # Unpacked ones may have run on any machine.
            and not has_records_only(RunDirectory(file.parent))
        ):
            found.append(record.timings | _validation(file.parent))
        if len(found) == _ENOUGH:
            break
    names = {name for seconds in found for name in seconds}
    return Earlier({name: median(one[name] for one in found if name in one) for name in names}, len(found))


def _newest(context: Context) -> list[Path]:
    files = context.run.path.parents[2].glob(f"*/{context.recipe.algorithm}/seed*/record.json")
    return sorted(files, key=_written, reverse=True)[:_READ]


def _written(path: Path) -> float:
    """Return when a file was written; that of a run which another process begins again may have gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _cost(algorithm: str, config: Mapping[str, object], sources: int) -> list[object]:
    return [_value(config, key) for key in _COSTS] + [config.get(algorithm), sources]


def _value(config: Mapping[str, object], key: str) -> object:
    section, _, name = key.partition(".")
    values = config.get(section)
    return values.get(name) if isinstance(values, Mapping) else None


def _validation(run: Path) -> dict[str, float]:
    """Return how long a run's validation took, which its record does not tell."""
    try:
        found = schema.load(run / "validation.json")
    except (OSError, ValueError):
        return {}
    seconds = found.get("seconds") if isinstance(found, dict) else None
    return {VALIDATE: seconds} if isinstance(seconds, int | float) else {}
