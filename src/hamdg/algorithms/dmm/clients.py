"""Who has which images: clients of one source domain each, or a Dirichlet split of all images by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.config.algorithms.dmm import ClientsConfig
from hamdg.config.recipe import Recipe
from hamdg.data.domain import Domain, combined_fingerprint
from hamdg.data.images import Images, Positions
from hamdg.data.module import SourceData, split_domain, training_part
from hamdg.data.preprocess import Preprocess
from hamdg.data.resolve import benchmark_of
from hamdg.data.splits import Indices, draw_per_class, image_classes, seed_hash
from hamdg.errors import ConfigError

# The name of the common start's learner, and of the step that trains it: `start.json` is a file of every run.
START = "common_start"
# More than any benchmark has domains, whose numbers come before.
_START_NUMBER = 1_000_000
# How often a split is drawn again in which a client has hardly any image.
_DRAWS = 1_000


class Client(NamedTuple):
    """One client.

    Args:
        domain: What its images are among.
        training: Which it trains on.
        validation: Which it is validated on.
        number: What tells its draws from those of others.
    """

    domain: Domain
    training: Indices
    validation: Indices
    number: int

    def counts(self, classes: int) -> list[int]:
        """Return how many training images it has of each class."""
        found: list[int] = np.bincount(self.domain.labels[self.training], minlength=classes).tolist()
        return found


class ClientData(SourceData):
    """Feeds every client its own batches.

    Args:
        recipe: The run's recipe.
        preprocess: What the model expects of its images.
        clients: The clients by name.
        steps: How many batches there are.
    """

    def __init__(self, recipe: Recipe, preprocess: Preprocess, clients: Mapping[str, Client], steps: int) -> None:
        super().__init__(recipe, preprocess, steps=steps)
        self.clients = clients

    def setup(self, stage: str = "fit") -> None:
        """Take over the clients' images; that some have no image of a class is their point."""
        for name, client in self.clients.items():
            self.domains[name] = client.domain
            self.train_part[name], self.validation_part[name] = client.training, client.validation

    def number(self, name: str) -> int:
        """Return the client's number."""
        return self.clients[name].number


class PooledImages:
    """The images of several domains, one domain behind the other.

    Args:
        parts: The images of every domain.
    """

    def __init__(self, parts: Sequence[Images]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    @property
    def decodes(self) -> bool:
        """Whether reading decodes files."""
        return any(part.decodes for part in self._parts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def prepare(self, positions: Positions) -> None:
        """Do now what would make the first reading of these images slow."""
        for part, inside, _ in self._inside(positions):
            part.prepare(inside)

    def missing_bytes(self, positions: Positions, unopened: bool = False) -> float:
        """Return the disk that `prepare` would take."""
        return sum(part.missing_bytes(inside, unopened) for part, inside, _ in self._inside(positions))

    def read(self, positions: Positions) -> Tensor | list[Tensor]:
        """Return images in the order of their positions."""
        found: dict[int, Tensor] = {}
        for part, inside, places in self._inside(positions):
            found |= dict(zip(places.tolist(), part.read(inside), strict=True))
        images = [found[place] for place in range(len(positions))]
        alike = bool(images) and len({image.shape for image in images}) == 1
        return torch.stack(images) if alike else images

    def _inside(self, positions: Positions) -> list[tuple[Images, Positions, NDArray[np.int64]]]:
        """Return every part that is asked for with the positions in it, and their places in the answer."""
        owners = np.searchsorted(self._ends, positions, side="right")
        found = []
        for number in np.unique(owners).tolist():
            places = np.flatnonzero(owners == number)
            start = 0 if number == 0 else int(self._ends[number - 1])
            found.append((self._parts[number], positions[places] - start, places))
        return found


class PooledDomain(Domain):
    """Several domains as one.

    Args:
        name: What it is called.
        domains: The domains.
    """

    _domains: list[Domain]

    def __init__(self, name: str, domains: Sequence[Domain]) -> None:
        super().__init__(
            name,
            PooledImages([one.training for one in domains]),
            PooledImages([one.evaluation for one in domains]),
            np.concatenate([one.labels for one in domains]),
            np.concatenate([one.clean_labels for one in domains]),
            domains[0].contents,
        )
        object.__setattr__(self, "_domains", list(domains))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """Return what identifies all of the images; the contents are those of the first domain alone."""
        return combined_fingerprint(self._domains)


def dirichlet_split(
    labels: NDArray[np.int64], count: int, alpha: float, minimum: int, seed: int
) -> list[NDArray[np.int64]]:
    """Split images among clients: of each class, client k gets the share p_k, p drawn from a Dirichlet distribution.

    Splits in which a client has fewer than `minimum` images are drawn again (https://arxiv.org/abs/1909.06335 draws
    the classes of each client; drawing the clients of each class, as here, uses every image).

    Args:
        labels: The class of every image.
        count: How many clients there are.
        alpha: The concentration, the same for all.
        minimum: Images that every client has at least.
        seed: The run's seed.

    Returns:
        The positions of every client's images, in ascending order.

    Raises:
        ConfigError: Hardly any draw gives every client that many.
    """
    classes = np.unique(labels).tolist()
    for draw in range(_DRAWS):
        generator = np.random.default_rng(seed_hash("clients", seed, draw))
        parts: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
        for label in classes:
            own = generator.permutation(np.flatnonzero(labels == label))
            shares = generator.dirichlet([alpha] * count)
            ends = np.round(np.cumsum(shares)[:-1] * len(own)).astype(np.int64)
            for part, given in zip(parts, np.split(own, ends), strict=True):
                part.append(given)
        found = [np.sort(np.concatenate(part)) for part in parts]
        if min(map(len, found)) >= minimum:
            return found
    raise ConfigError(
        f"No split by `dmm.clients.alpha` {alpha:g} of {len(labels)} images gives each of `dmm.clients.count` {count} "
        f"clients the {minimum} images of a batch, in {_DRAWS:,} draws; raise `alpha`, or lower `count` or "
        "`data.batch_size`."
    )


def client_names(config: ClientsConfig, sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the clients."""
    if config.by == "domain" and config.per_domain == 1:
        return tuple(sources)
    if config.by == "domain":
        return tuple(f"{name}-{number}" for name in sources for number in range(1, config.per_domain + 1))
    width = len(str(config.count))
    return tuple(f"client-{number:0{width}}" for number in range(1, config.count + 1))


def make_clients(recipe: Recipe, config: ClientsConfig, domains: Mapping[str, Domain]) -> dict[str, Client]:
    """Return the clients of a run.

    Args:
        recipe: The run's recipe.
        config: Who has which images.
        domains: The source domains.

    Raises:
        ConfigError: If clients have fewer images than a batch.
    """
    names = client_names(config, list(domains))
    if config.by == "domain":
        own = [client for domain in domains.values() for client in _own_clients(recipe, config.per_domain, domain)]
        return dict(zip(names, own, strict=True))
    pool, training, validation = _pooled(recipe, "clients", domains)
    parts = dirichlet_split(
        image_classes(pool.labels)[training], config.count, config.alpha, recipe.data.batch_size, recipe.seed
    )
    return {
        name: Client(pool, training[part], validation, _START_NUMBER + number)
        for number, (name, part) in enumerate(zip(names, parts, strict=True), start=1)
    }


def start_client(recipe: Recipe, per_class: int, domains: Mapping[str, Domain]) -> tuple[Recipe, dict[str, Client]]:
    """Return the one client that the common start is trained by, and the recipe with batches that it can fill."""
    few = []
    for name, domain in domains.items():
        train, index = training_part(recipe, domain), benchmark_of(recipe).domains.index(name)
        few.append(train[draw_per_class(image_classes(domain.labels)[train], per_class, recipe.seed, index, START)])
    pool, _, validation = _pooled(recipe, START, domains)
    training = _shifted(domains, few)
    size = min(recipe.data.batch_size, len(training))
    client = Client(pool, training, validation, _START_NUMBER)
    return replace(recipe, data=replace(recipe.data, batch_size=size)), {START: client}


def _own_clients(recipe: Recipe, count: int, domain: Domain) -> list[Client]:
    """Return the clients that share one domain: its training images at random, and its hold-out set."""
    training, validation = training_part(recipe, domain), split_domain(recipe, domain)[1]
    number = benchmark_of(recipe).domains.index(domain.name)
    if count == 1:
        return [Client(domain, training, validation, number)]
    if len(training) < count * recipe.data.batch_size:
        raise ConfigError(
            f"`dmm.clients.per_domain` {count} clients share {len(training)} images of the domain `{domain.name}`, "
            f"fewer than the {recipe.data.batch_size} of a batch each; lower it, or `data.batch_size`."
        )
    mixed = np.random.default_rng(seed_hash("clients", domain.name, recipe.seed)).permutation(training)
    first = _START_NUMBER + 1 + number * count
    return [Client(domain, part, validation, first + place) for place, part in enumerate(np.array_split(mixed, count))]


def _pooled(recipe: Recipe, name: str, domains: Mapping[str, Domain]) -> tuple[PooledDomain, Indices, Indices]:
    """Return all domains as one, and the positions of their training and validation parts in it."""
    training = _shifted(domains, [training_part(recipe, one) for one in domains.values()])
    validation = _shifted(domains, [split_domain(recipe, one)[1] for one in domains.values()])
    # Where only some of the validation images are looked at, they are of all domains.
    mixed = np.random.default_rng(seed_hash("validation", recipe.seed)).permutation(validation)
    return PooledDomain(name, list(domains.values())), training, mixed


def _shifted(domains: Mapping[str, Domain], positions: Sequence[Indices]) -> Indices:
    """Return positions in each domain as positions in all of them, one behind the other."""
    starts = np.cumsum([0, *(len(domain) for domain in domains.values())])
    return np.concatenate([own + start for own, start in zip(positions, starts, strict=False)])
