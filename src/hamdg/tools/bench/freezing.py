"""What frozen low layers and folded BatchNorm save on a CPU: `python -m hamdg.tools.bench freezing`.

All ways train the same classifier on the same PACS images, on one thread, in turns; processor time counts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from hamdg import console
from hamdg.cohort.learner import Learner, make_optimizer
from hamdg.config.data import DataConfig
from hamdg.config.recipe import ModelConfig, Recipe, TrainConfig
from hamdg.data.domain import open_domain
from hamdg.data.module import SourceData
from hamdg.errors import DataError, WeightsError
from hamdg.models import packaged
from hamdg.models.classifier import load_classifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.stages.machine import keep_freed_memory, set_threads

MODEL = ModelConfig(packaged.MODEL, packaged.PYPI, image_size=128)
BLOCKS, VIEWS, DOMAIN = 3, 2, "photo"
CACHED = "the same, activations cached"
# What is frozen, and whether its activations are read from the cache.
WAYS = {
    "none": (0, None),
    f"stem and {BLOCKS} stages": (BLOCKS, None),
    CACHED: (BLOCKS, VIEWS),
}


class Way:
    """One way to train: a learner, its optimizer and its batches.

    Args:
        recipe: The model, and how many views there are.
        steps: How many steps are made.
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        loaded = load_classifier(recipe.model)
        head, blocks = fresh_head(7, loaded.width, 0), recipe.model.frozen_blocks
        self.network = ImageClassifier(loaded, head, frozen_blocks=blocks)
        self.learner = Learner(self.network, (DOMAIN,), recipe.train)
        self.optimizer, _ = make_optimizer([(self.learner.parameter_groups(), recipe.train)])
        domains = {DOMAIN: open_domain(recipe, DOMAIN, loaded.preprocess.side)}
        self.data = SourceData(recipe, loaded.preprocess, domains, steps=steps, layers=self.network.trunk)
        self.data.setup()
        for domain in domains.values():
            domain.training.prepare(self.data.train_part[DOMAIN])
        self.preparation = _seconds(self.data.prepare)
        self._steps = iter(self.data.train_dataloader())

    def step(self) -> None:
        """Read and augment a batch, or read activations; make a training step."""
        step, batches = self.data.on_after_batch_transfer(next(self._steps), 0)
        self.optimizer.zero_grad()
        torch.autograd.backward(self.learner.loss(batches, step).value)
        self.optimizer.step()


def main(root: str | None = None, most: int = 9) -> None:
    """Print how fast each way trains, and what the activations take; or why that is not measured.

    Args:
        root: The folder of PACS; looked for if not given.
        most: How often each way makes a step.
    """
    threads = set_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as cache:
        data = DataConfig(root=root, cache=cache, augment="domainbed")
        recipe = Recipe("pacs", "sketch", data=data, model=MODEL, train=TrainConfig(steps=most + 1))
        try:
            ways = {
                (name, folds): Way(_recipe(recipe, blocks, views, folds), most + 1)
                for name, (blocks, views) in WAYS.items()
                for folds in (False, True)
            }
        except (DataError, WeightsError) as error:
            console.note(f"freezing is not measured: {error}")
            return
        times: dict[tuple[str, bool], list[float]] = {way: [] for way in ways}
        # In turns; the first one only warms up.
        for _ in range(most + 1):
            for key, way in ways.items():
                times[key].append(_seconds(way.step))
        _print_speed(times, recipe, threads)
        _print_cache(ways[CACHED, False], Path(cache))


def _recipe(recipe: Recipe, blocks: int, views: int | None, folds: bool) -> Recipe:
    model = replace(recipe.model, frozen_blocks=blocks, fold_batchnorm=folds)
    return replace(recipe, model=model, data=replace(recipe.data, views=views))


def _print_speed(times: Mapping[tuple[str, bool], list[float]], recipe: Recipe, threads: int) -> None:
    speed = {key: recipe.data.batch_size / median(own[1:]) for key, own in times.items()}
    reference = speed["none", False]
    rows = [
        [name, *(f"{one:.0f} ({one / reference:.1f} x)" for one in (speed[name, False], speed[name, True]))]
        for name in WAYS
    ]
    side, count = recipe.model.image_size, len(next(iter(times.values()))) - 1
    title = f"Training images of {side} px per CPU second, {recipe.model.name}, {threads} thread(s), {count} step(s)"
    console.table(["frozen", "BatchNorm as it is", "folded"], rows, title=title)


@torch.no_grad()
def _print_cache(way: Way, cache: Path) -> None:
    """Print what the activations of a domain take, and what their half precision changes."""
    trunk, data = way.network.trunk, way.data
    assert trunk is not None
    positions = data.train_part[DOMAIN]
    size = max(path.stat().st_size for path in (cache / "activations").glob("*/values.npy"))
    images = data.domains[DOMAIN].evaluation.read(positions[:64])
    assert isinstance(images, Tensor)
    network, prepared = way.network.eval(), data.preprocess(images)
    exact, rounded = network.features(prepared), network.features(trunk(prepared).half().float())
    error = float(((exact - rounded).norm(dim=1) / exact.norm(dim=1)).median())
    rows = [
        ["images, views", f"{len(positions):,}, {VIEWS}"],
        ["to compute", f"{way.preparation:.0f} CPU seconds ({VIEWS * len(positions) / way.preparation:.0f} views/s)"],
        ["on the disk", f"{size / 1e6:.0f} MB ({size / (VIEWS * len(positions)) / 1e3:.1f} kB a view)"],
        ["change of features by half precision, median", f"{100 * error:.3f} % of their length"],
    ]
    console.table([f"activations of `{DOMAIN}`", ""], rows)


def _seconds(action: Callable[[], None]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began
