"""One network that learns, alone in Lightning's Trainer or in lock-step with others in a `Cohort`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import ClassVar, NamedTuple, NotRequired, TypedDict

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hamdg.cohort.peers import ALONE, Measured, Peers
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, Labels, concatenate
from hamdg.errors import ConfigError
from hamdg.models.network import Network, statistics
from hamdg.models.schedule import SCHEDULES
from hamdg.tasks.base import Task
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.text import listed
from hamdg.tracking.keys import MetricKey

StepBatches = tuple[int, Mapping[str, Batch]]
"""The number of a training step, from 0, and a batch of every domain."""
LOSS = "loss"
# What a model is called where there is one.
ONLY = "model"
Pair = Sequence[Tensor]
"""Images and labels, as loaders of other libraries give them."""


class Loss(NamedTuple):
    """The loss of one step, and what else the learner measured.

    Args:
        value: The loss (0-d).
        logs: What else is measured, as means over the samples: tensors (0-d) without gradients that stay on their
            device; a key without a source gets the learner's name.
        counts: What is counted, likewise; parts of a batch add up.
        weight: Of how many samples the loss is the mean, where that is not the number of the learner's own.
    """

    value: Tensor
    logs: Mapping[MetricKey, Tensor] = {}
    counts: Mapping[MetricKey, Tensor] = {}
    weight: Tensor | float | None = None


class ParamGroup(TypedDict):
    """Parameters for the optimizer, with what differs from the learner's `TrainConfig`."""

    params: list[nn.Parameter]
    lr: NotRequired[float]
    weight_decay: NotRequired[float]
    schedule: NotRequired[Callable[[int], float]]
    """Returns the factor of the learning rate at a step, from 0; asked for each step when the one before it ends."""


class Learner(LightningModule):
    """Fine-tunes a network on one source domain (or, pooled, on several).

    An algorithm overrides `loss`, and rarely anything else. Further state of a learner lies in buffers or in
    `get_extra_state`, so that a resumed run has it.

    Args:
        network: What is trained, in place.
        own: The domains that it learns from.
        config: Learning rate, schedule, clipping.
        task: The loss on scores and labels.

    Attributes:
        whole_batch: The loss is not a mean over samples, so a batch must not be split over steps or processes.
        gathers: The loss asks `peers` for what it needs of the other processes' parts of a batch, so that it may be
            split over processes all the same.
        follows_validation: The training depends on `validated`, which is called in one process alone.
        peers: The processes that train together, each on a part of every batch.
        shown: Metrics that progress bars show, by the word before them: the mean of one over sources, or one as a share
            of another.
    """

    whole_batch: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    follows_validation: ClassVar[bool] = False
    shown: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(
        self, network: Network, own: tuple[str, ...], config: TrainConfig, task: Task = CLASSIFICATION
    ) -> None:
        super().__init__()
        self.network = network
        self.own = own
        self.config = config
        self.task = task
        self.peers: Peers = ALONE
        self.save_hyperparameters({"own": list(own), "train": asdict(config), "task": type(self.task).__name__})
        # Lightning keeps the mode it finds, and attention rounds otherwise in evaluation mode: a resumed run must not
        # go on in another mode than the one it was killed in.
        self.train()

    @property
    def result(self) -> Network:
        """What history, validation and tables see."""
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of normalized images."""
        scores: Tensor = self.network(images)
        return scores

    def own_batch(self, batches: Mapping[str, Batch]) -> Batch:
        """Return the samples of the learner's own domains."""
        return concatenate([batches[name] for name in self.own])

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        """Return the loss of one step; by default the task's, on its own domains.

        Args:
            batches: The batches of all domains that the run reads, by domain.
            step: The number of the step, from 0.
        """
        own = self.own_batch(batches)
        return Loss(self.task.loss(self(own.images), own.labels))

    def after_update(self, batches: Mapping[str, Batch], step: int) -> None:
        """Do what follows the optimizer's update, such as clamping a scale or moving a teacher; by default nothing.

        Args:
            batches: What the loss was given; of several processes, this one's part. Weights must stay equal in all.
            step: The number of the step, from 0.
        """

    def validated(self, step: int, loss: float) -> bool:
        """Take note of the mean loss of `result` on the learner's hold-out sets; by default nothing.

        Args:
            step: After how many steps it was measured.
            loss: The loss.

        Returns:
            Whether the training may end here, which it does when all its learners say so.
        """
        return False

    def parameter_groups(self) -> list[ParamGroup]:
        """Return what the optimizer changes; by default one group of all that requires a gradient."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def on_fit_start(self) -> None:
        """Refuse a Trainer that splits batches which must stay whole; called when the learner is trained alone.

        Raises:
            ConfigError: The loss needs the whole batch.
        """
        check_whole({ONLY: self}, self.trainer.accumulate_grad_batches, self.trainer.world_size)
        self.peers = Peers(self.trainer.global_rank, self.trainer.world_size)

    def on_fit_end(self) -> None:
        """Be alone again; called when the learner was trained alone."""
        self.peers = ALONE

    def measured(self, loss: Loss, batches: Mapping[str, Batch], name: str = "") -> Measured:
        """Return what a loss says, for other processes.

        Args:
            loss: The loss.
            batches: What it was computed on.
            name: The source of keys that have none.
        """
        weight = samples_of(self, batches) if loss.weight is None else loss.weight
        logs, counts = (
            {key if key.source else key._replace(source=name): value for key, value in values.items()}
            for values in (loss.logs, loss.counts)
        )
        return Measured(weight, {MetricKey(LOSS, name): loss.value.detach(), **logs}, counts)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer with its schedule, stepped every batch; used when the learner is trained alone."""
        optimizer, scheduler = make_optimizer([(self.parameter_groups(), self.config)])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: StepBatches | Mapping[str, Batch | Pair], batch_idx: int) -> Tensor:
        """Return the loss of the step; used when the learner is trained alone."""
        self._given = step, batches = step_of(batch, self.trainer.global_step)
        loss = self.loss(batches, step)
        own, value = self.measured(loss, batches), loss.value
        if self.peers.count > 1:
            whole = own.restored(self.peers.total(own.numbers(value.detach().float())))
            # Lightning's strategies take the mean over processes, whatever part of a batch each of them has.
            own, value = whole, value * (own.weight * self.peers.count / whole.weight)
        # As often as Lightning passes values on.
        if (batch_idx + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for key, measured in own.values().items():
                self.log(key.text, measured, prog_bar=key.name == LOSS)
        return value

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], object] | None = None,
    ) -> None:
        """Update, and do what follows; called by Lightning when the learner is trained alone."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        step, batches = self._given
        self.after_update(batches, step)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as in a cohort; called before every update when the learner is trained alone."""
        if self.config.clip_norm:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)


def step_of(batch: StepBatches | Mapping[str, Batch | Pair], number: int) -> StepBatches:
    """Return what a loader gives as a step: ours gives steps, Lightning's `CombinedLoader` gives pairs by domain."""
    if isinstance(batch, tuple):
        return batch
    found: dict[str, Batch] = {}
    for name, part in batch.items():
        if not isinstance(part, Batch):
            images, labels = part
            part = Batch(images, torch.arange(len(labels), device=labels.device), Labels(labels, labels))
        found[name] = part
    return number, found


def check_whole(learners: Mapping[str, Learner], accumulate: int, processes: int = 1) -> None:
    """Refuse to split batches over steps or processes where a learner's loss or network does not allow it.

    Raises:
        ConfigError: There is such a learner.
    """
    for name, learner in learners.items():
        if learner.whole_batch and (accumulate > 1 or (processes > 1 and not learner.gathers)):
            how = f"into {accumulate} parts" if accumulate > 1 else f"over {processes} processes"
            remedy = "set `train.accumulate` to 1" if accumulate > 1 else "use one device"
            raise ConfigError(
                f"The loss of `{type(learner).__name__}` (learner `{name}`) needs the whole batch, which cannot be "
                f"split {how}; {remedy}."
            )
        if processes > 1 and any(map(is_parametrized, learner.modules())):
            raise ConfigError(
                f"`{type(learner).__name__}` (learner `{name}`) has parametrized weights, which cannot be sent to "
                "other processes; use one device."
            )
        if processes > 1 and learner.follows_validation:
            raise ConfigError(
                f"The training of `{type(learner).__name__}` (learner `{name}`) follows its loss on the hold-out sets, "
                f"which one of {processes} processes measures; use one device."
            )
        if (processes > 1 or accumulate > 1) and (moving := _moving(learner.result)):
            how = f"{processes} processes would move by its own part of the batch; use one device"
            if processes == 1:
                how = f"{accumulate} parts of a batch would move by itself; set `train.accumulate` to 1"
            raise ConfigError(
                f"`{type(moving).__name__}` (learner `{name}`) has BatchNorm statistics that move, which each of {how}."
            )


def _moving(network: Network) -> Network | None:
    """Return the network with BatchNorm layers whose statistics move, if there is one."""
    moves = network.live_statistics and any(True for _ in statistics(network))
    return network if moves else None


def samples_of(learner: Learner, batches: Mapping[str, Batch]) -> float:
    """Return how many of the samples are of a learner's own domains."""
    return float(sum(len(batches[name].positions) for name in learner.own))


def parts_of(batches: Mapping[str, Batch], count: int) -> list[dict[str, Batch]]:
    """Split the batches of all domains into `count` parts of equal size but for one sample."""
    parts: list[dict[str, Batch]] = [{} for _ in range(count)]
    for name, batch in batches.items():
        images, positions = torch.tensor_split(batch.images, count), torch.tensor_split(batch.positions, count)
        labels = [torch.tensor_split(values, count) for values in batch.given or ()]
        for number, part in enumerate(parts):
            given = Labels(*(values[number] for values in labels)) if labels else None
            part[name] = Batch(images[number], positions[number], given)
    return parts


def make_optimizer(learners: Sequence[tuple[list[ParamGroup], TrainConfig]]) -> tuple[Optimizer, LambdaLR]:
    """Return one optimizer over the groups of all learners (elementwise the same as one each), and its schedule.

    Args:
        learners: Every learner's parameter groups and settings.

    Raises:
        ConfigError: The learners want several kinds of optimizers.
    """
    kinds = {config.optimizer for _, config in learners}
    if len(kinds) > 1:
        raise ConfigError(
            f"Learners that train together have one optimizer, but `train.optimizer` is {listed(sorted(kinds))}; give "
            "all of them the same."
        )
    groups = [
        {"lr": config.lr, "weight_decay": config.weight_decay, **group} for own, config in learners for group in own
    ]
    factors: list[Callable[[int], float]] = [
        group.get("schedule") or partial(SCHEDULES[config.schedule], warmup=config.warmup, steps=config.steps)
        for own, config in learners
        for group in own
    ]
    # What an optimizer knows of its groups is part of checkpoints, which hold no functions.
    groups = [{name: value for name, value in group.items() if name != "schedule"} for group in groups]
    optimizer: Optimizer
    if kinds == {"sgd"}:
        momenta = [config.momentum for own, config in learners for _ in own]
        optimizer = SGD([group | {"momentum": one} for group, one in zip(groups, momenta, strict=True)])
    else:
        optimizer = AdamW(groups, fused=True)
    return optimizer, LambdaLR(optimizer, factors)


@contextmanager
def seeded(seed: int, step: int, name: str, device: torch.device, process: int = 0) -> Iterator[None]:
    """Make torch's random numbers a function of (seed, step, name, process) alone, and leave its state as it was.

    A resumed run draws what the killed one would have drawn, and learners do not change each other's draws. Processes
    draw apart, as samples of one batch do: each has others of them.
    """
    # A hash and not a sum: (seed 1, step 2) and (seed 2, step 1) must not draw the same.
    text = f"{seed}/{step}/{name}" + (f"/{process}" if process else "")
    digest = hashlib.sha256(text.encode()).digest()
    # Only this device's state is saved: by default `fork_rng` copies that of every GPU, at every step.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(digest[:8], "big"))
        yield
