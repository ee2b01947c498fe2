from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge.lora.adapter import holds_factors, layout_of, read_adapter

Model = dict[str, Tensor]


def pair(down: str, up: str, rank: int = 2) -> Model:
    return {down: torch.ones(rank, 5), up: torch.ones(6, rank)}


PEFT = pair("base_model.model.fc.lora_A.weight", "base_model.model.fc.lora_B.weight")
KOHYA = pair("lora_unet_fc.lora_down.weight", "lora_unet_fc.lora_up.weight")


@pytest.mark.parametrize(
    ("tensors", "module"),
    [
        (PEFT, "base_model.model.fc"),
        (pair("x.fc.lora_A.default.weight", "x.fc.lora_B.default.weight"), "x.fc"),
        (pair("x.fc.lora_A", "x.fc.lora_B"), "x.fc"),
        (pair("x.emb.lora_embedding_A", "x.emb.lora_embedding_B"), "x.emb"),
        (pair("x.emb.lora_embedding_A.mine", "x.emb.lora_embedding_B.mine"), "x.emb"),
        (KOHYA, "lora_unet_fc"),
    ],
)
def test_names_of_factors(tensors: Model, module: str) -> None:
    assert holds_factors(tensors) == next(iter(tensors))
    adapter = read_adapter("a", tensors, lambda name, rank: 3.0)
    assert list(adapter.pairs) == [module]
    assert adapter.beside == ()
    assert adapter.shape(module) == (6, 5)
    assert (adapter.pairs[module].down, adapter.pairs[module].up) == tuple(tensors)


@pytest.mark.parametrize(
    "name",
    ["fc.weight", "flora.weight", "explora_A.weight", "prelu.alpha", "lora_net.fc.weight", "loft_b", "explora.up"],
)
def test_names_of_no_factors(name: str) -> None:
    assert layout_of(name) is None or name == "prelu.alpha"
    assert holds_factors([name]) == ""


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.fc.lora_magnitude_vector",
        "base_model.model.fc.lora_magnitude_vector.default.weight",
        "base_model.model.fc.lora_B.bias",
        "base_model.model.fc.lora_E",
        "lora_unet_fc.dora_scale",
        "lora_unet_fc.lora_mid.weight",
        "lora_unet_fc.hada_w1_a",
    ],
)
def test_adapters_that_are_more_than_two_factors_are_refused_by_name(name: str) -> None:
    tensors = (KOHYA if name.startswith("lora_unet") else PEFT) | {name: torch.ones(6)}
    message = (
        f"`a` is an adapter of a kind that cannot be merged by its factors: it holds `{name}`. Add each adapter to its "
        "model first (PEFT: `merge_and_unload`), and merge the models."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        read_adapter("a", tensors, None)


@pytest.mark.parametrize(
    "name",
    [
        *("lora_unet_fc.hada_w1_a", "x.fc.lokr_w1", "fc.vera_lambda_b", "fc.oft_blocks", "a.lora_A.bias"),
        *("down_blocks.0.to_q_lora.down.weight", "fc.lora.up.weight", "fc.lora_linear_layer.down.weight"),
    ],
)
def test_other_products_are_recognized_without_any_lora(name: str) -> None:
    assert holds_factors([name, "fc.weight"]) == name


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"fc.lora_A.weight": torch.ones(2, 5)},
            "`a` holds one LoRA factor of `fc` and not the other: `fc.lora_A.weight`.",
        ),
        (PEFT | KOHYA, "`a` holds LoRA factors by the names of kohya and of peft; save them apart."),
        (
            {
                f"fc.lora_{part}.{name}.weight": torch.ones(*shape)
                for name in ("one", "two")
                for part, shape in (("A", (2, 5)), ("B", (6, 2)))
            },
            "`a` holds two adapters of `fc` (`fc.lora_A.one.weight` and `fc.lora_A.two.weight`); save them apart.",
        ),
        (
            {"fc.lora_A.weight": torch.ones(2, 5), "fc.lora_B.weight": torch.ones(6, 3)},
            "The LoRA factors of `fc` in `a` do not fit together: (6, 3) and (2, 5); expected are (outputs, rank) and "
            "(rank, inputs).",
        ),
        (
            {"fc.lora_A.weight": torch.ones(0, 5), "fc.lora_B.weight": torch.ones(6, 0)},
            "The LoRA factors of `fc` in `a` have rank 0; leave the module out.",
        ),
        (
            KOHYA | {"lora_unet_fc.alpha": torch.ones(2)},
            "`lora_unet_fc.alpha` in `a` has the shape (2,); expected is one number.",
        ),
    ],
)
def test_damaged_adapters(tensors: Model, message: str) -> None:
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        read_adapter("a", tensors, None)
