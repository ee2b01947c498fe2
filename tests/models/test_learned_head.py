from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.errors import DataError, WeightsError
from hamdg.merge.tensors import sha256_tensor
from hamdg.models.learned_head import (
    L2,
    digest,
    learn_head,
    learn_layer,
    linear_probe,
    read_head,
    rows_layer,
    source_means,
    write_head,
)
from hamdg.models.logistic import Linear

CLASSES = ["circle", "cross", "square"]
SCALE = 15.0


def features(seed: int, labels: list[int]) -> tuple[Tensor, Tensor]:
    """Return features of length 1 that lie around their class's own."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.eye(3, 5) + 1.0
    noise = 0.4 * torch.randn(len(labels), 5, generator=generator)
    return normalize(centers[labels] + noise, dim=-1), torch.tensor(labels)


FOUND = {"ink": features(0, [0, 1, 2, 0, 1, 2, 2, 2]), "paint": features(1, [0, 0, 1, 1, 1])}


def repeated(times: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the same features, those of one domain several times."""
    return FOUND | {"ink": (FOUND["ink"][0].repeat(times, 1), FOUND["ink"][1].repeat(times))}


def test_source_means_equal_a_slow_reference() -> None:
    expected = []
    for label in range(3):
        means = []
        for own, labels in FOUND.values():
            chosen = [x.double().numpy() for x, y in zip(own, labels.tolist(), strict=True) if y == label]
            if chosen:
                means.append(sum(chosen) / len(chosen))
        mean = sum(means) / len(means)
        expected.append(mean / np.linalg.norm(mean))
    torch.testing.assert_close(source_means(FOUND, 3), torch.from_numpy(np.array(expected)).float())


def test_source_means_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = {"a": (x, torch.tensor([0, 0, 0, 1])), "b": (x[1:2], torch.tensor([0]))}
    # Class 0: (2/3, 1/3) in `a`, (0, 1) in `b`; class 1: in `a` alone.
    torch.testing.assert_close(source_means(found, 2), torch.tensor([[1 / 5**0.5, 2 / 5**0.5], [0.0, 1.0]]))


def gradient(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gradient of the probe's objective, image by image."""
    total = L2 * weight
    for own, labels in FOUND.values():
        for x, y in zip(own.double().numpy(), labels.tolist(), strict=True):
            logits = weight @ x
            shares = np.exp(logits - logits.max())
            shares /= shares.sum()
            shares[y] -= 1
            total = total + np.outer(shares, x) / len(labels) / len(FOUND)
    return total


def test_the_linear_probe_is_where_the_gradient_of_its_convex_objective_vanishes() -> None:
    weight = linear_probe(FOUND, 3, SCALE).double().numpy() * SCALE
    # The fit is exact; what is left is fp32's rounding of the result.
    assert np.abs(gradient(weight)).max() < 1e-6
    assert np.abs(gradient(weight * 1.01)).max() > 1e-5
    assert np.abs(gradient(np.zeros_like(weight))).max() > 1e-2


def test_a_frequent_class_counts_no_more_than_a_rare_one_where_classes_are_balanced() -> None:
    # In `ink` the last class is three times as frequent: repeating it changes what is fitted where domains count alike.
    x, labels = FOUND["ink"]
    rare = torch.cat([torch.nonzero(labels != 2).flatten(), torch.nonzero(labels == 2).flatten().repeat(3)])
    frequent = FOUND | {"ink": (x[rare], labels[rare])}
    balanced, plain = linear_probe(FOUND, 3, SCALE, "classes"), linear_probe(FOUND, 3, SCALE)
    torch.testing.assert_close(linear_probe(frequent, 3, SCALE, "classes"), balanced, rtol=1e-4, atol=1e-5)
    assert (linear_probe(frequent, 3, SCALE) - plain).abs().max() > 1e-2


def test_balanced_classes_are_the_same_as_equally_frequent_ones() -> None:
    # By hand: two images of one class and one of the other weigh as much as with the single one twice.
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = {"a": (x, torch.tensor([0, 0, 1]))}
    even = {"a": (x[[0, 1, 2, 2]], torch.tensor([0, 0, 1, 1]))}
    torch.testing.assert_close(linear_probe(found, 2, 1.0, "classes"), linear_probe(even, 2, 1.0), rtol=1e-4, atol=1e-5)


def test_logits_are_the_probes_whatever_the_scale() -> None:
    torch.testing.assert_close(SCALE * linear_probe(FOUND, 3, SCALE), 100.0 * linear_probe(FOUND, 3, 100.0))


def test_a_large_domain_counts_no_more_than_a_small_one() -> None:
    torch.testing.assert_close(source_means(repeated(7), 3), source_means(FOUND, 3))
    torch.testing.assert_close(linear_probe(repeated(7), 3, SCALE), linear_probe(FOUND, 3, SCALE), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["source_means", "linear_probe"])
def test_heads_tell_their_own_images_apart_and_repeat_to_the_bit(kind: str) -> None:
    head = learn_head(kind, FOUND, CLASSES, SCALE)  # type: ignore[arg-type]
    assert head.dtype == torch.float32
    assert not head.requires_grad
    right = [(own @ head.T).argmax(dim=1) == labels for own, labels in FOUND.values()]
    assert float(torch.cat(right).double().mean()) > 0.75
    assert sha256_tensor(head) == sha256_tensor(learn_head(kind, FOUND, CLASSES, SCALE))  # type: ignore[arg-type]


def test_a_class_without_an_image_in_any_domain() -> None:
    message = (
        "No source domain has a training image of the class `star`, so that `model.text_head` of `source_means` cannot "
        "learn it. Add images, leave the class out everywhere, or use `prompts`."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        learn_head("source_means", FOUND, [*CLASSES, "star"], SCALE)


def test_classes_whose_images_look_the_same() -> None:
    own, labels = FOUND["ink"]
    same = {"ink": (own[labels == 0].repeat(2, 1), torch.tensor([0, 0, 1, 1]))}
    for kind in ("source_means", "linear_probe"):
        with pytest.raises(
            DataError, match=f"`{kind}` gives the classes `circle`, `cross` the same features: their images"
        ):
            learn_head(kind, same, CLASSES[:2], SCALE)


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "class_features.safetensors"
    head = source_means(FOUND, 3)
    write_head(path, Linear(head), "source_means", CLASSES, SCALE)
    assert torch.equal(read_head(path).weight, head)
    assert read_head(path).bias is None
    assert digest(Linear(head)) == sha256_tensor(head)
    for damage in (b"", path.read_bytes()[:-4]):
        path.write_bytes(damage)
        with pytest.raises(
            WeightsError, match=r"which training began with, are missing or damaged; repeat the run with"
        ):
            read_head(path)


@pytest.mark.parametrize("kind", ["source_means", "linear_probe"])
def test_a_linear_layer_gives_features_of_any_length_the_scores_of_class_features(
    kind: Literal["source_means", "linear_probe"],
) -> None:
    x, labels = FOUND["ink"]
    longer = {name: (7 * own, given) for name, (own, given) in FOUND.items()}
    layer, head = learn_layer(kind, longer, CLASSES), learn_head(kind, FOUND, CLASSES, 1.0)
    torch.testing.assert_close(7 * x @ layer.T, (100.0 if kind == "source_means" else 1.0) * x @ head.T)
    assert (7 * x @ layer.T).argmax(dim=1).eq(labels).float().mean() >= 0.75


def test_class_rows_by_hand() -> None:
    # The means of the sources and of all rows are (1, 1); what is left of the classes' rows is (3, 1) and (-1, 3).
    found = {
        "a": (torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0])),
        "b": (torch.tensor([[1.0, 2.0]]), torch.tensor([1])),
    }
    rows = torch.tensor([[5.0, 2.0], [3.0, 2.0], [0.0, 4.0], [-4.0, -4.0]])
    layer = rows_layer(found, rows, [[0, 1], [2]])
    assert layer.bias is not None
    weight = torch.tensor([[3.0, 1.0], [-1.0, 3.0]])
    torch.testing.assert_close(layer.weight, weight)
    torch.testing.assert_close(layer.bias, -weight @ torch.ones(2))


def test_class_rows_choose_the_largest_cosine_of_centered_features_and_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 5, generator=generator)
    chosen = [[0, 4], [2], [5, 7, 8]]
    layer = rows_layer(FOUND, rows, chosen)
    mean = sum(x.numpy().mean(axis=0) for x, _ in FOUND.values()) / len(FOUND)
    for x in FOUND["paint"][0].numpy():
        cosines = []
        for numbers in chosen:
            own = sum(rows[number].numpy() - rows.numpy().mean(axis=0) for number in numbers)
            cosines.append(own @ (x - mean) / np.linalg.norm(own) / np.linalg.norm(x - mean))
        assert int(layer.scores(torch.from_numpy(x)).argmax()) == int(np.argmax(cosines))


def test_a_bias_is_kept_and_is_part_of_the_digest(tmp_path: Path) -> None:
    path, layer = tmp_path / "class_features.safetensors", Linear(torch.eye(3, 5), torch.arange(3.0))
    write_head(path, layer, "class_rows", CLASSES, 1.0)
    found = read_head(path)
    assert found.bias is not None
    assert torch.equal(found.bias, torch.arange(3.0))
    assert digest(found) == digest(layer) != digest(Linear(layer.weight, torch.ones(3)))
