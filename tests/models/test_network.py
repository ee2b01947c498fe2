"""A network's weights: plain names, adapters folded, statistics that move or do not."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hamdg.config.recipe import ModelConfig
from hamdg.data.preprocess import Preprocess
from hamdg.errors import WeightsError
from hamdg.merge.files import load_tensors, read_metadata
from hamdg.models.clip import load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.network import Network, frozen

CONF = Path(__file__).parents[1] / "conf"


class Student(Network):
    """A convolution, BatchNorm and a linear layer."""

    preprocess = Preprocess(8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        self.head = nn.Linear(2, 4)

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.stem(images).mean(dim=(2, 3))
        for block in self.blocks:
            found = block(found).relu()
        return found

    def scores(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(features)
        return scores


class LowRank(nn.Module):
    """Adds an outer product to a weight."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.ones(len(weight), 1))
        self.down = nn.Parameter(torch.full((1, weight.shape[1]), 0.5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def images() -> Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("live", [False, True])
def test_statistics_are_weights_where_they_move(live: bool) -> None:
    student = Student()
    student.live_statistics = live
    student.train()
    before = {name: value.clone() for name, value in student.weights().items()}
    student(images())

    moving = {"stem.1.running_mean", "stem.1.running_var", "stem.1.num_batches_tracked"}
    assert before.keys() == {name for name, _ in student.named_parameters()} | (moving if live else set())
    changed = {name for name, value in student.weights().items() if not torch.equal(value, before[name])}
    assert changed == (moving if live else set())


def test_adapters_are_folded_into_plain_names() -> None:
    student = Student()
    names, plain = list(student.weights()), student.head.weight.detach().clone()
    student.requires_grad_(False)
    parametrize.register_parametrization(student.head, "weight", LowRank(plain))
    student.head.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]

    assert list(student.trainable()) == ["head.parametrizations.weight.0.up", "head.parametrizations.weight.0.down"]
    assert list(student.weights()) == ["head.weight"]
    torch.testing.assert_close(student.weights()["head.weight"], plain + 0.5)
    assert "head.weight" in names


def test_layers_stand_in_the_order_of_their_depth() -> None:
    student = Student()
    assert list(student.layers()) == ["stem.0", "stem.1", "blocks.0", "blocks.1", "head"]
    assert student.layers()["blocks.1"] is student.blocks[1]


def test_loaded_weights_give_the_scores_of_the_network_that_they_are_from() -> None:
    one, other = Student(), Student()
    other.load(one.weights())
    assert torch.equal(one(images()), other(images()))
    other.load({"head.bias": torch.zeros(4)})
    assert not other.head.bias.any()
    assert torch.equal(other.head.weight, one.head.weight)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"neck": torch.zeros(1)},
            "The network has no tensor `neck`; give weights of the network that they are put into.",
        ),
        ({"tail.bias": torch.zeros(1)}, "The network has no tensor `tail.bias`; give weights of the network that they"),
        (
            {"stem": torch.zeros(1)},
            "The network has no tensor `stem`; give weights of the network that they are put into.",
        ),
        (
            {"head.bias": torch.zeros(1)},
            "Expected the tensor `head.bias` to have the shape (4,), but got (1,); give weights of the same `Student`.",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: dict[str, Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}"):
        Student().load(weights)


def test_a_frozen_network_stays_as_it_is_inside_a_parent_that_trains() -> None:
    teacher = Student()
    teacher.live_statistics = True
    parent = nn.ModuleDict({"teacher": frozen(teacher), "student": Student()})
    parent.train()
    before = copy.deepcopy(teacher.state_dict())
    assert not any(module.training for module in teacher.modules())
    assert parent["student"].training
    teacher(images())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.trainable()


def test_the_state_of_a_parent_has_no_frozen_network_and_loads_around_it() -> None:
    def parent() -> nn.ModuleDict:
        return nn.ModuleDict({"teacher": frozen(frozen(Student())), "student": Student()})

    one, other = parent(), parent()
    state = one.state_dict()
    assert {name.partition(".")[0] for name in state} == {"student"}
    # By itself it has one, which files and digests see.
    teacher = copy.deepcopy(other["teacher"].state_dict())
    assert teacher.keys() == Student().state_dict().keys()
    missing = other.load_state_dict(state, strict=True)
    assert missing == ([], [])
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in state.items())
    assert all(torch.equal(value, teacher[name]) for name, value in other["teacher"].state_dict().items())
    # A copy is as frozen.
    assert copy.deepcopy(one).state_dict().keys() == state.keys()


def test_a_network_without_a_file_format_exports_none(tmp_path: Path) -> None:
    student = Student()
    assert student.export(student.weights(), tmp_path, {}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_a_clip_classifier_is_a_copy_and_exports_the_whole_clip(tmp_path: Path, kind: str) -> None:
    loaded = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))
    head = torch.eye(3, 16)
    classifier = ClipClassifier(loaded, head)
    changed = {name: value + 1 for name, value in classifier.weights().items()}
    twin = copy.deepcopy(classifier)
    twin.load(changed)
    assert twin.loaded is loaded
    own = dict(loaded.model.visual.named_parameters())
    assert all(torch.equal(value, own[name]) for name, value in classifier.weights().items())

    folder = tmp_path / "seed0-12345678"
    folder.mkdir()
    path = classifier.export(changed, folder, {"who": "test"})
    assert sorted(one.name for one in folder.iterdir()) == [f"hamdg-tiny-{kind}-12345678.json", "merged.safetensors"]
    assert read_metadata(path)["who"] == "test"
    state = load_tensors(path)
    assert state.keys() == loaded.model.state_dict().keys()
    assert all(torch.equal(state[f"visual.{name}"], value) for name, value in changed.items())
    assert classifier(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
