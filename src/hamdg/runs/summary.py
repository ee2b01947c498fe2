"""What tables over many runs read of a record: all but what its steps found, and which figures they drew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec

from hamdg.runs.averages import Average
from hamdg.runs.record import EVALUATE, Part, Reads, Record, Row, no_share, read_record

_RECORD = "record.json"
_Some = msgspec.Meta(min_length=1)


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What a step read, and what it cost; as in the record.

    Args:
        reads: Which domains it may open, as the algorithm declares it.
        opened: Those whose images it did open; `None` in runs from before this was noted.
        seconds: How long it took.
        images_seen: How many images its models saw in their own batches.
    """

    reads: list[Reads]
    opened: list[str] | None
    seconds: float
    images_seen: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A record without what is large in it; every field is the record's of the same name, checked when it is read.

    Args:
        batchnorm: Whether the statistics of BatchNorm moved in training; empty where the record does not say.
        average: How the headline is made of several targets.
        condition: What the data were like; a sweep adds it.
        variant: The variant that the run belongs to; a sweep adds it, it is the label otherwise.
    """

    format: Literal[2]
    benchmark: str
    held_out: str
    targets: Annotated[list[str], _Some]
    algorithm: str
    label: str
    footnote: str
    metric: str
    part: Part
    seed: int
    identity: str
    classes: list[str]
    domains: list[str]
    sources: list[str]
    prompts: list[str]
    rows: Annotated[list[Row], _Some]
    controls: list[str]
    steps: dict[str, StepUsage]
    images_seen: int
    n_held_out: int
    timings: dict[str, float]
    data_digest: str
    versions: dict[str, str]
    command: str
    config: dict[str, object]
    batchnorm: Literal["", "frozen", "live"] = ""
    average: Average = "arithmetic"
    condition: str = "clean"
    variant: str = ""

    def __post_init__(self) -> None:
        if not self.variant:
            object.__setattr__(self, "variant", self.label or self.algorithm)

    @property
    def result(self) -> Row:
        """The row that the run was made for: the last one."""
        return self.rows[-1]

    @property
    def train_seconds(self) -> float | None:
        """How long training took: the step `train` or, of algorithms without one, all steps before the evaluation."""
        if "train" in self.steps or "train" in self.timings:
            return self.timings.get("train")
        seconds = [step.seconds for name, step in self.steps.items() if name != EVALUATE]
        return math.fsum(seconds) if seconds else None

    def read_before(self) -> dict[str, list[str]]:
        """Return the targets whose images each step opened before the evaluation did, as `record.read_before` does."""
        found = {}
        for name, step in self.steps.items():
            opened = self.targets if step.opened is None and "targets" in step.reads else step.opened or []
            targets = [target for target in self.targets if target in opened]
            if targets and name != EVALUATE:
                found[name] = targets
        return found


def summary_of(record: Record) -> Summary:
    """Return the summary of a whole record."""
    names = [name for name in Summary.__dataclass_fields__ if name in record and name != "steps"]
    values: dict[str, object] = {name: cast("dict[str, object]", record)[name] for name in names}
    steps = {
        name: StepUsage(step["reads"], step["opened"], step["seconds"], step["images_seen"])
        for name, step in record["steps"].items()
    }
    return Summary(**values, steps=steps)  # type: ignore[arg-type]


def read_summary(path: Path) -> Summary:
    """Read the summary of a `record.json`, decoding no more of it than that.

    Args:
        path: The file, or the run directory that holds it.

    Raises:
        DataError: The file is missing, is not JSON, or does not hold what a record does.
    """
    file = path if path.name == _RECORD else path / _RECORD
    try:
        summary = _decoder().decode(file.read_bytes())
    except (OSError, ValueError):
        summary = None
    if summary is None or no_share(summary.rows, summary.metric):
        # A record of an older format, or none: what is wrong is said by the reader of whole records.
        return summary_of(read_record(path))
    return summary


@cache
def _decoder() -> msgspec.json.Decoder[Summary]:
    return msgspec.json.Decoder(Summary)
