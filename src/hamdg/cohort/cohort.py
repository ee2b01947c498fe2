"""Several learners in lock-step, in one Trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hamdg.cohort.coupling import Coupling
from hamdg.cohort.learner import (
    LOSS,
    Learner,
    Pair,
    StepBatches,
    check_whole,
    make_optimizer,
    parts_of,
    samples_of,
    seeded,
    step_of,
)
from hamdg.cohort.peers import ALONE, Measured, Peers, Reduction, together
from hamdg.data.batches import Batch
from hamdg.errors import TrainingError
from hamdg.tracking.interface import log_values
from hamdg.tracking.keys import MetricKey

NORM, RATE = "gradient_norm", "lr"


class Cohort(LightningModule):
    """Advances any number of learners together; one alone is plain fine-tuning, bit for bit.

    Each step, for each learner: seed torch by (seed, step, name), compute its loss, and its gradients. Then couplings
    act, every learner's gradients are clipped on their own, and one optimizer moves all of them. What a learner draws
    after the update is seeded, too.

    Measurements stay on the device and come to the host together, every `log_every` steps. Only then a loss that is
    not finite stops the training; callbacks that write call `flush` first, so that nothing is written after such a
    loss.

    Several processes train one cohort on parts of the same batches: gradients are averaged right after a learner's
    backward pass, so that couplings, clipping and the optimizer do the same in all of them.

    Args:
        learners: What learns, by name, in a fixed order.
        couplings: What acts on their gradients and parameters, in this order.
        seed: Seeds the random numbers that losses draw.
        log_every: Steps between two measurements by couplings, and between two transfers of all measurements.
        accumulate: Into how many parts a batch is split whose gradients are added up, to save memory.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        couplings: Sequence[Coupling] = (),
        seed: int = 0,
        log_every: int = 1,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        # Lightning would make one backward pass of one loss; here couplings act between the gradients and the update.
        self.automatic_optimization = False
        self.learners: dict[str, Learner] = dict(learners)
        # A `ModuleDict` would refuse domains called `clear` or `v1.0`.
        self.members = nn.ModuleList(learners.values())
        self.couplings: Sequence[Coupling] = nn.ModuleList(couplings)  # type: ignore[assignment]
        self.seed = seed
        self.log_every = log_every
        self.accumulate = accumulate
        self.steps = max(learner.config.steps for learner in learners.values())
        self.latest: dict[MetricKey, float] = {}
        self._pending: list[tuple[int, float, dict[MetricKey, Tensor]]] = []
        self._parameters_of: dict[str, list[nn.Parameter]] = {}
        self._peers = ALONE
        self._reductions: dict[str, Reduction] = {}
        members = {name: dict(learner.hparams) for name, learner in learners.items()}
        self.save_hyperparameters({"learners": members, "seed": seed, "log_every": log_every})

    def on_fit_start(self) -> None:
        """Refuse to split batches that must stay whole, and tell learners of their peers; called once.

        Raises:
            ConfigError: A learner's loss needs the whole batch.
        """
        check_whole(self.learners, self.accumulate, self.trainer.world_size)
        self._peers = Peers(self.trainer.global_rank, self.trainer.world_size)
        for learner in self.learners.values():
            learner.peers = self._peers
        if self._peers.count > 1:
            self._reductions = {name: Reduction(own) for name, own in self._parameters_of.items()}

    def on_fit_end(self) -> None:
        """Let learners be alone again; called once."""
        self._peers, self._reductions = ALONE, {}
        for learner in self.learners.values():
            learner.peers = ALONE

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return one optimizer for all learners: with several, Lightning would count every step several times."""
        groups = {name: learner.parameter_groups() for name, learner in self.learners.items()}
        self._parameters_of = {name: [p for group in own for p in group["params"]] for name, own in groups.items()}
        optimizer, scheduler = make_optimizer([(groups[name], one.config) for name, one in self.learners.items()])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: StepBatches | Mapping[str, Batch | Pair], batch_idx: int) -> None:
        """Advance every learner by one step."""
        step, batches = step_of(batch, self.trainer.global_step)
        log_now = step % self.log_every == 0 or step == self.steps - 1
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer), "`configure_optimizers` gives one"
        assert isinstance(scheduler, LambdaLR), "`configure_optimizers` gives one"
        optimizer.zero_grad()
        values = self._losses(step, batches)
        # Before the clipping, so that a coupling compares whole gradients and nothing that it adds escapes the limit.
        for coupling in self.couplings:
            values |= coupling.before_update(self.learners, step, log_now)
        values |= self._clip()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        # Couplings before learners: a learner's moving average or clamp has the last word on its own weights.
        for coupling in self.couplings:
            values |= coupling.after_update(self.learners, step, log_now)
        for name, learner in self.learners.items():
            # Alike in all processes, whose weights must stay equal.
            with seeded(self.seed, step, f"{name}/after", self.device):
                learner.after_update(batches, step)
        scheduler.step()
        self._pending.append((step, rate, values))
        if log_now:
            self.flush()

    def flush(self) -> None:
        """Bring all measurements to the host and log them.

        Raises:
            TrainingError: A loss or the norm of a learner's gradients is not finite.
        """
        pending, self._pending = self._pending, []
        columns = _on_host([value for _, _, values in pending for value in values.values()])
        for step, rate, values in pending:
            numbers = {key: next(columns) for key in values}
            _refuse_not_finite(numbers, step, rate)
            self.latest = numbers | {MetricKey(RATE): float(rate)}
            log_values(self.loggers, self.latest, step + 1)

    def _losses(self, step: int, batches: Mapping[str, Batch]) -> dict[MetricKey, Tensor]:
        """Compute all losses and their gradients, over all processes; return what was measured."""
        found: dict[str, Measured] = {}
        for name, learner in self.learners.items():
            with seeded(self.seed, step, name, self.device, self._peers.index):
                found[name] = self._gradients(name, learner, step, batches)
            if self._peers.count > 1:
                self._reductions[name].start(found[name])
        for name, reduction in self._reductions.items():
            found[name] = reduction.finish()
        return {key: value for measured in found.values() for key, value in measured.values().items()}

    def _gradients(self, name: str, learner: Learner, step: int, batches: Mapping[str, Batch]) -> Measured:
        """Compute a learner's gradients on this process's samples; return what was measured."""
        if self.accumulate == 1:
            loss = learner.loss(batches, step)
            self._backward(loss.value)
            return learner.measured(loss, batches, name)
        measured: list[Measured] = []
        own = samples_of(learner, batches)
        for part in parts_of(batches, self.accumulate):
            loss = learner.loss(part, step)
            measured.append(learner.measured(loss, part, name))
            self._backward(loss.value * (measured[-1].weight / own))
        whole = together(measured)
        if loss.weight is not None:  # only now it is known of how many samples the sum is
            gradients = [one.grad for one in self._parameters_of[name] if one.grad is not None]
            torch._foreach_mul_(gradients, own / torch.as_tensor(whole.weight).to(gradients[0]))
        return whole

    def _backward(self, loss: Tensor) -> None:
        if self._peers.count == 1:
            self.manual_backward(loss)
            return
        # A wrapper such as DistributedDataParallel would average by itself, and count on one backward pass a step.
        with self.trainer.strategy.block_backward_sync():  # type: ignore[attr-defined]
            self.manual_backward(loss)

    def _clip(self) -> dict[MetricKey, Tensor]:
        """Clip each learner's gradients on their own; return their norms before that."""
        norms: dict[MetricKey, Tensor] = {}
        for name, parameters in self._parameters_of.items():
            limit = self.learners[name].config.clip_norm or math.inf
            norms[MetricKey(NORM, name)] = torch.nn.utils.clip_grad_norm_(parameters, limit)
        return norms


def flush(module: LightningModule) -> None:
    """Let a cohort check and log what it has measured, before something is written; other modules do that themselves.

    Raises:
        TrainingError: A loss or the norm of a learner's gradients is not finite.
    """
    if isinstance(module, Cohort):
        module.flush()


def _on_host(values: Sequence[Tensor]) -> Iterator[float]:
    """Yield the values of tensors (0-d) in their order, after one copy for each kind of tensor."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for value in values:
        kinds.setdefault((value.device, value.dtype), []).append(value)
    numbers = {kind: iter(torch.stack(same).double().tolist()) for kind, same in kinds.items()}
    return (next(numbers[value.device, value.dtype]) for value in values)


def _refuse_not_finite(numbers: Mapping[MetricKey, float], step: int, rate: float) -> None:
    words = {LOSS: "loss", NORM: "gradient norm"}
    for key, number in numbers.items():
        if key.name in words and not math.isfinite(number):
            raise TrainingError(
                f"the {words[key.name]} of source `{key.source}` became {number} at step {step + 1} (learning rate "
                f"{rate:.3g}); nothing was overwritten. Lower `train.lr`, lengthen `train.warmup` or lower "
                "`train.clip_norm`."
            )
