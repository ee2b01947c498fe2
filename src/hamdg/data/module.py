"""The source domains of a run: opened, split, and fed to training in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from hamdg import console
from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data import augment
from hamdg.data.activations import Activations, FrozenLayers, Views, open_activations, tested_images
from hamdg.data.batches import WHOLE, Batch, Labels, RawBatch, Share, StepLoader
from hamdg.data.conflicts import imbalanced_part
from hamdg.data.domain import Domain, UnlabeledDomain, cache_of, open_domain
from hamdg.data.images import Images
from hamdg.data.label_maps import IGNORED
from hamdg.data.preprocess import Preprocess
from hamdg.data.resolve import benchmark_of
from hamdg.data.splits import (
    Indices,
    check_holdout,
    draw_per_class,
    image_classes,
    lacks_classes,
    missing_classes,
    seed_hash,
    split,
)
from hamdg.data.subset import Subset, holdout
from hamdg.errors import ConfigError, DataError
from hamdg.text import listed, shortened

_CPU = torch.device("cpu")
# DomainBed's share of a target that no step may see.
_UNSEEN = 0.2


def split_domain(recipe: Recipe, domain: Domain) -> tuple[Indices, Indices]:
    """Return the positions of a source domain's training and validation part."""
    return split_positions(recipe, domain.name, len(domain))


def split_positions(recipe: Recipe, name: str, count: int) -> tuple[Indices, Indices]:
    """Return the positions of the training and validation part of a source domain that has so many images."""
    return split(count, recipe.data.validation_fraction, recipe.seed, benchmark_of(recipe).domains.index(name))


def target_positions(recipe: Recipe, name: str, count: int) -> tuple[Indices, Indices]:
    """Return the positions of DomainBed's 80 % and 20 % part of a target that has so many images.

    What it is tested on does not depend on how the sources are split.
    """
    return split(count, _UNSEEN, recipe.seed, benchmark_of(recipe).domains.index(name))


def training_part(recipe: Recipe, domain: Domain) -> Indices:
    """Return the positions of a domain that are trained on.

    Of a source's training part these are `data.shots` of each class, and of them those that `data.conflicts.imbalance`
    leaves; of a target without labels, what steps may see.
    """
    if isinstance(domain, UnlabeledDomain):
        return adaptation_part(recipe, domain)
    if not draws_training_part(recipe):
        return split_domain(recipe, domain)[0]
    return training_positions(recipe, domain.name, image_classes(domain.clean_labels))


def training_positions(recipe: Recipe, name: str, labels: NDArray[np.int64]) -> Indices:
    """Return the positions of a source domain with these labels that are trained on."""
    train, _ = split_positions(recipe, name, len(labels))
    if recipe.data.shots is not None:
        index = benchmark_of(recipe).domains.index(name)
        train = train[draw_per_class(labels[train], recipe.data.shots, recipe.seed, index, "shots")]
    return imbalanced_part(recipe, name, labels, train)


def draws_training_part(recipe: Recipe) -> bool:
    """Return whether only some images of the sources' training parts are trained on."""
    return recipe.data.shots is not None or recipe.data.conflicts.imbalance > 1


def adaptation_part(recipe: Recipe, domain: Domain) -> Indices:
    """Return the positions of a target that steps may see, without labels: DomainBed's 80 % part of it."""
    return target_positions(recipe, domain.name, len(domain))[0]


def without_holdout(recipe: Recipe) -> Recipe:
    """Return a recipe whose source domains have no hold-out sets: all their images train."""
    return replace(recipe, data=replace(recipe.data, validation_fraction=0.0))


class SourceData(LightningDataModule):
    """Feeds all source domains' batches of a step together; augments on the device.

    Args:
        recipe: The run's recipe.
        preprocess: What the model expects of its images.
        domains: The domains, opened; all sources by default.
        draw: Another order of batches than that of the run's seed.
        steps: How many batches there are; the recipe's `train.steps` by default.
        layers: The frozen layers whose activations stand for the images of batches and of hold-out sets, where the
            recipe says in how many views (`data.views`).
        device: Where activations are computed.
    """

    def __init__(
        self,
        recipe: Recipe,
        preprocess: Preprocess,
        domains: Mapping[str, Domain] | None = None,
        draw: int = 0,
        steps: int | None = None,
        layers: FrozenLayers | None = None,
        device: torch.device = _CPU,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.preprocess = preprocess
        self.bench = benchmark_of(recipe)
        self.draw = draw
        self.steps = steps
        self.layers = layers
        self.device = device
        self.activations: dict[str, Activations] = {}
        self._given = domains
        self.domains: dict[str, Domain] = {}
        self.train_part: dict[str, Indices] = {}
        self.validation_part: dict[str, Indices] = {}
        self.share = WHOLE
        self._loader: StepLoader | None = None

    def setup(self, stage: str = "fit") -> None:
        """Open the source domains and split them."""
        if self.domains:
            return
        opened: dict[str, Domain] = {}
        for name in self._given or self.bench.sources(self.recipe.held_out, self.recipe.excluded):
            domain = self._given[name] if self._given else open_domain(self.recipe, name, self.preprocess.side)
            train, validation = training_part(self.recipe, domain), split_domain(self.recipe, domain)[1]
            if not isinstance(domain, UnlabeledDomain):
                self._check(domain, train, validation)
            opened[name] = domain
            self.train_part[name], self.validation_part[name] = train, validation
        # All at once: where one could not be opened, the next call must not find the others and be content.
        self.domains = opened

    def _check(self, domain: Domain, train: Indices, validation: Indices) -> None:
        maps = domain.labels.ndim > 1
        missing = [] if maps else missing_classes(image_classes(domain.labels), train, self.bench.classes)
        if missing and self.recipe.benchmark in RENDERED:
            raise DataError(lacks_classes(domain.name, missing))
        if missing:
            # Published benchmarks have classes of three images; their splits are what they are.
            console.note(f"{domain.name}: no training image of {listed(missing, 10)}")
        check_holdout(domain.name, len(domain.labels), validation, self.recipe.data.validation_fraction)
        self._note_few(domain, train)

    def _note_few(self, domain: Domain, train: Indices) -> None:
        shots = self.recipe.data.shots
        if shots is None or domain.labels.ndim > 1:
            return
        counts = np.bincount(image_classes(domain.clean_labels)[train], minlength=len(self.bench.classes)).tolist()
        few = [f"{n} of `{name}`" for name, n in zip(self.bench.classes, counts, strict=True) if 0 < n < shots]
        if few:
            note = f"fewer than {shots} training images of some classes, so all of them are taken"
            console.note(f"{domain.name}: {note}: {shortened(few, 10)}")

    def _check_batch_size(self) -> None:
        """Refuse a batch that is larger than what the recipe itself leaves of a domain, and name the keys that do."""
        data = self.recipe.data
        imbalance = data.conflicts.imbalance if data.conflicts.imbalance > 1 else None
        limits = {"data.shots": data.shots, "data.subset": data.subset, "data.conflicts.imbalance": imbalance}
        given = [f"`{key}` {value}" for key, value in limits.items() if value is not None]
        name = min(self.train_part, key=lambda one: len(self.train_part[one]))
        if given and data.batch_size > (count := len(self.train_part[name])):
            raise ConfigError(
                f"`data.batch_size` is {data.batch_size}, but with {' and '.join(given)} domain `{name}` has only "
                f"{count} training images; use at most {count}, or allow more images."
            )

    def holdouts(self) -> dict[str, Subset]:
        """Return the hold-out set of every domain that has labels and keeps some images back, decoded.

        With frozen layers, what these give for the images stands for them where the recipe has that kept.
        """
        parts = {
            name: replace(holdout(domain, self.validation_part[name]), images=self._tested(domain))
            for name, domain in self.domains.items()
            if not isinstance(domain, UnlabeledDomain) and len(self.validation_part[name])
        }
        for part in parts.values():
            part.prepare()
        return parts

    def _tested(self, domain: Domain) -> Images:
        return tested_images(self.recipe, domain, self.preprocess, self.layers, self.device)

    def prepare(self) -> None:
        """Decode all images that training reads, or compute what frozen layers give for them."""
        self._check_batch_size()
        for name, domain in self.domains.items():
            if self.layers is None or self.recipe.data.views is None:
                domain.training.prepare(self.train_part[name])
            elif (known := self.activations.get(name)) is None or not known.are_there:
                self.activations[name] = self._open_activations(domain, self.layers, self.recipe.data.views)

    def _open_activations(self, domain: Domain, layers: FrozenLayers, views: int) -> Activations:
        made, train = self.training_views(domain, views), self.train_part[domain.name]
        return open_activations(cache_of(self.recipe), domain, train, made, layers, self.device)

    def training_views(self, domain: Domain, views: int) -> Views:
        """Return so many augmented views of a domain's images, drawn by the seed."""
        data, number = self.recipe.data, self.number(domain.name)
        about: dict[str, object] = {
            "preprocess": asdict(self.preprocess),
            "augment": data.augment,
            "seed": self.recipe.seed,
            "number": number,
            "store": data.store,
            "truncated": data.truncated,
        }

        def augmented(images: Tensor | list[Tensor], view: int, first: int) -> Tensor:
            return self._augment(images, seed_hash("view", self.recipe.seed, number, view, first))

        return Views(domain.training, views, about, augmented)

    def train_dataloader(self) -> StepLoader:
        """Return the loader of all steps, its images decoded."""
        self.prepare()
        order = {name: self.number(name) for name in self.domains}
        data = self.recipe.data
        steps = self.recipe.train.steps if self.steps is None else self.steps
        seed = seed_hash(self.recipe.seed, self.draw) if self.draw else self.recipe.seed
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        if self.trainer is not None:
            self.share = Share(self.trainer.global_rank, self.trainer.world_size)
        self._loader = StepLoader(
            self.domains,
            self.train_part,
            order,
            data.batch_size,
            steps,
            seed,
            pin,
            self.share,
            self.activations,
            data.views or 0,
        )
        return self._loader

    def number(self, name: str) -> int:
        """Return the number of a domain, which tells its draws from those of others."""
        return self.bench.domains.index(name)

    def close(self) -> None:
        """End the threads that decode ahead, where the training was left before its last step."""
        if self._loader is not None:
            self._loader.close()

    def on_after_batch_transfer(
        self, batch: tuple[int, dict[str, RawBatch]], dataloader_idx: int
    ) -> tuple[int, dict[str, Batch]]:
        """Augment and normalize each domain's images; called once the batch is on the model's device."""
        step, drawn = batch
        return step, {
            name: Batch(self._prepare(part.images, step, name), part.positions, self._moved(part.given, step, name))
            for name, part in drawn.items()
        }

    def _moved(self, given: Labels | None, step: int, domain: str) -> Labels | None:
        """Return labels, maps moved along with their images."""
        preset, whole = self.recipe.data.augment, self.recipe.data.batch_size
        if given is None or given.noisy.ndim == 1 or preset == "none":
            return given
        if preset != "flip_shift":
            raise ConfigError(
                f"`data.augment` is `{preset}`, which does not move label maps along with their images; choose `none` "
                "or `flip_shift`."
            )
        generator = torch.Generator().manual_seed(self._seed(step, domain))
        maps = augment.flip_shift_maps(given.noisy, generator, IGNORED, first=self.share.of(whole).start, whole=whole)
        return Labels(maps, maps)

    def _seed(self, step: int, domain: str) -> int:
        return seed_hash(self.recipe.seed, self.number(domain), step)

    def _prepare(self, images: Tensor | list[Tensor], step: int, domain: str) -> Tensor:
        if domain in self.activations:
            assert isinstance(images, Tensor), "activations have one size"
            return images.float()
        whole = self.recipe.data.batch_size
        # The parameters of the whole batch: what happens to an image does not depend on the number of processes.
        return self._augment(images, self._seed(step, domain), self.share.of(whole).start, whole)

    def _augment(self, images: Tensor | list[Tensor], seed: int, first: int = 0, whole: int | None = None) -> Tensor:
        """Augment images, by a seed, and normalize them; `first` and `whole` are those of `augment.prepare`."""
        preset = self.recipe.data.augment
        if preset == "clip" or preset == "domainbed":
            return augment.prepare(images, preset, self.preprocess, seed, first, whole)
        # Images that are not cropped all have the model's side.
        assert isinstance(images, Tensor)
        if preset == "none":
            return self.preprocess(images)
        floats = augment.to_float(images)
        shifted = augment.flip_shift(floats, torch.Generator().manual_seed(seed), first=first, whole=whole)
        return self.preprocess.fit(shifted)
