from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hamdg.algorithms.ham.harmonization import (
    combine,
    cosine_penalty,
    cosines,
    gram,
    l2_penalty,
    pcgrad,
    project,
    sign_consensus,
)

Vector = NDArray[np.float64]


def random_vectors(count: int, seed: int, size: int = 12) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    shared = torch.randn(size, generator=draws)
    return [shared * torch.randn(1, generator=draws) + torch.randn(size, generator=draws) for _ in range(count)]


def pcgrad_by_vectors(vectors: list[Vector], orders: list[list[int]]) -> list[Vector]:
    """Gradient surgery on the vectors themselves, as in the paper's algorithm, without the sum at the end."""
    results = []
    for own, order in zip(vectors, orders, strict=True):
        moved = own.copy()
        for j in order:
            overlap = float(np.dot(moved, vectors[j]))
            if overlap < 0:
                moved = moved - overlap / float(np.dot(vectors[j], vectors[j])) * vectors[j]
        results.append(moved)
    return results


def test_pcgrad_by_hand() -> None:
    vectors = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])]
    first, second = combine(vectors, pcgrad(gram(vectors), [[1], [0]]))

    assert first.tolist() == [0.5, 0.5]
    assert second.tolist() == [0.0, 1.0]
    assert float(first @ vectors[1]) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_pcgrad_equals_surgery_on_the_vectors(count: int, seed: int) -> None:
    vectors = random_vectors(count, seed)
    rng = np.random.default_rng(seed)
    orders = [[int(j) for j in rng.permutation(count) if j != i] for i in range(count)]
    found = combine(vectors, pcgrad(gram(vectors), orders))

    expected = pcgrad_by_vectors([vector.double().numpy() for vector in vectors], orders)
    for own, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(own.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_pcgrad_leaves_agreeing_and_zero_vectors_alone() -> None:
    vectors = [torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), torch.zeros(2)]

    assert torch.equal(pcgrad(gram(vectors), [[1, 2], [2, 0], [0, 1]]), torch.eye(3, dtype=torch.float64))


def test_project_by_hand() -> None:
    vectors = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])]
    first, second = combine(vectors, project(gram(vectors), [[1], [0]]))

    # PCGrad leaves (1/2, 1/2) and (0, 1); their lengths become 1 and the root of 2 again.
    torch.testing.assert_close(first, torch.tensor([math.sqrt(0.5), math.sqrt(0.5)]))
    torch.testing.assert_close(second, torch.tensor([0.0, math.sqrt(2.0)]))


def test_project_by_hand_with_three_vectors() -> None:
    # The first one conflicts with the third alone, which it loses: (3, 4) + 3 (-1, 0) = (0, 4), of length 5 again.
    vectors = [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 0.0])]
    found = combine(vectors, project(gram(vectors), [[1, 2], [0, 2], [0, 1]]))

    torch.testing.assert_close(found[0], torch.tensor([0.0, 5.0]))
    torch.testing.assert_close(found[1], vectors[1])
    # (-1, 0) loses its projection -3/25 (3, 4) on the first: (-16, 12) / 25, of length 4/5, and 1 again.
    torch.testing.assert_close(found[2], torch.tensor([-0.8, 0.6]))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_project_keeps_every_length_and_the_directions_of_pcgrad(count: int, seed: int) -> None:
    vectors = random_vectors(count, seed)
    orders = [[j for j in range(count) if j != i] for i in range(count)]
    surgery = pcgrad_by_vectors([vector.double().numpy() for vector in vectors], orders)

    for own, cut, found in zip(vectors, surgery, combine(vectors, project(gram(vectors), orders)), strict=True):
        if np.linalg.norm(cut) > 0.05 * float(own.norm()):
            assert float(found.norm()) == pytest.approx(float(own.norm()), rel=1e-3)
            np.testing.assert_allclose(found / found.norm(), cut / np.linalg.norm(cut), atol=1e-2)


def test_project_leaves_agreeing_vectors_alone_and_nothing_of_opposite_ones() -> None:
    agreeing = [torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), torch.zeros(2)]
    kept = combine(agreeing, project(gram(agreeing), [[1, 2], [2, 0], [0, 1]]))
    assert all(torch.equal(*pair) for pair in zip(kept, agreeing, strict=True))

    opposite = [torch.tensor([0.1, -0.7]), torch.tensor([-0.3, 2.1])]
    for gone in combine(opposite, project(gram(opposite), [[1], [0]])):
        assert gone.tolist() == [0, 0]


def penalty_gradients(vectors: list[Tensor], kind: str) -> list[Tensor]:
    """The gradient of the stated loss by autograd, in float64, with the mean as a constant."""
    moved = [vector.double().requires_grad_() for vector in vectors]
    mean = torch.stack([m.detach() for m in moved]).mean(dim=0)
    if kind == "cosine":
        terms = [1 - torch.nn.functional.cosine_similarity(m, mean, dim=0) for m in moved]
    else:
        terms = [(m - mean).square().sum() / 2 for m in moved]
    return list(torch.autograd.grad(torch.stack(terms).sum(), moved))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_penalty_coefficients_are_the_gradient_of_the_stated_loss(kind: str, count: int) -> None:
    vectors = random_vectors(count, seed=count)
    coefficients = cosine_penalty(gram(vectors)) if kind == "cosine" else l2_penalty(count)

    for found, wanted in zip(combine(vectors, coefficients), penalty_gradients(vectors, kind), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_a_step_down_the_cosine_penalty_raises_the_cosines() -> None:
    vectors = random_vectors(3, seed=5)
    pulls = combine(vectors, cosine_penalty(gram(vectors)))
    after = [vector - 0.1 * pull for vector, pull in zip(vectors, pulls, strict=True)]

    assert cosines(gram(after)).sum() > cosines(gram(vectors)).sum()


def test_vectors_without_a_direction_are_not_pulled() -> None:
    still = [torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])]
    antipodal = [torch.tensor([1.0, -2.0]), torch.tensor([-1.0, 2.0])]

    assert cosine_penalty(gram(still))[0].tolist() == [0, 0, 0]
    assert cosine_penalty(gram(still))[1].abs().sum() > 0
    for vectors in (antipodal, [torch.zeros(2), torch.zeros(2)]):
        assert cosine_penalty(gram(vectors)).tolist() == [[0, 0], [0, 0]]


def test_cosines_by_hand() -> None:
    vectors = [torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]), torch.zeros(2), torch.tensor([-2.0, 0.0])]
    half = math.sqrt(0.5)
    expected = [[1, half, 0, -1], [half, 1, 0, -half], [0, 0, 0, 0], [-1, -half, 0, 1]]

    torch.testing.assert_close(cosines(gram(vectors)), torch.tensor(expected, dtype=torch.float64))


def sign_consensus_by_loops(rows: list[list[float]], scale: float) -> list[list[float]]:
    result = [list(row) for row in rows]
    for k in range(len(rows[0])):
        total = sum(row[k] for row in rows)
        for i, row in enumerate(rows):
            if (row[k] > 0 > total) or (row[k] < 0 < total):
                result[i][k] = row[k] * scale
    return result


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_sign_consensus_equals_loops(scale: float) -> None:
    vectors = random_vectors(3, seed=1)
    vectors[1][4] = 0.0
    found = sign_consensus([vector.view(3, 4) for vector in vectors], scale)

    expected = sign_consensus_by_loops([vector.tolist() for vector in vectors], scale)
    assert [update.shape for update in found] == [(3, 4)] * 3
    torch.testing.assert_close(torch.stack(found).flatten(1), torch.tensor(expected))


def test_sign_consensus_by_hand() -> None:
    vectors = [torch.tensor([1.0, -1.0, 2.0, 0.0]), torch.tensor([-3.0, -2.0, -2.0, 1.0])]
    before = [vector.clone() for vector in vectors]

    assert [v.tolist() for v in sign_consensus(vectors, 0.0)] == [[0, -1, 2, 0], [-3, -2, -2, 1]]
    assert [v.tolist() for v in sign_consensus(vectors, 0.25)] == [[0.25, -1, 2, 0], [-3, -2, -2, 1]]
    assert all(torch.equal(*pair) for pair in zip(vectors, before, strict=True))


def rules(vectors: list[Tensor]) -> dict[str, list[Tensor]]:
    """All rules on the same vectors; PCGrad visits the others by their length, which no renaming changes."""
    lengths = [float(vector.norm()) for vector in vectors]
    ranks = sorted(range(len(vectors)), key=lambda i: lengths[i])
    orders = [[j for j in ranks if j != i] for i in range(len(vectors))]
    return {
        "pcgrad": combine(vectors, pcgrad(gram(vectors), orders)),
        "project": combine(vectors, project(gram(vectors), orders)),
        "cosine": combine(vectors, cosine_penalty(gram(vectors))),
        "l2": combine(vectors, l2_penalty(len(vectors))),
        "sign_consensus": sign_consensus(vectors, 0.0),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_sources_does_not_matter(order: tuple[int, ...]) -> None:
    vectors = random_vectors(3, seed=7)
    straight, permuted = rules(vectors), rules([vectors[i] for i in order])

    for name, found in permuted.items():
        for k, i in enumerate(order):
            torch.testing.assert_close(found[k], straight[name][i], rtol=1e-4, atol=1e-5)


def test_identical_vectors_are_a_fixed_point() -> None:
    one = random_vectors(1, seed=2)[0]
    found = rules([one, one.clone(), one.clone()])

    for kept in (*found["pcgrad"], *found["sign_consensus"]):
        assert torch.equal(kept, one)
    for pull in (*found["cosine"], *found["l2"]):
        torch.testing.assert_close(pull, torch.zeros_like(one), rtol=0, atol=1e-6)
