"""Labels that look wrong: thresholds and shares by hand, planted errors, swapped classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hamdg.conflicts import labels as wrong

CLASSES = 3


def clusters(seed: int, per_class: int = 20) -> tuple[Tensor, Tensor]:
    """Return features of three well separated classes around a mean of their own, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(per_class)
    noise = 0.1 * torch.randn(len(labels), CLASSES, generator=generator, dtype=torch.float64)
    return torch.eye(CLASSES, dtype=torch.float64)[labels] + noise + seed, labels


def test_features_are_centered_by_source() -> None:
    found = wrong.centered({"a": (torch.tensor([[5.0, 1.0], [5.0, 5.0]]), torch.tensor([0, 1]))})
    assert found["a"][0].tolist() == [[0.0, -1.0], [0.0, 1.0]]


def test_confident_classes_by_hand() -> None:
    labels = torch.tensor([0] * 5 + [1] * 5)
    first = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.1, 0.2, 0.2, 0.2, 0.2, 0.7], dtype=torch.float64)
    # Thresholds: (4 * 0.9 + 0.1) / 5 = 0.74 and (4 * 0.8 + 0.3) / 5 = 0.70. The last image is above neither.
    confident = wrong.confident_classes(torch.stack([first, 1 - first], dim=1), labels)
    assert confident.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, -1]
    # One of five confident labels 0 is class 1, none of four labels 1 is class 0: (5 * 1/5 + 5 * 0) / 10.
    assert wrong.wrong_share(confident, labels, 2) == pytest.approx(0.1)


def test_classes_of_few_images_are_not_judged() -> None:
    labels = torch.tensor([0] * 6 + [1] * 4)
    probabilities = torch.tensor([[0.0, 1.0]] * 10, dtype=torch.float64)
    assert 1 not in wrong.confident_classes(probabilities, labels).tolist()


def test_classes_of_few_images_do_not_count_as_wrong() -> None:
    labels = torch.tensor([0] * 8 + [1] * 8 + [2] * 4)
    confident = torch.tensor([0] * 7 + [1] + [1] * 8 + [0, 1, 0, -1])
    # One of the 16 images of the first two classes; the four of the third would be wrong by themselves.
    assert wrong.wrong_share(confident, labels, 3) == pytest.approx(1 / 16)
    assert wrong.wrong_share(confident[16:], labels[16:], 3) == 0


def test_planted_errors_are_found_and_nothing_else() -> None:
    features, labels = clusters(0)
    planted = {3: 1, 10: 2, 35: 0}
    given = labels.clone()
    for place, other in planted.items():
        given[place] = other
    found = wrong.suspects(features, given, CLASSES, seed=0)
    assert {(one.place, one.given, one.suggested) for one in found.found} == {
        (place, other, int(labels[place])) for place, other in planted.items()
    }
    assert found.accuracy == pytest.approx(1 - 3 / 60)
    assert found.share == pytest.approx(3 / 60, abs=0.01)
    margins = [one.probability - one.of_suggested for one in found.found]
    assert margins == sorted(margins)


def test_clean_labels_are_left_alone() -> None:
    found = wrong.suspects(*clusters(0), CLASSES, seed=0)
    assert (found.found, found.share, found.accuracy) == ([], 0.0, 1.0)


def test_probabilities_come_from_probes_that_did_not_see_the_image() -> None:
    # Labels that nothing tells apart: a probe that had seen an image would know its label better than chance.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 60, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (60,), generator=generator)
    probabilities = wrong.cross_fitted(features, labels, 2, seed=0)
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1.0] * 60)
    assert (probabilities.argmax(dim=1) == labels).double().mean() < 0.7


def test_labels_swapped_in_one_source_contradict_the_others() -> None:
    found = {name: clusters(seed) for seed, name in enumerate("abc")}
    features, labels = found["b"]
    found["b"] = features, torch.tensor([1, 0, 2])[labels]
    centered = wrong.centered(found)
    tables = wrong.taken_for(centered, CLASSES)
    assert tables["b"].tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    # The others are judged by two probes, of which one was fitted to the swapped labels: half of the images each.
    assert tables["a"][0].tolist() == [0.5, 0.5, 0.0]
    assert wrong.contradictions(tables, centered) == [
        wrong.Contradiction("b", 0, 1, 1.0, 0.0, mutual=True),
        wrong.Contradiction("b", 1, 0, 1.0, 0.0, mutual=True),
    ]


@pytest.mark.parametrize("own", [0.95, 0.4])
def test_a_probe_that_takes_most_classes_for_one_is_no_contradiction(own: float) -> None:
    labels = torch.arange(CLASSES).repeat(20)
    table = torch.tensor([[0.1, 0.9, 0.0], [1 - own, own, 0.0], [0.0, 0.8, 0.2]], dtype=torch.float64)
    assert wrong.contradictions({"a": table}, {"a": (torch.empty(60, 2), labels)}) == []


@pytest.mark.parametrize(
    ("share", "rival", "contradicts"),
    [
        # Its own: 2 s - 1 > 2 sqrt((1 - (2 s - 1)^2) / 16) = sqrt(s (1 - s)), from (5 + sqrt(5)) / 10 = 0.7236 on.
        (0.72, 0.1, False),
        (0.73, 0.1, True),
        # The rival's: 0.8 - 0.5 = 0.3 < 2 sqrt((0.16 + 0.25) / 16) = 0.3202; 0.8 - 0.46 = 0.34 > 0.3195.
        (0.8, 0.5, False),
        (0.8, 0.46, True),
    ],
)
def test_a_contradiction_needs_more_than_chance(share: float, rival: float, contradicts: bool) -> None:
    table = torch.tensor([[1 - share, share], [1 - rival, rival]], dtype=torch.float64)
    found = wrong.contradictions({"a": table}, {"a": (torch.empty(32, 2), torch.arange(2).repeat(16))})
    assert ((0, 1) in [(one.given, one.looks_like) for one in found]) is contradicts
