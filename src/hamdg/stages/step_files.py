"""The files of one step, as steps read and write them: tensors by name, and the histories that training left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from hamdg.cohort.history import mean_of_snapshots
from hamdg.merge.files import load_tensors, read_metadata, save_tensors
from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.models.network import Weights
from hamdg.models.weights import PREFIX
from hamdg.runs.directory import RunDirectory, StepDirectory
from hamdg.runs.manifest import check_digests
from hamdg.runs.steps import HistoryEntry, StepSummary, read_index, read_step_summary, remedy, wrote_by


class Histories(NamedTuple):
    """What training left of every learner, by its name.

    Args:
        start: The weights that it began with.
        last: The weights after its last step.
        history: Its historical weights; of several snapshots their mean.
        origins: SHA-256 of the files that made its history.
    """

    start: dict[str, dict[str, Tensor]]
    last: dict[str, dict[str, Tensor]]
    history: dict[str, dict[str, Tensor]]
    origins: dict[str, str]


def joined(parts: Iterable[Histories]) -> Histories:
    """Return what several steps left, whose learners have names of their own."""
    whole = Histories({}, {}, {}, {})
    for part in parts:
        whole.start.update(part.start)
        whole.last.update(part.last)
        whole.history.update(part.history)
        whole.origins.update(part.origins)
    return whole


class StepFiles(StepDirectory):
    """A step's files, and how its tensors are kept in them."""

    def read(self) -> StepSummary:
        """Read what the step found, once it is done."""
        return read_step_summary(self)

    def save(self, name: str, weights: Weights, metadata: Mapping[str, str] | None = None) -> Path:
        """Write tensors to `<step>/<name>.safetensors` and return its path."""
        path = self.folder / f"{name}.safetensors"
        save_tensors(path, {key: tensor.detach().cpu() for key, tensor in weights.items()}, dict(metadata or {}))
        return path

    def load(self, name: str) -> dict[str, Tensor]:
        """Read tensors that `save` wrote.

        Raises:
            WeightsError: If the file is missing or damaged.
        """
        return dict(load_tensors(self.folder / f"{name}.safetensors"))

    def history(self) -> Histories:
        """Read what training left of every learner.

        Raises:
            RunDirectoryError: If a file is missing or is not what training wrote.
        """
        index, wrote = read_index(self)["sources"], self.read()["wrote"]
        run = RunDirectory(self.run)
        name = self.index.relative_to(self.run).as_posix()
        check_digests(run, {name: wrote[name]}, wrote_by(self.name), remedy(self))
        found = Histories({}, {}, {}, {})
        for source in sorted(index):
            files = index[source]
            found.start[source] = self._tensors(files["start"]) if "start" in files else {}
            found.last[source] = self._tensors(files["last"])
            states = {str(one["step"]): self._tensors(one) for one in files["history"]}
            found.history[source] = dict(mean_of_snapshots(states))
            found.origins[source] = " ".join(one["sha256"] for one in files["history"])
        return found

    def _tensors(self, entry: HistoryEntry) -> dict[str, Tensor]:
        path = self.index.parent / entry["file"]
        name = path.relative_to(self.run).as_posix()
        check_digests(RunDirectory(self.run), {name: entry["sha256"]}, wrote_by(self.name), remedy(self))
        tensors = load_tensors(path)
        # In files an image tower that is trained alone has the names of the whole CLIP, in memory its own.
        alone = COMPLETED_BY in read_metadata(path) and all(name.startswith(PREFIX) for name in tensors)
        return {name.removeprefix(PREFIX if alone else ""): tensor for name, tensor in tensors.items()}
