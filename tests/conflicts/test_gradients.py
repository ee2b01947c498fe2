"""Agreement of gradients: those of a linear network by hand, cosines of vectors that are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hamdg.conflicts.gradients import WHOLE, Agreement, agreement, mean_gradient
from hamdg.models.network import Network


class Linear(Network):
    """Scores of two classes, zero at the start, of two numbers; and a parameter without a say."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.head = nn.Linear(2, 2, bias=False)
        self.unused = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def features(self, images: Tensor) -> Tensor:
        return images

    def scores(self, features: Tensor) -> Tensor:
        return self.head(features)  # type: ignore[no-any-return]


IMAGES = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0]])
LABELS = torch.tensor([0, 0, 1])


def test_the_gradient_of_a_linear_network_by_hand() -> None:
    # With scores of zero each class has the probability 1/2: row k is the mean of (1/2 - [label is k]) times the image.
    found = mean_gradient(Linear(), cross_entropy, [(IMAGES[:2], LABELS[:2]), (IMAGES[2:], LABELS[2:])])
    first = [(-0.5 * 1 - 0.5 * 3 + 0.5 * 0) / 3, (-0.5 * 0 - 0.5 * 2 + 0.5 * 4) / 3]
    torch.testing.assert_close(found["head.weight"], torch.tensor([first, [-first[0], -first[1]]]))
    assert found["unused.weight"].tolist() == [[0.0]]


def test_batches_of_other_sizes_give_the_same_mean() -> None:
    whole = mean_gradient(Linear(), cross_entropy, [(IMAGES, LABELS)])
    parts = mean_gradient(Linear(), cross_entropy, [(IMAGES[:2], LABELS[:2]), (IMAGES[2:], LABELS[2:])])
    torch.testing.assert_close(whole["head.weight"], parts["head.weight"])


def measured(*sources: tuple[list[float], list[float]], head: str = "") -> Agreement:
    """Return the agreement of sources whose halves have these gradients of one tensor."""
    names = "abc"[: len(sources)]
    halves = {
        name: ({"conv1.weight": torch.tensor(first)}, {"conv1.weight": torch.tensor(second)})
        for name, (first, second) in zip(names, sources, strict=True)
    }
    return agreement(halves, dict.fromkeys(names, 2), ["conv1"], head)


def test_identical_halves_have_a_floor_of_one_and_orthogonal_sources_a_cosine_of_zero() -> None:
    found = measured(([1.0, 0.0], [1.0, 0.0]), ([0.0, 2.0], [0.0, 2.0]))
    assert found.floors == {"a": {"conv1": 1.0, WHOLE: 1.0}, "b": {"conv1": 1.0, WHOLE: 1.0}}
    pair = found.pairs["a", "b"][WHOLE]
    assert (pair.cosine, pair.floors, pair.corrected, pair.noisy) == (0.0, (1.0, 1.0), 0.0, False)


def test_swapped_labels_give_opposite_gradients() -> None:
    own, swapped = (mean_gradient(Linear(), cross_entropy, [(IMAGES, labels)]) for labels in (LABELS, 1 - LABELS))
    found = agreement({"a": (own, own), "b": (swapped, swapped)}, {"a": 6, "b": 6})
    assert found.pairs["a", "b"][WHOLE].cosine == pytest.approx(-1.0)
    assert found.pairs["a", "b"]["unused"].cosine is None


def test_noise_is_corrected_for() -> None:
    # The same signal (2) and noise of length 1 in another direction in each half: all cosines are 4/5.
    noisy = ([2.0, 1, 0, 0, 0], [2.0, 0, 1, 0, 0]), ([2.0, 0, 0, 1, 0], [2.0, 0, 0, 0, 1])
    pair = measured(*noisy).pairs["a", "b"][WHOLE]
    assert pair.cosine == pytest.approx(0.8)
    assert pair.floors == pytest.approx((0.8, 0.8))
    assert pair.corrected == pytest.approx(1.0)


def test_where_noise_dominates_that_is_said_and_nothing_is_divided_by_nearly_zero() -> None:
    pair = measured(([1.0, 3.0], [1.0, -0.3]), ([1.0, 0.0], [1.0, 0.0])).pairs["a", "b"]["conv1"]
    first, second = pair.floors
    assert first == pytest.approx(0.1 / (10 * 1.09) ** 0.5)
    assert second == pytest.approx(1.0)
    assert pair.noisy
    assert pair.corrected is None


def test_the_head_is_left_out_of_the_whole() -> None:
    halves = {
        name: ({"conv1.weight": torch.tensor([1.0]), "fc.weight": torch.tensor([sign])},) * 2
        for name, sign in (("a", 9.0), ("b", -9.0))
    }
    found = agreement(halves, {"a": 2, "b": 2}, ["conv1", "fc"], "fc.")
    assert {layer: one.cosine for layer, one in found.pairs["a", "b"].items()} == {"conv1": 1.0, "fc": -1.0, WHOLE: 1.0}
    assert (found.layers, found.head) == (["conv1", "fc"], "fc")


def test_layers_stand_by_depth_and_pairs_by_source() -> None:
    halves = {name: ({"b.weight": torch.ones(1), "a.weight": torch.ones(1)},) * 2 for name in ("x", "y", "z")}
    found = agreement(halves, {"x": 2, "y": 2, "z": 2}, ["a", "b"])
    assert found.layers == ["a", "b"]
    assert list(found.pairs) == [("x", "y"), ("x", "z"), ("y", "z")]
