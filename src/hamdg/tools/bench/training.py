"""Rendering, training steps and the history: `python -m hamdg.tools.bench training`."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.nn import functional

from hamdg import console
from hamdg.algorithms.ham.harmonizer import Harmonizer
from hamdg.algorithms.ham.learner import HamLearner
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.ham import EnrichmentConfig, HarmonizationConfig
from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.recipe import HistoryConfig, ModelConfig, RuntimeConfig, TrainConfig
from hamdg.data.batches import Batch, Labels
from hamdg.merge.history import RunningMean
from hamdg.mini import CLASSES, DOMAINS
from hamdg.mini.benchmark import render_image
from hamdg.models.clip import LoadedClip, load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.layers import layer_of
from hamdg.models.schedule import warm_cosine
from hamdg.stages.machine import set_threads

SOURCES = ("art", "cartoon", "photo")
# The image tower of CLIP ViT-B/16.
LARGE = 86_000_000
# Pairs of steps that are measured, after some that warm up.
PAIRS, WARM = 30, 5
MODELS = ("mini-rn", "mini-vit")
PULL = HarmonizationConfig(method="l2")
Batches = Mapping[str, Batch]


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of an action, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def images_per_second(domain: str, config: MiniConfig, count: int = 350) -> float:
    """Return how many images of a domain one core renders in a second of processor time."""
    for label in range(len(CLASSES)):
        render_image(domain, label, 0, config)
    start = time.process_time()
    for position in range(count):
        render_image(domain, position % len(CLASSES), position // len(CLASSES), config)
    return count / (time.process_time() - start)


def rendering_rows() -> list[tuple[str, str]]:
    """Return how fast each domain of the embedded benchmark is rendered."""
    return [(f"render {name}", f"{images_per_second(name, MiniConfig()):.0f} images/s/core") for name in DOMAINS]


class Bare:
    """Hand-written loops in plain PyTorch with the mathematics of a cohort: what a step costs without any house.

    Args:
        networks: What is trained.
        config: Learning rate, schedule, clipping.
        enriches: Whether samples of the other domains join the losses.
        pulls: The weight of the penalty on distances from the mean, if any.
    """

    def __init__(
        self, networks: Mapping[str, ClipClassifier], config: TrainConfig, enriches: bool = False, pulls: float = 0.0
    ) -> None:
        self.networks, self.config, self.enriches, self.pulls = networks, config, enriches, pulls
        self.parameters = [[p for p in network.parameters() if p.requires_grad] for network in networks.values()]
        self.start = [parameter.detach().clone() for parameter in self.parameters[0]]
        self.optimizer = torch.optim.AdamW(
            [{"params": own} for own in self.parameters], config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warm_cosine(step, config.warmup, config.steps)
        )

    def step(self, batches: Batches) -> None:
        """Make one step."""
        self.optimizer.zero_grad()
        for name, network in self.networks.items():
            (self._enriched if self.enriches else self._plain)(name, network, batches).backward()  # type: ignore[no-untyped-call]
        if self.pulls:
            self._pull()
        for own in self.parameters:
            torch.nn.utils.clip_grad_norm_(own, self.config.clip_norm)
        self.optimizer.step()
        self.scheduler.step()

    def _plain(self, name: str, network: nn.Module, batches: Batches) -> Tensor:
        return functional.cross_entropy(network(batches[name].images), batches[name].labels)

    def _enriched(self, name: str, network: nn.Module, batches: Batches) -> Tensor:
        own, others = batches[name], [batch for domain, batch in batches.items() if domain != name]
        images, labels = (
            torch.cat([batch.images for batch in others]),
            torch.cat([batch.labels for batch in others]),
        )
        scores = network(own.images)
        with torch.no_grad():
            sure = network(images).softmax(dim=1).gather(1, labels[:, None])[:, 0]
        chosen = sure > scores.detach().softmax(dim=1).gather(1, own.labels[:, None]).mean()
        losses = functional.cross_entropy(scores, own.labels, reduction="none")
        if bool(chosen.any()):
            added = functional.cross_entropy(network(images[chosen]), labels[chosen], reduction="none")
            losses = torch.cat([losses, added])
        return losses.mean()

    @torch.no_grad()
    def _pull(self) -> None:
        for same in zip(*self.parameters, strict=True):
            mean = torch.stack([parameter.detach() for parameter in same]).mean(dim=0)
            for parameter in same:
                assert parameter.grad is not None
                parameter.grad.add_(parameter - mean, alpha=self.pulls)


class Pairs(Callback):
    """Measures the processor time of every step of a Trainer, and that of a bare step right behind it.

    Args:
        bare: Makes the bare step on the same batches.
    """

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.times: list[tuple[float, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure."""
        self._start = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Note the step's time, make a bare step and note its time."""
        assert isinstance(batch, tuple)
        middle = time.process_time()
        self.bare.step(batch[1])
        end = time.process_time()
        self.times.append((middle - self._start, end - middle))
        self._start = time.process_time()

    @property
    def result(self) -> tuple[float, float]:
        """The median time of a bare step, and the median of the steps' ratios to the bare ones."""
        counted = self.times[WARM:]
        return median(bare for _, bare in counted), median(own / bare for own, bare in counted)


class Steps:
    """A loader of steps that are all there before anything is measured."""

    def __init__(self, steps: int, side: int) -> None:
        draws, size = torch.Generator().manual_seed(0), DataConfig().batch_size

        def batch() -> Batch:
            labels = torch.randint(len(CLASSES), (size,), generator=draws)
            return Batch(torch.randn(size, 3, side, side, generator=draws), torch.arange(size), Labels(labels, labels))

        self.steps = [(step, {name: batch() for name in SOURCES}) for step in range(steps)]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, Batches]]:
        return iter(self.steps)


@contextmanager
def _quiet() -> Iterator[None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def paired(module: LightningModule, bare: Bare, loader: Steps) -> tuple[float, float]:
    """Return the time of a bare step, and how much more a module's step takes in a Trainer."""
    pairs = Pairs(bare)
    with _quiet():
        trainer = Trainer(
            max_steps=len(loader),
            accelerator="cpu",
            logger=DummyLogger(),
            callbacks=[pairs],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.fit(module, train_dataloaders=loader)
    return pairs.result


def step_rows(model: ModelConfig) -> list[tuple[str, str]]:
    """Return what learners and cohorts cost beside bare loops with the same mathematics."""
    loaded = load_clip(model)
    loader, config = Steps(WARM + PAIRS, loaded.image_size), TrainConfig(steps=WARM + PAIRS, warmup=WARM)
    every = RuntimeConfig().log_every

    def networks(count: int) -> dict[str, ClipClassifier]:
        return {name: _network(loaded) for name in SOURCES[:count]}

    def learners(count: int) -> dict[str, Learner]:
        return {name: Learner(network, (name,), config) for name, network in networks(count).items()}

    def ham(enriches: bool) -> Cohort:
        start = _network(loaded)
        enrichment = EnrichmentConfig(enabled=enriches)
        members = {name: HamLearner(name, one, (name,), config, enrichment) for name, one in networks(3).items()}
        return Cohort(members, [Harmonizer(PULL, start.weights(), 3, layer_of, seed=0)], log_every=every)

    def bare(count: int, enriches: bool = False, pulls: float = 0.0) -> Bare:
        found = networks(count)
        for network in found.values():
            network.train()
        return Bare(found, config, enriches, pulls)

    rows = {
        "a learner alone": (next(iter(learners(1).values())), bare(1)),
        "a cohort of one": (Cohort(learners(1), log_every=every), bare(1)),
        "a cohort of three": (Cohort(learners(3), log_every=every), bare(3)),
        "three with the l2 pull": (ham(enriches=False), bare(3, pulls=PULL.weight)),
        "all of HAM": (ham(enriches=True), bare(3, enriches=True, pulls=PULL.weight)),
    }
    found = []
    for what, (module, loop) in rows.items():
        spent, ratio = paired(module, loop, loader)
        found.append((f"{model.name}: {what}", f"{ratio:.2f} of a bare loop ({1e3 * spent:.0f} ms a step)"))
    return found


def _network(loaded: LoadedClip) -> ClipClassifier:
    width = loaded.model.visual(torch.zeros(1, 3, loaded.image_size, loaded.image_size)).shape[1]
    head = torch.randn(len(CLASSES), width, generator=torch.Generator().manual_seed(1))
    return ClipClassifier(copy.copy(loaded), functional.normalize(head, dim=-1))


def update_rows(model: ModelConfig) -> list[tuple[str, str]]:
    """Return what the history's updates of all sources take."""
    towers = [_network(load_clip(model)) for _ in SOURCES]
    means = [RunningMean() for _ in towers]

    def remember() -> None:
        for mean, tower in zip(means, towers, strict=True):
            mean.update(list(tower.weights().values()))

    spent = seconds(remember, 50) / HistoryConfig().every
    return [(f"{model.name}: {len(towers)} history updates", f"{1e3 * spent:.2f} ms a step")]


def history_rows(size: int) -> list[tuple[str, str]]:
    """Return the time that a history update takes on an image tower of `size` parameters."""
    mean, weights = RunningMean(), [torch.randn(size, generator=torch.Generator().manual_seed(0))]
    update = seconds(lambda: mean.update(weights))
    return [(f"history update of {size / 1e6:.0f} M parameters", f"{1e3 * update:.0f} ms")]


def main() -> None:
    """Print the table."""
    threads = set_threads(1)
    models = [ModelConfig(name) for name in MODELS]
    rows = [*rendering_rows(), *history_rows(LARGE)]
    for model in models:
        rows += [*step_rows(model), *update_rows(model)]
    console.table(("what", "speed"), rows, title=f"{threads} thread(s)")
