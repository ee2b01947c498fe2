"""Measures what the sources of a recipe disagree about, from its start model; the held-out domain is never opened."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg import console
from hamdg.config.algorithms.ham import EnrichmentConfig, HamSettings
from hamdg.config.recipe import Recipe
from hamdg.conflicts import labels as wrong
from hamdg.conflicts.acceptance import Acceptance, acceptance
from hamdg.conflicts.gradients import Agreement, Gradient, agreement, mean_gradient
from hamdg.data.domain import Domain, only_domains, read_once
from hamdg.data.listing import Listing
from hamdg.data.module import SourceData
from hamdg.data.resolve import benchmark_of
from hamdg.data.splits import Indices, seed_hash
from hamdg.data.subset import Subset
from hamdg.data.thumbnails import thumbnails
from hamdg.errors import ConfigError, DataError
from hamdg.models.network import Network
from hamdg.runs.directory import RunDirectory
from hamdg.stages.class_features import check_words, learn_class_features
from hamdg.stages.context import Context, open_context
from hamdg.stages.features import features_of, training_subsets
from hamdg.stages.machine import keep_freed_memory, set_threads
from hamdg.stages.sources import open_sources

# Images in one forward and backward pass.
_BATCH = 32
# Suspicious images of each source whose pixels are kept for the page.
SHOWN = 24


@dataclass(frozen=True)
class Known:
    """How well suspicion finds labels that are known to be wrong, as those of `data.conflicts` are.

    Args:
        wrong: How many of the images that were looked at have a wrong label.
        found: How many of these are suspicious.
        suspicious: How many images are suspicious.
    """

    wrong: int
    found: int
    suspicious: int

    @property
    def precision(self) -> float | None:
        """The share of the suspicious labels that are wrong; `None` where none is suspicious."""
        return self.found / self.suspicious if self.suspicious else None

    @property
    def recall(self) -> float | None:
        """The share of the wrong labels that are suspicious; `None` where none is wrong."""
        return self.found / self.wrong if self.wrong else None


@dataclass(frozen=True)
class Source:
    """What was found in one source.

    Args:
        counts: Training images by class.
        positions: Where the images that were looked at lie in the domain [n].
        suspects: The labels that look wrong.
        names: The paths of the suspicious images below the domain's folder; empty where images are no files.
        images: Thumbnails of the first `SHOWN` of them.
        known: How well suspicion does, where wrong labels are known.
    """

    counts: list[int]
    positions: Indices
    suspects: wrong.Suspects
    names: list[str]
    images: list[NDArray[np.uint8]]
    known: Known | None


@dataclass(frozen=True)
class Conflicts:
    """All that was measured.

    Args:
        recipe: The recipe.
        classes: Names of the classes.
        sources: What was found in each source.
        gradients: How their gradients agree.
        accepted: What enrichment would accept.
        taken_for: Of each source, the shares [classes, classes] that other sources' probes take its images for.
        contradictions: The classes that sources label differently.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    sources: dict[str, Source]
    gradients: Agreement
    accepted: Acceptance
    taken_for: dict[str, Tensor]
    contradictions: list[wrong.Contradiction]

    @property
    def suspicious(self) -> int:
        """How many labels look wrong."""
        return sum(len(one.suspects.found) for one in self.sources.values())

    @property
    def looked_at(self) -> int:
        """How many images' labels were looked at."""
        return sum(len(one.positions) for one in self.sources.values())

    @property
    def wrong_share(self) -> float:
        """The upper estimate of the share of wrong labels over the images of all sources."""
        return sum(one.suspects.share * len(one.positions) for one in self.sources.values()) / self.looked_at


def check(recipe: Recipe) -> None:
    """Check that the sources of a recipe can be compared before anything is trained.

    Raises:
        ConfigError: If it segments, its model does not know the classes, or there is one source.
    """
    model, bench = recipe.model, benchmark_of(recipe)
    if model.segments or bench.task == "segmentation":
        raise ConfigError(
            f"`hamdg data conflicts` compares images that have a class each, but `{recipe.benchmark}` has label maps; "
            "give a recipe for classification."
        )
    if not model.knows_classes:
        raise ConfigError(
            f"`hamdg data conflicts` measures from a start model that knows the classes, but the linear layer of "
            f"`model.name` `{model.name}` starts from random numbers; set `model.text_head` to `linear_probe`."
        )
    sources = bench.sources(recipe.held_out, recipe.excluded)
    if len(sources) < 2:
        raise ConfigError(
            f"`hamdg data conflicts` compares source domains, but the recipe leaves `{sources[0]}` alone; hold out "
            "or exclude fewer domains."
        )


def measure(recipe: Recipe, *, images: int, gradient_images: int) -> Conflicts:
    """Measure what the sources of a recipe disagree about.

    Nothing is written but the cache of decoded images, as training would.

    Args:
        recipe: The recipe.
        images: The most training images of each source that labels and enrichment are judged by.
        gradient_images: The most training images of each source that gradients are made of.

    Raises:
        ConfigError: If the recipe is none that `check` accepts.
        DataError: If there are no images.
        WeightsError: If the model's weights cannot be loaded.
    """
    check(recipe)
    sources = benchmark_of(recipe).sources(recipe.held_out, recipe.excluded)
    set_threads(recipe.runtime.threads)
    keep_freed_memory()
    # Class features that are learned lie in the folder of a run, as deep below its root as all are.
    with tempfile.TemporaryDirectory(prefix="hamdg-") as root, only_domains(sources):
        folder = Path(root, recipe.benchmark, "sources", recipe.algorithm, "start")
        folder.mkdir(parents=True)
        context = open_context(recipe, RunDirectory(folder))
        data = open_sources(context, begun=False)
        check_words(context)
        learn_class_features(context, data)
        network = context.network().to(context.device).eval()
        console.note(f"gradients of {gradient_images:,} images of each source at most")
        found = _agreement(context, data, network, gradient_images)
        parts = {name: _some(part, images, recipe.seed, name) for name, part in training_subsets(context, data).items()}
        console.note(f"features of {sum(len(part.positions) for part in parts.values()):,} images")
        return _judged(context, data, network, parts, found)


def _agreement(context: Context, data: SourceData, network: Network, count: int) -> Agreement:
    """Return the agreement of the mean gradients of halves of some images of each source."""
    halves: dict[str, tuple[Gradient, Gradient]] = {}
    used = {}
    with console.progress(2 * len(data.domains), "gradients") as advance:
        for name, part in training_subsets(context, data).items():
            few = _some(part, count, context.recipe.seed, name, shuffled=True)
            half = len(few.positions) // 2
            if half == 0:
                raise DataError(f"Domain `{name}` has one training image, which has no halves to compare; add images.")
            cuts = slice(0, half), slice(half, 2 * half)
            made = []
            for cut in cuts:
                own = Subset(few.images, few.positions[cut], few.labels[cut])
                made.append(mean_gradient(network, context.task.loss, _batches(context, own)))
                advance(1)
            halves[name], used[name] = (made[0], made[1]), 2 * half
    return agreement(halves, used, list(network.layers()), network.head_prefix)


def _batches(context: Context, part: Subset) -> Iterator[tuple[Tensor, Tensor]]:
    part.prepare()
    for images, labels in part.parts(_BATCH):
        yield context.preprocess(images.to(context.device)), labels.to(context.device)


def _some(part: Subset, count: int, seed: int, name: str, shuffled: bool = False) -> Subset:
    """Return at most `count` images of a subset, drawn by the seed; in their order, unless it is to be random."""
    order = np.random.default_rng(seed_hash("conflicts", seed, name)).permutation(len(part.positions))[:count]
    chosen = order if shuffled else np.sort(order)
    return Subset(part.images, part.positions[chosen], part.labels[torch.from_numpy(chosen)])


def _judged(
    context: Context, data: SourceData, network: Network, parts: Mapping[str, Subset], gradients: Agreement
) -> Conflicts:
    """Return what the features of the sources' images say, with the agreement of gradients."""
    recipe, classes = context.recipe, context.bench.classes
    features = features_of(context, network.features, parts)
    with torch.no_grad():
        scores = {name: network.scores(own) for name, (own, _) in features.items()}
    labels = {name: own for name, (_, own) in features.items()}
    settings = recipe.settings
    enrichment = settings.enrichment if isinstance(settings, HamSettings) else EnrichmentConfig()
    # The control `random` accepts as many as this rule does.
    kind = "true_class" if enrichment.confidence == "random" else enrichment.confidence
    accepted = acceptance(scores, labels, kind, recipe.data.batch_size, recipe.seed)
    console.note(f"probes: {wrong.FOLDS} folds within each source, and one source's probe on the others")
    centered = wrong.centered(features)
    judged = {name: wrong.suspects(own, given, len(classes), recipe.seed) for name, (own, given) in centered.items()}
    tables = wrong.taken_for(centered, len(classes))
    noisy = any(not np.array_equal(domain.labels, domain.clean_labels) for domain in data.domains.values())
    sources = {
        name: _source(context, domain, data.train_part[name], parts[name].positions, judged[name], noisy)
        for name, domain in data.domains.items()
    }
    return Conflicts(recipe, classes, sources, gradients, accepted, tables, wrong.contradictions(tables, centered))


def _source(
    context: Context, domain: Domain, train: Indices, positions: Indices, found: wrong.Suspects, noisy: bool
) -> Source:
    own = positions[[one.place for one in found.found]] if found.found else positions[:0]
    names = [domain.contents.names[int(place)] for place in own] if isinstance(domain.contents, Listing) else []
    shown = own[:SHOWN]
    images = list(thumbnails(read_once(domain, context.preprocess.side), shown)) if len(shown) else []
    known = None
    if noisy:
        false = domain.labels != domain.clean_labels
        known = Known(int(false[positions].sum()), int(false[own].sum()), len(own))
    counts: list[int] = np.bincount(domain.labels[train], minlength=len(context.bench.classes)).tolist()
    return Source(counts, positions, found, names, images, known)
