"""Collects each source model's checkpoint history while the cohort trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.cohort.cohort import Cohort, flush
from hamdg.cohort.swad import valley_facts
from hamdg.config.recipe import HistoryConfig
from hamdg.digests import sha256_file
from hamdg.errors import TrainingError
from hamdg.files import write_json
from hamdg.merge.files import save_tensors
from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.merge.history import Average, BetaAverage, Ema, RunningMean, SwadAverage


def history_steps(config: HistoryConfig, steps: int, check_every: int) -> list[int]:
    """Return the steps (from 1; 0 is the start) after which a model enters its history.

    The last step is always one of them. `beta` starts with the pretrained model, as CLIPood's average does. `swad`
    takes in every state that has a loss, too.
    """
    if config.kind == "last":
        return [steps]
    if config.kind == "swad":
        return sorted({*range(config.every, steps, config.every), *range(check_every, steps, check_every), steps})
    # 0.29 * 100 is a little below 29 in floating point.
    first = max(1, math.floor(config.start * steps + 1e-9))
    chosen = sorted({*range(first, steps + 1, config.every), steps})
    return [0, *chosen] if config.kind == "beta" else chosen


class CheckpointHistory(Callback):
    """Keeps, per source, a running average of the weights, or the snapshots themselves.

    The merge stage reads only what this callback writes. Averages take constant memory (one fp32 copy of the weights; a
    few of them for `swad`); snapshots are written at once and never more than `config.keep` per source.
    Override `due` to decide differently when a model enters its history.

    Args:
        config: What is kept, from when on and how often.
        folder: Where the files go: `index.json`, `<source>.safetensors` or `<source>/step-<n>.safetensors`, and
            `last/<source>.safetensors`.
        steps: Number of training steps.
        check_every: Steps between two calls of `note_validation`, which `swad` goes by.
        base_digest: SHA-256 of the file that completes these, which hold only what training changes.
    """

    def __init__(self, config: HistoryConfig, folder: Path, steps: int, check_every: int, base_digest: str) -> None:
        self.config = config
        self.folder = folder
        self.base_digest = base_digest
        self.steps = steps
        self._steps = history_steps(config, steps, check_every)
        self._due = frozenset(self._steps)
        self._averages: dict[str, Average | SwadAverage] = {}
        self._snapshots: dict[str, list[dict[str, object]]] = {}
        self._validation: dict[str, dict[int, float]] = {}
        self._losses: dict[str, dict[int, float]] = {}
        self._newest = -1

    def due(self, step: int) -> bool:
        """Return whether the models enter their history after `step` optimizer steps."""
        return step in self._due

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the pretrained model where the history begins with it; called once, also when a run is resumed."""
        if trainer.global_step == 0 and self.due(0):
            self._collect(pl_module, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Take in the models after an optimizer step; called after every batch."""
        if self.due(trainer.global_step):
            self._collect(pl_module, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write averages, last models and the index; called once, when all steps are done."""
        flush(pl_module)
        index: dict[str, dict[str, object]] = {}
        for source, named in tracked(pl_module).items():
            # Where the history is the last model itself, one file is both.
            end = source if self.config.kind == "last" else f"last/{source}"
            last = self._validated(source, self._write(source, end, dict(named), self.steps))
            kept = [self._validated(source, entry) for entry in self._snapshots.get(source, [])]
            if source in self._averages:
                values = dict(zip(named, self._averages[source].value(), strict=True))
                # Nobody validated the average itself.
                kept = [self._write(source, source, values, self.steps) | {"validation_accuracy": None}]
            index[source] = {"last": last, "history": kept or [last]}
            if self.config.kind == "swad":
                states = filter(self.due, range(1, self.steps + 1))
                index[source]["valley"] = valley_facts(self.config, states, self._losses[source])
        collected = [step for step in self._steps if step <= self.steps]
        write_json(self.folder / "index.json", {"kind": self.config.kind, "steps": collected, "sources": index})

    def note_validation(self, source: str, step: int, accuracy: float, loss: float) -> None:
        """Remember a source model's accuracy on its own hold-out, for the index, and let `swad` go by its loss.

        Raises:
            TrainingError: `swad` would have to go by a loss that is no number.
        """
        self._validation.setdefault(source, {})[step] = accuracy
        average = self._averages.get(source)
        if isinstance(average, SwadAverage):
            assert step == self._newest, "a state enters its history before it is measured"
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of source `{source}` on its own hold-out became {loss} at step {step}, and SWAD goes by "
                    "it. Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
                )
            average.validated(loss)
            self._losses.setdefault(source, {})[step] = loss

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the list of snapshots; called when a resumable checkpoint is written."""
        averages = {source: average.state_dict() for source, average in self._averages.items()}
        state = {"averages": averages, "snapshots": self._snapshots, "validation": self._validation}
        return state | {"losses": self._losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that state; called when a killed run goes on."""
        for source, state in state_dict["averages"].items():
            self._averages[source] = self._new_average()
            self._averages[source].load_state_dict(state)
        self._snapshots, self._validation = state_dict["snapshots"], state_dict["validation"]
        # Checkpoints of versions before `swad` hold none.
        self._losses = state_dict.get("losses", {})

    def _collect(self, module: LightningModule, step: int) -> None:
        self._newest = step
        for source, named in tracked(module).items():
            if self.config.kind == "snapshots":
                flush(module)
                self._snapshot(source, dict(named), step)
            elif self.config.kind != "last":
                if source not in self._averages:
                    self._averages[source] = self._new_average()
                self._averages[source].update(list(named.values()))

    def _new_average(self) -> Average | SwadAverage:
        if self.config.kind == "swad":
            return SwadAverage(self.config.n_s, self.config.n_e, self.config.r)
        if self.config.kind == "ema":
            return Ema(self.config.decay)
        if self.config.kind == "beta":
            return BetaAverage(len(self._steps), self.config.beta)
        return RunningMean()

    def _snapshot(self, source: str, tensors: dict[str, Tensor], step: int) -> None:
        kept = self._snapshots.setdefault(source, [])
        kept.append(self._write(source, f"{source}/step-{step:06d}", tensors, step))
        for dropped in kept[: -self.config.keep]:
            (self.folder / str(dropped["file"])).unlink(missing_ok=True)
        del kept[: -self.config.keep]

    def _write(self, source: str, stem: str, tensors: dict[str, Tensor], step: int) -> dict[str, object]:
        file = f"{stem}.safetensors"
        plain = {name: tensor.detach().float().cpu() for name, tensor in tensors.items()}
        facts = {"source": source, "step": str(step), "kind": self.config.kind, COMPLETED_BY: self.base_digest}
        save_tensors(self.folder / file, plain, facts)
        return {"file": file, "step": step, "sha256": sha256_file(self.folder / file)}

    def _validated(self, source: str, entry: dict[str, object]) -> dict[str, object]:
        """Add what is known of a checkpoint's accuracy; a step is validated only after its snapshot was written."""
        step = entry["step"]
        assert isinstance(step, int)
        return entry | {"validation_accuracy": self._validation.get(source, {}).get(step)}


def tracked(module: LightningModule) -> dict[str, dict[str, Tensor]]:
    """Return what enters the history: of every learner in a cohort, its result's weights by their names in files."""
    if not isinstance(module, Cohort):
        raise TypeError(f"Expected a `Cohort`, but got a `{type(module).__name__}`.")
    results = {name: learner.result for name, learner in module.learners.items()}
    return {name: {one.prefix + key: value for key, value in one.weights().items()} for name, one in results.items()}
