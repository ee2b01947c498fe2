from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_clip import CLIP
from torch import Tensor

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.functional.networks import known_spec
from hamdg.merge.functional.permutations import Permuted
from hamdg.models import load_clip

CONF = Path(__file__).parents[2] / "conf"
HEADS = {"rn": 32, "vit": 8}
Model = dict[str, Tensor]


def hidden(folder: Path, units: int) -> str:
    """Describe a network with one hidden layer."""
    axes = [["fc1.weight", 0], ["fc1.bias", 0], ["fc2.weight", 1]]
    return described(folder, {"hidden": {"units": units, "axes": axes}})


def described(folder: Path, groups: object) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps(groups))
    return str(path)


def network(generator: torch.Generator, units: int = 4, dtype: torch.dtype = torch.float64) -> Model:
    shapes = {"fc1.weight": (units, 3), "fc1.bias": (units,), "fc2.weight": (2, units), "fc2.bias": (2,)}
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


def reordered(model: Mapping[str, Tensor], order: tuple[int, ...]) -> Model:
    places = list(order)
    return {
        "fc1.weight": model["fc1.weight"][places],
        "fc1.bias": model["fc1.bias"][places],
        "fc2.weight": model["fc2.weight"][:, places],
        "fc2.bias": model["fc2.bias"],
    }


def product(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return sum(float((a[name].double() * b[name].double()).sum()) for name in a)


@torch.no_grad()
def tiny(kind: Literal["rn", "vit"], seed: int = 0) -> CLIP:
    """Return a CLIP in which no two units are alike."""
    model = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random")).model
    assert isinstance(model, CLIP)
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator).abs()
    return model.eval()


def state_of(model: CLIP) -> Model:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def shuffled(model: Model, kind: Literal["rn", "vit"], seed: int) -> Model:
    spec = known_spec({name: tuple(tensor.shape) for name, tensor in model.items()}, head_width=HEADS[kind])
    generator = torch.Generator().manual_seed(seed)
    orders = {name: torch.randperm(group.units, generator=generator) for name, group in spec.items()}
    return {name: tensor.clone() for name, tensor in Permuted(model, spec, orders).items()}


@torch.no_grad()
def features(kind: Literal["rn", "vit"], state: Model) -> Tensor:
    model = tiny(kind)
    model.load_state_dict(state)
    found = model.encode_image(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(9)))
    assert isinstance(found, Tensor)
    return found


def test_two_hidden_units_by_hand(tmp_path: Path) -> None:
    # Inner products of unit i of `a` with unit j of `b`, weights in and out: [[1*3 + 5*7, 1*2 + 5*4], [3*3 + 7*7,
    # 3*2 + 7*4]] = [[38, 22], [58, 34]]. As they are they give 38 + 34 = 72, changed over 22 + 58 = 80: `b` is turned.
    models = {
        "a": {"fc1.weight": torch.tensor([[1.0], [3.0]]), "fc2.weight": torch.tensor([[5.0, 7.0]])},
        "b": {"fc1.weight": torch.tensor([[3.0], [2.0]]), "fc2.weight": torch.tensor([[7.0, 4.0]])},
    }
    spec = described(tmp_path, {"hidden": {"units": 2, "axes": [["fc1.weight", 0], ["fc2.weight", 1]]}})
    merged = merge("rebasin", models, spec=spec)
    assert merged["fc1.weight"].tolist() == [[1.5], [3.0]]
    assert merged["fc2.weight"].tolist() == [[4.5, 7.0]]
    weighted = merge("rebasin", models, weights={"a": 3.0, "b": 1.0}, spec=spec)
    assert weighted["fc1.weight"].tolist() == [[(3 * 1 + 2) / 4], [(3 * 3 + 3) / 4]]
    # Only ratios count, however large they are.
    large = merge("rebasin", models, weights={"a": 3e200, "b": 1e200}, spec=spec)
    assert torch.allclose(large["fc1.weight"], weighted["fc1.weight"])


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), units=st.integers(1, 5), number=st.integers(2, 4))
def test_one_hidden_layer_equals_a_search_of_all_orders(tmp_path: Path, seed: int, units: int, number: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = {f"s{i}": network(generator, units) for i in range(number)}
    reference = models["s0"]
    total = reference
    for source in list(models)[1:]:
        orders = (reordered(models[source], order) for order in permutations(range(units)))
        matched = max(orders, key=lambda other: product(reference, other))
        total = {name: tensor + matched[name] for name, tensor in total.items()}
    merged = merge("rebasin", models, spec=hidden(tmp_path, units))
    for name, tensor in total.items():
        torch.testing.assert_close(merged[name], tensor / number, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_a_network_merged_with_itself_in_another_order_is_that_network(kind: Literal["rn", "vit"]) -> None:
    model = state_of(tiny(kind))
    models = {"a": model, "b": shuffled(model, kind, 1), "c": shuffled(model, kind, 2)}
    merged = merge("rebasin", models, head_width=HEADS[kind])
    for name, tensor in model.items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-6, atol=1e-6)
    # The plain average is another network altogether.
    assert not torch.allclose(features(kind, merge("uniform", models)), features(kind, model), atol=0.1)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_matched_to_the_mean_of_the_others_they_compute_the_same(kind: Literal["rn", "vit"]) -> None:
    model = state_of(tiny(kind))
    models = {"a": model, "b": shuffled(model, kind, 1)}
    merged = merge_with("rebasin", models, None, {"reference": "others", "head_width": HEADS[kind]})
    torch.testing.assert_close(features(kind, merged), features(kind, model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reference", ["first", "others"])
@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_models_from_the_same_start_are_averaged_as_they_are(kind: Literal["rn", "vit"], reference: str) -> None:
    start = state_of(tiny(kind))
    generator = torch.Generator().manual_seed(5)
    models = {
        source: {
            name: t + 0.01 * torch.randn(t.shape, generator=generator) if t.is_floating_point() else t
            for name, t in start.items()
        }
        for source in "abc"
    }
    for model in models.values():
        model.update({name: start[name] for name in start if "running" in name})
    merged = merge_with("rebasin", models, start, {"reference": reference, "head_width": HEADS[kind]})
    plain = merge("weighted", models)
    assert all(torch.equal(merged[name], plain[name]) for name in start)


def deep(generator: torch.Generator, width: int = 4, layers: int = 4, dtype: torch.dtype = torch.float64) -> Model:
    """Return a network of several layers without biases, whose orders depend on each other."""
    shape = (width, width)
    return {f"fc{i}": torch.randn(shape, generator=generator, dtype=dtype) for i in range(layers)}


def deep_spec(folder: Path, width: int = 4, layers: int = 4) -> str:
    groups = {f"h{i}": {"units": width, "axes": [[f"fc{i}", 0], [f"fc{i + 1}", 1]]} for i in range(layers - 1)}
    return described(folder, groups)


def alone(models: Mapping[str, Model], source: str, options: Mapping[str, object]) -> Model:
    """Return one source in the order that was found for it: weights count in the average only.

    A weight of zero would leave the others out of the matching too.
    """
    weights = {other: 1.0 if other == source else 1e-200 for other in models}
    return merge_with("rebasin", models, None, options, MergeSettings(weights))


def best(reference: Model, model: Model, layer: int) -> float:
    """Return the best product that another order of one layer gives, all orders being tried."""
    found = []
    for order in permutations(range(4)):
        other = dict(model)
        other[f"fc{layer}"] = model[f"fc{layer}"][list(order)]
        other[f"fc{layer + 1}"] = model[f"fc{layer + 1}"][:, list(order)]
        found.append(product(reference, other))
    return max(found)


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_never_falls_from_round_to_round(tmp_path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = {source: deep(generator, 16, 6) for source in "ab"}
    spec = deep_spec(tmp_path, 16, 6)
    rounds = [alone(models, "b", {"spec": spec, "max_iterations": number}) for number in (1, 2, 3, 4, 5, 50, 51)]
    products = [product(models["a"], models["b"]), *(product(models["a"], model) for model in rounds)]
    assert products == sorted(products)
    assert products[1] < products[2]
    assert products[-1] == products[-2]


@pytest.mark.parametrize("seed", range(4))
def test_in_the_end_no_layer_alone_can_do_better(tmp_path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = {source: deep(generator) for source in "abc"}
    options = {"spec": deep_spec(tmp_path), "seed": seed}
    assert alone(models, "a", options).keys() == models["a"].keys()
    assert all(torch.equal(alone(models, "a", options)[name], tensor) for name, tensor in models["a"].items())
    for source in "bc":
        found = alone(models, source, options)
        for layer in range(3):
            assert product(models["a"], found) == pytest.approx(best(models["a"], found, layer), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_with_the_others_as_reference_no_source_alone_can_do_better(tmp_path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = {source: deep(generator) for source in "abc"}
    options = {"spec": deep_spec(tmp_path), "reference": "others"}
    found = {source: alone(models, source, options) for source in models}
    for source, model in found.items():
        others = [found[other] for other in found if other != source]
        mean = {name: (others[0][name] + others[1][name]) / 2 for name in model}
        for layer in range(3):
            assert product(mean, model) == pytest.approx(best(mean, model, layer), rel=1e-12)


def test_the_seed_chooses_among_local_optima_and_nothing_else_does(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {source: deep(generator, 12, 6) for source in "abc"}
    options = {"spec": deep_spec(tmp_path, 12, 6)}
    first = merge_with("rebasin", models, None, options, MergeSettings(threads=1))
    turned = merge_with("rebasin", dict(reversed(models.items())), None, options, MergeSettings(threads=3))
    assert all(torch.equal(first[name], turned[name]) for name in first)
    seeds = [merge_with("rebasin", models, None, {**options, "seed": seed})["fc1"] for seed in range(4)]
    assert any(not torch.equal(first["fc1"], other) for other in seeds)


def test_one_source_and_equal_sources_stay_as_they_are(tmp_path: Path) -> None:
    model = network(torch.Generator().manual_seed(0))
    for models in ({"a": model}, {source: dict(model) for source in "abc"}):
        for reference in ("first", "others"):
            options: dict[str, object] = {"spec": hidden(tmp_path, 4), "reference": reference}
            merged = merge_with("rebasin", models, None, options)
            assert all(torch.equal(merged[name], tensor) for name, tensor in model.items())


def test_layers_in_which_a_frozen_tensor_lies_stay(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    a = network(generator)
    b = reordered(a, (1, 0, 3, 2)) | {"fc1.bias": a["fc1.bias"]}
    merged = merge("rebasin", {"a": a, "b": b}, spec=hidden(tmp_path, 4))
    plain = merge("weighted", {"a": a, "b": b})
    assert all(torch.equal(merged[name], plain[name]) for name in a)
    # A frozen tensor that is the same for all units is not an obstacle.
    alike = {"fc1.bias": torch.zeros(4, dtype=torch.float64)}
    merged = merge("rebasin", {"a": a | alike, "b": b | alike}, spec=hidden(tmp_path, 4))
    assert torch.equal(merged["fc1.weight"], a["fc1.weight"])


def batch_normed(folder: Path) -> tuple[dict[str, Model], str]:
    a = {
        "conv.weight": torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1),
        "bn.running_mean": torch.tensor([1.0, 2.0, 3.0]),
        "bn.running_var": torch.tensor([4.0, 5.0, 6.0]),
        "bn.num_batches_tracked": torch.tensor(5),
        # Every channel has two by two places behind it.
        "fc.weight": torch.arange(12.0).view(1, 12),
    }
    b = {
        "conv.weight": a["conv.weight"].flip(0),
        "bn.running_mean": torch.tensor([3.5, 2.5, 1.5]),
        "bn.running_var": torch.tensor([6.0, 5.0, 4.0]),
        "bn.num_batches_tracked": torch.tensor(5),
        "fc.weight": torch.arange(12.0).view(1, 3, 4).flip(1).reshape(1, 12),
    }
    axes = [["conv.weight", 0], ["bn.running_mean", 0], ["bn.running_var", 0], ["fc.weight", 1]]
    return {"a": a, "b": b}, described(folder, {"channels": {"units": 3, "axes": axes}})


def test_statistics_of_batch_norm_move_with_their_channels(tmp_path: Path) -> None:
    models, spec = batch_normed(tmp_path)
    merged = merge("rebasin", models, spec=spec)
    assert torch.equal(merged["conv.weight"], models["a"]["conv.weight"])
    assert torch.equal(merged["fc.weight"], models["a"]["fc.weight"])
    # Channel by channel: means 1 and 1.5 pool to 1.25, variances of 4 to 4 + 0.25^2.
    assert merged["bn.running_mean"].tolist() == [1.25, 2.25, 3.25]
    assert merged["bn.running_var"].tolist() == [4.0625, 5.0625, 6.0625]
    assert merged["bn.num_batches_tracked"].item() == 10
    first = merge("rebasin", models, spec=spec, buffers="first")
    assert first["bn.running_mean"].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(WeightsError, match=r"^The models differ in the buffer `bn\.running_mean`"):
        merge("rebasin", models, spec=spec, buffers="refuse")


def test_statistics_are_no_weights_and_do_not_count_in_the_matching(tmp_path: Path) -> None:
    models, spec = batch_normed(tmp_path)
    models["b"]["bn.running_mean"] = torch.tensor([100.0, 200.0, 300.0])
    assert torch.equal(merge("rebasin", models, spec=spec)["conv.weight"], models["a"]["conv.weight"])


def test_statistics_that_differ_in_order_alone_are_no_difference(tmp_path: Path) -> None:
    models, spec = batch_normed(tmp_path)
    models["b"]["bn.running_mean"] = models["a"]["bn.running_mean"].flip(0)
    merged = merge("rebasin", models, spec=spec, buffers="refuse")
    assert all(torch.equal(merged[name], tensor) for name, tensor in models["a"].items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_is_matched_and_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    model = network(torch.Generator().manual_seed(0), dtype=torch.float32)
    # In fp16 the inner products of these would overflow.
    model = {name: (1000 * tensor).to(dtype) for name, tensor in model.items()}
    merged = merge("rebasin", {"a": model, "b": reordered(model, (2, 3, 1, 0))}, spec=hidden(tmp_path, 4))
    assert all(torch.equal(merged[name], tensor) and merged[name].dtype == dtype for name, tensor in model.items())


def test_tensors_of_all_shapes_outside_the_groups_are_averaged(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    extra = {"scalar": (), "one": (1,), "empty": (0, 3), "conv": (2, 3, 2, 2)}
    models = {
        source: network(generator)
        | {name: torch.rand(shape, generator=generator).double() for name, shape in extra.items()}
        for source in "ab"
    }
    merged = merge("rebasin", models, spec=hidden(tmp_path, 4))
    for name in extra:
        assert torch.equal(merged[name], (models["a"][name] + models["b"][name]) / 2)


def test_values_that_are_no_numbers_do_not_stop_the_matching(tmp_path: Path) -> None:
    a = network(torch.Generator().manual_seed(0))
    b = reordered(a, (1, 0, 2, 3))
    b["fc1.weight"][0, 0] = float("nan")
    merged = merge_with(
        "rebasin", {"a": a, "b": b}, None, {"spec": hidden(tmp_path, 4)}, MergeSettings(allow_nonfinite=True)
    )
    assert int(merged["fc1.weight"].isnan().sum()) == 1
    assert torch.equal(merged["fc2.weight"][:, 2:], a["fc2.weight"][:, 2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "mean"}, "Expected argument `reference` to be one of `first`, `others`, but got `'mean'`."),
        ({"max_iterations": 0}, "Expected argument `max_iterations` to be an integer of at least 1, but got `0`."),
        ({"head_width": 0}, "Expected argument `head_width` to be an integer of at least 1 or `None`, but got `0`."),
        ({"spec": "no.json"}, "The file `no.json` that `spec` names cannot be read (No such file or directory)."),
        ({}, "It is not known what can be reordered in a network with `w`; known are open_clip's vision transformers"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    models = {source: {"w": torch.tensor([value])} for source, value in {"a": 1.0, "b": 2.0}.items()}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        merge_with("rebasin", models, None, options)
