"""The closed forms of the merge: pooled statistics against those of data that are really put together."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from hamdg.algorithms.mtda.merging import between_and_within, merge_targets, start_distance, with_head
from hamdg.algorithms.mtda.training import randomized
from hamdg.config.recipe import ModelConfig
from hamdg.errors import WeightsError
from hamdg.merge import merge
from hamdg.merge.files import load_tensors
from hamdg.models.classifier import load_classifier
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.mini_resnet import WIDTHS, MiniResNet
from hamdg.models.network import Weights
from tests.models.toy_batchnorm import Toy

SIZES = {"fog": 40, "night": 10, "rain": 70}


def data(seed: int = 0) -> dict[str, Tensor]:
    """Return features [n, 3] of three targets, whose means and spreads differ."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (1 + place) * torch.randn(size, 3, generator=draw, dtype=torch.float64) + 3 * place
        for place, (name, size) in enumerate(SIZES.items())
    }


def layer(features: Tensor) -> dict[str, Tensor]:
    """Return what BatchNorm keeps of features, the variance being biased and every row a batch."""
    mean, variance = features.mean(0), features.var(0, correction=0)
    return {
        "bn.running_mean": mean,
        "bn.running_var": variance,
        "bn.num_batches_tracked": torch.tensor(len(features)),
        "bn.weight": torch.ones(3, dtype=torch.float64),
    }


def test_pooled_statistics_are_those_of_the_concatenated_data() -> None:
    own = data()
    merged = merge_targets({name: layer(features) for name, features in own.items()}, "moments")
    whole = layer(torch.cat(list(own.values())))
    for name, wanted in whole.items():
        torch.testing.assert_close(merged[name], wanted, rtol=1e-12, atol=1e-12)


def test_the_mean_of_the_variances_lacks_the_distances_between_the_means() -> None:
    models = {name: layer(features) for name, features in data().items()}
    merged = merge_targets(models, "mean")
    for name in ("bn.running_mean", "bn.running_var"):
        torch.testing.assert_close(merged[name], torch.stack([own[name] for own in models.values()]).mean(0))
    assert int(merged["bn.num_batches_tracked"]) == 120
    alike = {name: {**own, "bn.num_batches_tracked": torch.tensor(7)} for name, own in models.items()}
    pooled = merge_targets(alike, "moments")
    means = torch.stack([own["bn.running_mean"] for own in models.values()])
    missing = pooled["bn.running_var"] - merge_targets(alike, "mean")["bn.running_var"]
    torch.testing.assert_close(missing, means.var(0, correction=0))
    assert bool((missing > 0.1).all())


def test_two_with_as_many_batches_by_hand() -> None:
    models = {
        name: {
            "bn.running_mean": torch.tensor([mean]),
            "bn.running_var": torch.tensor([variance]),
            "bn.num_batches_tracked": torch.tensor(150),
        }
        for name, mean, variance in (("a", 1.0, 2.0), ("b", 4.0, 3.0))
    }
    merged = merge_targets(models, "moments")
    assert merged["bn.running_mean"].tolist() == [2.5]
    # (2 + 3) / 2 + (1 - 4)^2 / 4
    assert merged["bn.running_var"].tolist() == [4.75]
    assert int(merged["bn.num_batches_tracked"]) == 300
    assert merge_targets(models, "mean")["bn.running_var"].tolist() == [2.5]
    assert merge_targets(models, "first")["bn.running_var"].tolist() == [2.0]


def test_pooling_in_two_goes_gives_the_same_with_the_counts_carried_along() -> None:
    models = {name: layer(features) for name, features in data(1).items()}
    whole = merge_targets(models, "moments")
    pair = merge_targets({name: models[name] for name in ("fog", "night")}, "moments")
    again = merge_targets({"pair": pair, "rain": models["rain"]}, "moments")
    for name in ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked"):
        torch.testing.assert_close(again[name], whole[name], rtol=1e-12, atol=1e-12)


def test_a_model_that_has_seen_no_batch_leaves_the_other_s_statistics() -> None:
    models = {name: layer(features) for name, features in data(4).items()}
    unseen = {**models["rain"], "bn.num_batches_tracked": torch.tensor(0)}
    merged = merge_targets({"fog": models["fog"], "rain": unseen}, "moments")
    for name in ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked"):
        torch.testing.assert_close(merged[name], models["fog"][name])


def test_the_order_of_targets_changes_nothing_but_the_first_s_buffers_are_the_alphabet_s() -> None:
    models = {name: layer(features) for name, features in data(2).items()}
    backwards = dict(reversed(models.items()))
    for kind in ("moments", "mean", "first"):
        one, other = merge_targets(models, kind), merge_targets(backwards, kind)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(merge_targets(backwards, "first")["bn.running_mean"], models["fog"]["bn.running_mean"])


def test_the_merged_first_layer_normalizes_the_union_and_with_averaged_variances_it_does_not() -> None:
    own = data(3)
    same = {name: features[:10].float() for name, features in own.items()}
    union = torch.cat(list(same.values()))

    def spread(kind: str) -> Tensor:
        network = Toy()
        base = network.weights()
        models = {
            name: {
                **base,
                **{key: value.float() if value.is_floating_point() else value for key, value in found.items()},
            }
            for name, found in ((name, layer(features)) for name, features in same.items())
        }
        network.load(merge_targets(models, kind))  # type: ignore[arg-type]
        with torch.no_grad():
            out = network.eval().features(union)
        torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        return out.var(0, correction=0)

    torch.testing.assert_close(spread("moments"), torch.ones(3), rtol=1e-3, atol=0)
    assert bool((spread("mean") > 1.3).all())


def test_each_target_keeps_its_own_head_and_shares_all_else() -> None:
    one, other = ({name: tensor.clone() + add for name, tensor in Toy().weights().items()} for add in (0, 1))
    merged = merge_targets({"a": one, "b": other}, "moments")
    found = with_head(merged, other, Toy().head_prefix)
    assert all(torch.equal(found[name], other[name]) for name in ("fc.weight", "fc.bias"))
    assert all(torch.equal(found[name], merged[name]) for name in merged if not name.startswith("fc."))


@pytest.mark.parametrize("name", ["mini-resnet8", "timm/test_resnet", "torchvision/shufflenet_v2_x0_5"])
def test_the_merged_network_loads_strictly_into_its_library_alone_with_the_pooled_statistics(
    tmp_path: Path, name: str
) -> None:
    loaded = load_classifier(ModelConfig(name, "random"))
    own = ImageClassifier(loaded, fresh_head(3, loaded.width, 0), ("dog", "elephant", "guitar"))
    own.live_statistics = True
    start, images = copy.deepcopy(own.weights()), torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    models = {}
    for place, target in enumerate(SIZES):
        own.load(start)
        with torch.no_grad():
            own.train()(images * (1 + place) + place)
        models[target] = {key: tensor.clone() for key, tensor in own.weights().items()}
    merged = merge_targets(models, "moments")
    found = load_tensors(own.export(merged, tmp_path, {}))

    library, _, plain = name.rpartition("/")
    if library == "timm":
        alone: nn.Module = timm.create_model(plain, num_classes=3)
    elif library == "torchvision":
        alone = torchvision.models.get_model(plain, num_classes=3)
    else:
        alone = MiniResNet(WIDTHS[name], num_classes=3)
    alone.load_state_dict(found, strict=True)
    key = next(key for key in merged if key.endswith("running_var"))
    assert torch.equal(alone.state_dict()[key], merged[key])
    assert bool((merged[key] > torch.stack([one[key] for one in models.values()]).mean(0)).any())
    own.load(merged)
    with torch.no_grad():
        torch.testing.assert_close(alone.eval()(images), own.eval()(images), rtol=1e-4, atol=1e-4)


def test_statistics_that_are_no_numbers_are_refused_by_name_and_layers_without_variance_are_not() -> None:
    models = {name: layer(features) for name, features in data().items()}
    models["fog"]["bn.running_var"][1] = float("nan")
    with pytest.raises(WeightsError, match=r"(?s)non-finite values.*fog.*`bn\.running_var` \(NaN\)"):
        merge_targets(models, "moments")
    for own in models.values():
        own["bn.running_var"].zero_()
        own["bn.running_mean"].zero_()
    merged = merge_targets(models, "moments")
    assert not merged["bn.running_var"].any()
    assert between_and_within(models) == {"bn": 0.0}


def test_how_far_apart_models_start_is_measured() -> None:
    network = Toy()
    same = {name: tensor.clone() for name, tensor in network.weights().items()}
    moved = {**same, "bn.running_mean": same["bn.running_mean"] + 9}
    assert start_distance({"a": same, "b": moved}) == 0
    drawn = {name: tensor.clone() for name, tensor in randomized(network, seed=1).weights().items()}
    again = {name: tensor.clone() for name, tensor in randomized(network, seed=1).weights().items()}
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert start_distance({"a": same, "b": drawn}) > 0.2
    one, other = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([3.0, -1.0])}
    assert start_distance({"a": one, "b": other, "c": one}) == pytest.approx(5 / 10**0.5)
    assert start_distance({"a": one, "c": one}) == 0


class Partly(Toy):
    """The same with attention, and with a frozen embedding and a frozen head."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(3, 1)
        self.embedding = nn.Embedding(4, 3).requires_grad_(False)
        self.fc.requires_grad_(False)


def test_a_start_of_its_own_is_random_in_all_that_is_trained_and_in_nothing_else() -> None:
    network = Partly()
    before = {name: tensor.clone() for name, tensor in network.state().items()}
    with torch.no_grad():
        network.bn.weight.fill_(2.0)
    randomized(network, seed=1)
    assert not torch.equal(network.attention.in_proj_weight, before["attention.in_proj_weight"])
    assert not torch.equal(network.attention.out_proj.weight, before["attention.out_proj.weight"])
    assert torch.equal(network.bn.weight, torch.ones(3))
    # What a history holds is put into another network, which has these as they were.
    for name in ("embedding.weight", "fc.weight", "fc.bias"):
        assert name not in network.weights()
        assert torch.equal(network.state()[name], before[name])


def test_what_pooling_adds_is_told_by_layer() -> None:
    models: dict[str, Weights] = {
        name: {"bn.running_mean": torch.tensor([mean, 0.0]), "bn.running_var": torch.tensor([2.0, 4.0])}
        for name, mean in (("a", 1.0), ("b", 3.0))
    }
    # Between: (1 + 0) / 2; within: 3.
    assert between_and_within(models) == {"bn": pytest.approx(1 / 6)}


def test_the_merge_library_s_mean_uses_weights_and_not_the_numbers_of_batches() -> None:
    models = {
        name: {
            "bn.running_mean": torch.tensor([mean]),
            "bn.running_var": torch.tensor([1.0]),
            "bn.num_batches_tracked": torch.tensor(count),
        }
        for name, mean, count in (("a", 0.0, 10), ("b", 4.0, 30))
    }
    merged = merge("weighted", models, weights={"a": 1.0, "b": 3.0}, buffers="mean")
    assert merged["bn.running_mean"].tolist() == [3.0]
    assert merged["bn.running_var"].tolist() == [1.0]
    # By weight and batches, 1 * 10 against 3 * 30.
    pooled = merge("weighted", models, weights={"a": 1.0, "b": 3.0}, buffers="moments")
    assert pooled["bn.running_mean"].tolist() == [pytest.approx(3.6)]
