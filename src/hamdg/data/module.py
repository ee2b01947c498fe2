"""The data of a run: source domains for training, and the held-out domain for nobody before `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import LightningDataModule
from torch import Tensor

from hamdg.config import Recipe
from hamdg.data import augment
from hamdg.data.arrays import DomainArrays
from hamdg.data.batches import Batch, StepLoader
from hamdg.data.mini import load_domain
from hamdg.data.registry import benchmark
from hamdg.data.splits import Indices, check_holdout, check_split, first_per_class, seed_hash, split
from hamdg.files import cache_folder


@dataclass(frozen=True)
class InputFormat:
    """What a model expects of its pictures: side in pixels, mean and standard deviation per channel."""

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 pictures [n, h, w, 3] into what the model eats, without augmentation."""
        return self.fit(augment.to_float(images))

    def fit(self, pictures: Tensor) -> Tensor:
        """Bring float pictures [n, 3, h, w] between 0 and 1 to the model's side, mean and standard deviation."""
        return augment.normalise(augment.resize(pictures, self.side), self.mean, self.std)


def open_domain(recipe: Recipe, domain: str) -> DomainArrays:
    """Read (or render) one domain, reduced to `data.subset`; the only place where pictures are opened."""
    cache = Path(recipe.data.cache).expanduser() if recipe.data.cache is not None else cache_folder()
    arrays = load_domain(domain, recipe.data.mini, cache)
    if recipe.data.subset is None:
        return arrays
    kept = first_per_class(arrays.clean_labels, recipe.data.subset)
    return DomainArrays(domain, arrays.images[kept], arrays.labels[kept], arrays.clean_labels[kept])


def split_domain(recipe: Recipe, arrays: DomainArrays) -> tuple[Indices, Indices]:
    """Return the positions of a domain's training and validation part."""
    index = benchmark(recipe.benchmark).domains.index(arrays.domain)
    return split(len(arrays.labels), recipe.data.validation_fraction, recipe.seed, index)


class SourceData(LightningDataModule):
    """Feeds all source domains' batches of a step together; augments on the device.

    Args:
        recipe: The run's recipe.
        input_format: What the model expects of its pictures.
    """

    def __init__(self, recipe: Recipe, input_format: InputFormat) -> None:
        super().__init__()
        self.recipe = recipe
        self.input_format = input_format
        self.bench = benchmark(recipe.benchmark)
        self.domains: dict[str, DomainArrays] = {}
        self.train_part: dict[str, Indices] = {}
        self.validation_part: dict[str, Indices] = {}

    def setup(self, stage: str = "fit") -> None:
        """Open the source domains and split them."""
        if self.domains:
            return
        for name in self.bench.sources(self.recipe.held_out):
            arrays = open_domain(self.recipe, name)
            train, validation = split_domain(self.recipe, arrays)
            check_split(name, arrays.labels, train, self.bench.classes)
            check_holdout(name, len(arrays.labels), validation, self.recipe.data.validation_fraction)
            self.domains[name] = arrays
            self.train_part[name], self.validation_part[name] = train, validation

    def train_dataloader(self) -> StepLoader:
        """Return the loader of all steps."""
        order = {name: self.bench.domains.index(name) for name in self.domains}
        data, steps = self.recipe.data, self.recipe.train.steps
        return StepLoader(self.domains, self.train_part, order, data.batch_size, steps, self.recipe.seed)

    def on_after_batch_transfer(
        self, batch: tuple[int, dict[str, Batch]], dataloader_idx: int
    ) -> tuple[int, dict[str, Batch]]:
        """Augment and normalise each domain's pictures; called once the batch is on the model's device."""
        step, batches = batch
        return step, {
            name: part._replace(images=self._prepare(part.images, step, name)) for name, part in batches.items()
        }

    def _prepare(self, images: Tensor, step: int, domain: str) -> Tensor:
        pictures = augment.to_float(images)
        if self.recipe.data.augment == "flip_shift":
            seed = seed_hash(self.recipe.seed, self.bench.domains.index(domain), step)
            pictures = augment.flip_shift(pictures, torch.Generator().manual_seed(seed))
        return self.input_format.fit(pictures)
