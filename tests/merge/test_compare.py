from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.compare import WHOLE, compare, layers

Model = dict[str, Tensor]


def model_set(*seeds: int, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Model], Model]:
    """Return models of four layers whose changes hold zeros, too."""
    shapes = {
        "conv1.weight": (3, 2, 2, 2),
        "blocks.0.w": (5, 4),
        "blocks.1.w": (7,),
        "logit_scale": (),
        "ln.empty": (0, 3),
    }
    generator = torch.Generator().manual_seed(99)
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    models = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        models[f"m{seed}"] = {
            name: (tensor + torch.randn(tensor.shape, generator=generator).clamp(min=-0.5).relu() - 0.25).to(dtype)
            for name, tensor in base.items()
        }
    return models, base


def slow(
    models: dict[str, Model], base: Model, names: list[str]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return lengths, and cosine and sign agreement of every pair, entry by entry in Python's floats."""
    changes = {
        source: [
            float(a) - float(b)
            for name in names
            for a, b in zip(model[name].flatten().tolist(), base[name].flatten().tolist(), strict=True)
        ]
        for source, model in models.items()
    }
    lengths = {source: math.sqrt(math.fsum(x * x for x in change)) for source, change in changes.items()}
    pairs = {}
    for a, b in combinations(sorted(models), 2):
        both = [(x, y) for x, y in zip(changes[a], changes[b], strict=True) if x != 0 and y != 0]
        cosine = math.fsum(x * y for x, y in both) / (lengths[a] * lengths[b])
        pairs[f"{a}|{b}"] = (cosine, sum((x > 0) == (y > 0) for x, y in both) / len(both))
    return lengths, pairs


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_equals_a_slow_reference(dtype: torch.dtype) -> None:
    models, base = model_set(1, 2, 3, dtype=dtype)
    found = compare(models, base)
    groups = {WHOLE: list(base), "conv1": ["conv1.weight"], "blocks.0": ["blocks.0.w"], "blocks.1": ["blocks.1.w"]}
    for layer, names in groups.items():
        lengths, pairs = slow(models, base, names)
        for source, length in lengths.items():
            assert found.lengths[source][layer] == pytest.approx(length, rel=1e-5)
        for pair, (cosine, agreement) in pairs.items():
            assert found.cosines[pair][layer] == pytest.approx(cosine, abs=1e-5)
            assert found.agreement[pair][layer] == pytest.approx(agreement, abs=1e-12)


def test_a_hand_worked_case() -> None:
    # Changes (3, 0, 4) and (4, 3, 0): product 12, both lengths 5; only the first entry moved in both, the same way.
    # In the second layer (1) and (-2): opposite. Whole: product 12 - 2 = 10, lengths sqrt(26) and sqrt(29).
    base = {"blocks.0.w": torch.tensor([1.0, 2.0, 2.0]), "blocks.1.w": torch.tensor([4.0])}
    models = {
        "b": {"blocks.0.w": torch.tensor([5.0, 5.0, 2.0]), "blocks.1.w": torch.tensor([2.0])},
        "a": {"blocks.0.w": torch.tensor([4.0, 2.0, 6.0]), "blocks.1.w": torch.tensor([5.0])},
    }
    found = compare(models, base)
    assert found.sources == ("a", "b")
    assert found.layers == ("blocks.0", "blocks.1")
    assert found.sizes == {WHOLE: 4, "blocks.0": 3, "blocks.1": 1}
    assert found.base == {WHOLE: 5.0, "blocks.0": 3.0, "blocks.1": 4.0}
    assert found.lengths["a"] == {WHOLE: math.sqrt(26), "blocks.0": 5.0, "blocks.1": 1.0}
    assert found.cosines["a|b"]["blocks.0"] == pytest.approx(12 / 25)
    assert found.cosines["a|b"][WHOLE] == pytest.approx(10 / math.sqrt(26 * 29))
    assert found.agreement["a|b"] == {WHOLE: 0.5, "blocks.0": 1.0, "blocks.1": 0.0}


@settings(max_examples=20, deadline=None)
@given(st.permutations([1, 2, 3]), st.integers(1, 3))
def test_order_and_threads_change_nothing(order: list[int], threads: int) -> None:
    models, base = model_set(1, 2, 3)
    assert compare(model_set(*order)[0], base, threads=threads) == compare(models, base, threads=1)


def test_equal_and_opposite_models() -> None:
    models, base = model_set(1, dtype=torch.float64)
    ahead = models["m1"]
    back = {name: 2 * base[name] - tensor for name, tensor in ahead.items()}
    found = compare({"a": ahead, "b": dict(ahead), "c": back}, base)
    assert found.cosines["a|b"][WHOLE] == pytest.approx(1.0)
    assert found.agreement["a|b"][WHOLE] == 1.0
    assert found.cosines["a|c"][WHOLE] == pytest.approx(-1.0)
    assert found.agreement["a|c"][WHOLE] == 0.0


def test_what_did_not_move_has_no_cosine_and_no_signs() -> None:
    models, base = model_set(1)
    found = compare({"a": models["m1"], "still": base}, base)
    assert found.lengths["still"][WHOLE] == 0.0
    assert found.cosines["a|still"][WHOLE] is None
    assert found.agreement["a|still"][WHOLE] is None


def test_large_tensors_are_summed_over_all_their_pieces() -> None:
    base = {"w": torch.zeros(300_001)}
    up = {"w": torch.ones(300_001)}
    mixed = {"w": torch.ones(300_001).index_fill(0, torch.arange(200_000, 300_001), -1.0)}
    found = compare({"a": up, "b": mixed}, base)
    assert found.lengths["a"][WHOLE] == math.sqrt(300_001)
    assert found.cosines["a|b"][WHOLE] == pytest.approx((200_000 - 100_001) / 300_001)
    assert found.agreement["a|b"][WHOLE] == 200_000 / 300_001


def test_buffers_and_second_names_take_no_part() -> None:
    base = {"a.w": torch.zeros(2), "bn.running_mean": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(0)}
    base["z.w"] = base["a.w"]
    moved = {"a.w": torch.ones(2), "bn.running_mean": torch.ones(2), "bn.num_batches_tracked": torch.tensor(9)}
    moved["z.w"] = moved["a.w"]
    found = compare({"a": moved, "b": moved}, base)
    assert found.layers == ("a",)
    assert found.sizes[WHOLE] == 2


def test_inputs_are_not_changed() -> None:
    models, base = model_set(1, 2)
    before = {name: tensor.clone() for name, tensor in models["m1"].items()}
    compare(models, base)
    assert all(torch.equal(before[name], tensor) for name, tensor in models["m1"].items())


def test_one_model_is_no_comparison() -> None:
    models, base = model_set(1)
    with pytest.raises(ConfigError, match=r"^A comparison needs two models or more, but got 1\.$"):
        compare(models, base)


def test_values_that_are_no_numbers_are_named() -> None:
    models, base = model_set(1, 2)
    models["m2"]["blocks.1.w"][3] = math.nan
    with pytest.raises(WeightsError, match=r"non-finite values\. `m2`: `blocks\.1\.w` \(NaN\)"):
        compare(models, base)


def test_models_of_two_architectures_are_refused() -> None:
    models, base = model_set(1, 2)
    del models["m2"]["blocks.1.w"]
    with pytest.raises(WeightsError, match=r"`m2` lacks `blocks\.1\.w`"):
        compare(models, base)


def test_models_without_weights_are_refused() -> None:
    model = {"steps": torch.tensor(3)}
    with pytest.raises(WeightsError, match="The models hold no weights"):
        compare({"a": model, "b": model}, model)


def test_layers_of_a_vision_transformer_are_in_the_order_of_the_network() -> None:
    names = (
        "visual.proj",
        "visual.transformer.resblocks.10.mlp.c_fc.weight",
        "visual.transformer.resblocks.2.mlp.c_fc.weight",
        "visual.transformer.resblocks.2.attn.in_proj_weight",
        "visual.conv1.weight",
        "logit_scale",
        "transformer.resblocks.0.ln_1.weight",
        "token_embedding.weight",
    )
    assert list(dict.fromkeys(layers(names).values())) == [
        "token_embedding",
        "visual.conv1",
        "transformer.resblocks.0",
        "visual.transformer.resblocks.2",
        "visual.transformer.resblocks.10",
        "logit_scale",
        "visual.proj",
    ]


def test_layers_of_a_residual_network_are_its_blocks() -> None:
    found = layers(("layer2.0.conv1.weight", "attnpool.q_proj.weight", "layer1.1.downsample.0.weight", "bn1.weight"))
    assert list(found.items()) == [
        ("bn1.weight", "bn1"),
        ("layer1.1.downsample.0.weight", "layer1.1"),
        ("layer2.0.conv1.weight", "layer2.0"),
        ("attnpool.q_proj.weight", "attnpool"),
    ]


def test_numbered_names_of_other_libraries_are_layers() -> None:
    names = ("encoder.layers.encoder_layer_3.mlp.0.weight", "0.weight", "layers.1.blocks.0.attn.weight", "a", "a.0.w")
    assert layers(names) == {
        "0.weight": "0",
        "a": "a",
        "a.0.w": "a.0",
        "encoder.layers.encoder_layer_3.mlp.0.weight": "encoder.layers.encoder_layer_3",
        "layers.1.blocks.0.attn.weight": "layers.1",
    }
