from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from hamdg.algorithms.dmm.clients import PooledDomain, PooledImages, client_names, dirichlet_split, make_clients
from hamdg.config.algorithms.dmm import ClientsConfig
from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.domain import combined_fingerprint, from_arrays
from hamdg.data.images import ArrayImages
from hamdg.errors import ConfigError
from hamdg.mini import DomainArrays

LABELS = np.repeat(np.arange(4), 50)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0, 1e4])
def test_a_split_gives_every_image_once(alpha: float) -> None:
    parts = dirichlet_split(LABELS, 3, alpha, 8, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert min(map(len, parts)) >= 8


def spread(alpha: float, seed: int) -> float:
    """Return the mean, over clients, of the share of a client's most frequent class."""
    parts = dirichlet_split(LABELS, 3, alpha, 8, seed)
    return float(np.mean([np.bincount(LABELS[part]).max() / len(part) for part in parts]))


def test_the_concentration_says_how_alike_clients_are() -> None:
    means = [np.mean([spread(alpha, seed) for seed in range(5)]) for alpha in (0.01, 1.0, 1e6)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.6
    assert means[2] == pytest.approx(0.25, abs=0.01)


def test_a_split_is_the_seeds() -> None:
    first, again, other = (dirichlet_split(LABELS, 3, 0.5, 8, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_split_that_leaves_a_client_without_images_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        dirichlet_split(LABELS, 9, 0.01, 16, seed=0)
    assert str(caught.value) == (
        "No split by `dmm.clients.alpha` 0.01 of 200 images gives each of `dmm.clients.count` 9 clients the 16 images "
        "of a batch, in 1,000 draws; raise `alpha`, or lower `count` or `data.batch_size`."
    )


def test_clients_have_names() -> None:
    assert client_names(ClientsConfig(), ["b", "a"]) == ("b", "a")
    assert client_names(ClientsConfig(by="dirichlet", count=3), ["a"]) == ("client-1", "client-2", "client-3")
    assert client_names(ClientsConfig(by="dirichlet", count=10), ["a"])[::9] == ("client-01", "client-10")
    assert client_names(ClientsConfig(per_domain=2), ["b", "a"]) == ("b-1", "b-2", "a-1", "a-2")


def test_clients_share_the_images_of_a_domain() -> None:
    labels = np.repeat(np.arange(5), 10)
    domains = {
        name: from_arrays(DomainArrays(name, np.zeros((50, 2, 2, 3), np.uint8), labels, labels))
        for name in ("photo", "sketch")
    }
    recipe = Recipe(benchmark="mini", held_out="cartoon", data=DataConfig(batch_size=8))
    whole = make_clients(recipe, ClientsConfig(), domains)
    found = make_clients(recipe, ClientsConfig(per_domain=3), domains)
    assert list(found) == ["photo-1", "photo-2", "photo-3", "sketch-1", "sketch-2", "sketch-3"]
    assert len({client.number for client in found.values()}) == 6
    for name in domains:
        parts = [client for key, client in found.items() if key.startswith(name)]
        assert [len(part.training) for part in parts] == [14, 13, 13]
        assert sorted(np.concatenate([part.training for part in parts])) == sorted(whole[name].training)
        assert all(np.array_equal(part.validation, whole[name].validation) for part in parts)
    with pytest.raises(ConfigError) as caught:
        make_clients(recipe, ClientsConfig(per_domain=6), domains)
    assert str(caught.value) == (
        "`dmm.clients.per_domain` 6 clients share 40 images of the domain `photo`, fewer than the 8 of a batch each; "
        "lower it, or `data.batch_size`."
    )


def pixels(count: int, first: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)


def values(images: Tensor | list[Tensor] | Sequence[Tensor]) -> list[int]:
    return [int(one.flatten()[0]) for one in images]


def test_pooled_images_come_in_the_order_that_was_asked_for() -> None:
    pooled = PooledImages([ArrayImages(pixels(3, 0)), ArrayImages(pixels(2, 10)), ArrayImages(pixels(4, 20))])
    assert len(pooled) == 9
    assert not pooled.decodes
    found = pooled.read(np.array([8, 0, 4, 3, 2, 4]))
    assert isinstance(found, Tensor)
    assert found.shape == (6, 1, 1, 3)
    assert values(found) == [23, 0, 11, 10, 2, 11]
    assert values(pooled.read(np.arange(9))) == [0, 1, 2, 10, 11, 20, 21, 22, 23]
    assert pooled.missing_bytes(np.arange(9)) == 0
    pooled.prepare(np.arange(9))


class Uneven(ArrayImages):
    """Images of sizes of their own, as training sees files that it crops."""

    def read(self, positions: np.ndarray) -> list[Tensor]:  # type: ignore[override]
        return [torch.zeros(2 + int(position), 2, 3, dtype=torch.uint8) for position in positions]


def test_pooled_images_of_several_sizes_are_a_list() -> None:
    pooled = PooledImages([Uneven(pixels(2, 0)), Uneven(pixels(2, 0))])
    found = pooled.read(np.array([3, 0]))
    assert isinstance(found, list)
    assert [tuple(one.shape) for one in found] == [(3, 2, 3), (2, 2, 3)]


def test_a_pooled_domain_is_all_of_its_domains() -> None:
    parts = [
        from_arrays(DomainArrays(name, pixels(2, first), np.array([0, first]), np.array([1, first])))
        for name, first in (("a", 3), ("b", 7))
    ]
    pooled = PooledDomain("both", parts)
    assert (pooled.name, len(pooled)) == ("both", 4)
    assert pooled.labels.tolist() == [0, 3, 0, 7]
    assert pooled.clean_labels.tolist() == [1, 3, 1, 7]
    assert values(pooled.evaluation.read(np.array([2, 1]))) == [7, 4]
    assert pooled.fingerprint == combined_fingerprint(parts)
