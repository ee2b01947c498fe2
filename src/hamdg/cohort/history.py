"""Collects a checkpoint history while a module trains: the start, the last weights, and an average or snapshots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor

from hamdg.cohort.best import Best
from hamdg.cohort.cohort import Cohort, flush
from hamdg.cohort.learner import ONLY, Learner
from hamdg.cohort.scored import ScoredMean
from hamdg.cohort.swad import has_enough, valley_facts
from hamdg.config.recipe import HistoryConfig
from hamdg.digests import sha256_file
from hamdg.errors import ConfigError, TrainingError
from hamdg.files import link, write_json
from hamdg.merge import merge
from hamdg.merge.files import load_tensors, save_tensors
from hamdg.merge.history import Average, BetaAverage, Ema, LinearAverage, RunningMean, steps_before
from hamdg.merge.swad_average import SwadAverage
from hamdg.models.network import Network, Weights, statistics, trained_tensors

Select = Callable[[LightningModule], Mapping[str, Weights]]
"""Returns the tensors of a module that enter each history: by the history's name, then by their names in files."""


def mean_of_snapshots(states: Mapping[str, Weights]) -> Weights:
    """Return the plain mean of a model's snapshots, which a single one is itself."""
    return merge("sma", states) if len(states) > 1 else next(iter(states.values()))


class _Entry(TypedDict):
    file: str
    step: int
    sha256: str


def trained_weights(module: LightningModule) -> dict[str, Weights]:
    """Return what training changes: trainable parameters, and BatchNorm statistics that move.

    A cohort has a history for each learner; any other module has one, called `model`.
    """
    if isinstance(module, Cohort):
        return {name: _in_files(learner.result) for name, learner in module.learners.items()}
    if isinstance(module, Learner):
        return {ONLY: _in_files(module.result)}
    return {ONLY: trained_tensors(module) | dict(statistics(module, moving_only=True))}


def _in_files(network: Network) -> Weights:
    return {network.prefix + name: tensor for name, tensor in network.weights().items()}


def history_steps(config: HistoryConfig, steps: int, check_every: int | None = None) -> list[int]:
    """Return the steps (from 1; 0 is the start) after which a model enters its history.

    The last step is always one of them. `beta` starts with the pretrained model, as CLIPood's average does. `swad`
    also takes every state that has a loss, and `best` and `validated` take no others.
    """
    if config.kind == "last":
        return [steps]
    checks = range(check_every, steps, check_every) if check_every else ()
    if config.kind == "best":
        return [*checks, steps]
    if config.kind == "swad":
        return sorted({*range(config.every, steps, config.every), *checks, steps})
    first = max(1, steps_before(config.start, steps))
    if config.kind == "validated":
        return [*(step for step in checks if step >= first), steps]
    chosen = sorted({*range(first, steps + 1, config.every), steps})
    return [0, *chosen] if config.kind == "beta" else chosen


class CheckpointHistory(Callback):
    """Keeps the start, the last weights, and a running average of the weights on the way (or snapshots of them).

    It works in any Trainer with any LightningModule. The folder gets `start/<name>.safetensors`,
    `last/<name>.safetensors` and `history/<name>.safetensors`, the average; a merge needs no more: the start is
    the base of its task vectors. `index.json` says which steps they are of. Snapshots lie in `snapshots/<name>/`, and
    `history/` has their mean. Averages take constant memory: one fp32 copy of the weights, two for `best` and
    `validated`, a few for `swad`. Override `due` to decide differently when a model enters its history.

    Args:
        folder: Where the files go.
        config: What is kept, from when on and how often.
        steps: Number of optimizer steps; by default as many as the Trainer will make.
        select: What enters the history; by default one history of all that training changes.
        check_every: Steps between two calls of `note_validation`, which `best`, `validated` and `swad` need.
        metadata: What all files are to have in their metadata.
    """

    def __init__(
        self,
        folder: str | Path,
        config: HistoryConfig = HistoryConfig(),  # noqa: B008 (frozen)
        steps: int | None = None,
        select: Select = trained_weights,
        *,
        check_every: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.config = config
        self.select = select
        self.check_every = check_every
        self.metadata = dict(metadata or {})
        self._averages: dict[str, Average | Best | ScoredMean | SwadAverage] = {}
        self._snapshots: dict[str, list[_Entry]] = {}
        self._validation: dict[str, dict[int, float]] = {}
        self._losses: dict[str, dict[int, float]] = {}
        # The optimizer step that was seen last, since `on_train_batch_end` also comes for batches that only accumulate.
        self._newest = 0
        self._given = steps
        self._plan(steps)

    def due(self, step: int) -> bool:
        """Return whether the models enter their history after `step` optimizer steps."""
        return step in self._chosen

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the start, and take it in where the history begins with it; called once, also in a resumed run."""
        self._newest = trainer.global_step
        if trainer.global_step == 0:
            # What an earlier training with the same callback left must not enter this one's averages.
            self._averages, self._snapshots, self._losses, self._validation = {}, {}, {}, {}
            self._plan(self._given)
        # A resumed run has its steps from its checkpoint: the Trainer may by now be told to make more.
        if self.steps is None:
            self._plan(_steps_of(trainer))
        if trainer.global_step == 0 and trainer.is_global_zero:
            self._write_start(self.select(pl_module))
            if self.due(0):
                self._collect(pl_module, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Take in the models after an optimizer step; called after every batch."""
        step = trainer.global_step
        # Where gradients are accumulated, most batches end without a step.
        if step > self._newest and trainer.is_global_zero and self.due(step):
            self._collect(pl_module, step)
        self._newest = step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write averages, last models and the index; called once, when all steps are done."""
        flush(pl_module)
        if trainer.is_global_zero:
            sources = {name: self._finished(name, weights) for name, weights in self.select(pl_module).items()}
            # Fewer than were planned where the Trainer was stopped early.
            steps = [step for step in self._chosen if step <= self._newest]
            index = {"kind": self.config.kind, "steps": steps, "sources": sources}
            write_json(self.folder / "index.json", index)

    def note_validation(self, source: str, step: int, accuracy: float, loss: float) -> None:
        """Remember a model's accuracy on its own hold-out set, for the index; `swad` uses the loss beside it.

        Where it is no number, as the mean IoU of maps without a class, the index has none.

        Raises:
            TrainingError: `swad` would have to use a loss that is not finite.
        """
        if math.isfinite(accuracy):
            self._validation.setdefault(source, {})[step] = accuracy
        average = self._averages.get(source)
        if isinstance(average, Best | ScoredMean | SwadAverage):
            assert step == self._newest, "a state enters its history before it is measured"
        if isinstance(average, Best):
            average.validated(step, accuracy)
        if isinstance(average, ScoredMean):
            average.validated(accuracy)
        if isinstance(average, SwadAverage):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of source `{source}` on its own hold-out set became {loss} at step {step}, and SWAD "
                    "uses it. Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
                )
            average.validated(loss)
            self._losses.setdefault(source, {})[step] = loss

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the list of snapshots; called when a resumable checkpoint is written."""
        averages = {source: average.state_dict() for source, average in self._averages.items()}
        state = {"averages": averages, "snapshots": self._snapshots, "validation": self._validation}
        return state | {"losses": self._losses, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that state; called when a killed run goes on."""
        self._plan(state_dict["steps"])
        for source, state in state_dict["averages"].items():
            self._averages[source] = self._new_average()
            self._averages[source].load_state_dict(state)
        self._snapshots, self._validation = state_dict["snapshots"], state_dict["validation"]
        self._losses = state_dict["losses"]

    def _plan(self, steps: int | None) -> None:
        """Choose the steps of the history, as soon as it is known how many there are."""
        self.steps = steps
        self._chosen = [] if steps is None else history_steps(self.config, steps, self.check_every)

    def _collect(self, module: LightningModule, step: int) -> None:
        self._newest = step
        for name, weights in self.select(module).items():
            if self.config.kind == "snapshots":
                flush(module)
                self._snapshot(name, weights, step)
            elif self.config.kind != "last":
                if name not in self._averages:
                    self._averages[name] = self._new_average()
                self._averages[name].update([tensor for tensor in weights.values() if tensor.is_floating_point()])

    def _new_average(self) -> Average | Best | ScoredMean | SwadAverage:
        if self.config.kind == "best":
            return Best()
        if self.config.kind == "validated":
            return ScoredMean()
        if self.config.kind == "linear":
            return LinearAverage()
        if self.config.kind == "swad":
            return SwadAverage(self.config.n_s, self.config.n_e, self.config.r)
        if self.config.kind == "ema":
            return Ema(self.config.decay)
        if self.config.kind == "beta":
            return BetaAverage(len(self._chosen), self.config.beta)
        return RunningMean()

    def _snapshot(self, name: str, weights: Weights, step: int) -> None:
        kept = self._snapshots.setdefault(name, [])
        kept.append(self._write(name, f"snapshots/{name}/step-{step:06d}", weights, step))
        for dropped in kept[: -self.config.keep]:
            (self.folder / dropped["file"]).unlink(missing_ok=True)
        del kept[: -self.config.keep]

    def _finished(self, name: str, weights: Weights) -> dict[str, object]:
        """Write the last weights of a model and its history; return what the index says of them."""
        last = self._write(name, f"last/{name}", weights, self._newest)
        kept = self._snapshots.get(name, [])
        files: dict[str, object] = {"last": self._validated(name, last)}
        start = f"start/{name}.safetensors"
        if (self.folder / start).is_file():  # a training that goes on elsewhere has none
            digest = sha256_file(self.folder / start)
            files["start"] = {"file": start, "step": 0, "sha256": digest, "validation_accuracy": None}
        # An average itself has not been validated.
        if kept:
            states = {str(entry["step"]): load_tensors(self.folder / entry["file"]) for entry in kept}
            mean = mean_of_snapshots(states)
            average = self._write(name, f"history/{name}", mean, self._newest) | {"validation_accuracy": None}
            files |= {"history": [self._validated(name, entry) for entry in kept], "mean": average}
        elif name in self._averages and self._counts(name):
            floating = (key for key, tensor in weights.items() if tensor.is_floating_point())
            # Counts of batches and the like have no mean; the last ones are as good as any.
            own = self._averages[name]
            values = dict(weights) | dict(zip(floating, own.value(), strict=True))
            step = own.step if isinstance(own, Best) and own.step else self._newest
            written = self._write(name, f"history/{name}", values, step)
            known = self._validated(name, written) if isinstance(own, Best) else written | {"validation_accuracy": None}
            files["history"] = [known]
        else:  # the history is the last model itself
            link(self.folder / last["file"], self.folder / f"history/{name}.safetensors")
            files["history"] = [self._validated(name, last | {"file": f"history/{name}.safetensors"})]
        if self.config.kind == "swad":
            states_of = filter(self.due, range(1, self._newest + 1))
            files["valley"] = valley_facts(self.config, states_of, self._losses.get(name, {}))
        return files

    def _counts(self, name: str) -> bool:
        """Return whether a model's average is its history: SWAD's is not where too few losses chose its valley."""
        return self.config.kind != "swad" or has_enough(self.config, len(self._losses.get(name, {})))

    def _write_start(self, selected: Mapping[str, Weights]) -> None:
        """Write what training starts from; models that start alike share one file."""
        written: dict[str, Weights] = {}
        for name, weights in selected.items():
            path = self.folder / f"start/{name}.safetensors"
            twin = next((other for other, same in written.items() if _equal(weights, same)), None)
            if twin is None:
                save_tensors(path, _portable(weights), {"step": "0", **self.metadata})
                written[name] = weights
            else:
                link(self.folder / f"start/{twin}.safetensors", path)

    def _write(self, name: str, stem: str, weights: Weights, step: int) -> _Entry:
        file = f"{stem}.safetensors"
        facts = {"source": name, "step": str(step), "kind": self.config.kind, **self.metadata}
        save_tensors(self.folder / file, _portable(weights), facts)
        return {"file": file, "step": step, "sha256": sha256_file(self.folder / file)}

    def _validated(self, name: str, entry: _Entry) -> dict[str, object]:
        """Add what is known of a checkpoint's accuracy; a step is validated only after its snapshot was written."""
        return {**entry, "validation_accuracy": self._validation.get(name, {}).get(entry["step"])}


def _portable(weights: Weights) -> dict[str, Tensor]:
    """Return tensors as files hold them: on the CPU, floating-point ones in fp32."""
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).cpu()
        for name, tensor in weights.items()
    }


def _equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _steps_of(trainer: Trainer) -> int:
    """Return how many optimizer steps a Trainer will make.

    Raises:
        ConfigError: It has neither a number of steps nor of epochs.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps):
        raise ConfigError(
            "`CheckpointHistory` must know the number of optimizer steps, but the Trainer has no end; give it "
            "`max_steps` or `max_epochs`, or give `steps` to `CheckpointHistory`."
        )
    return int(steps)
