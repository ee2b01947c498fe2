"""Models that do not fit together: short messages with the whole list beside them, and quantized weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge import merge
from hamdg.merge.buffers import Policy

NAMES = [f"blocks.{i:03}.weight" for i in range(300)]
FIRST = ", ".join(f"`{name}`" for name in NAMES[:6])


def full(value: float, size: int = 2) -> dict[str, Tensor]:
    return {name: torch.full((size,), value) for name in NAMES} | {"head": torch.ones(1)}


def failure(models: dict[str, dict[str, Tensor]]) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        merge("uniform", models)
    return caught.value


def test_of_three_hundred_lacking_tensors_a_few_are_named_and_all_are_kept() -> None:
    error = failure({"a": full(1.0), "b": {"head": torch.ones(1)}})
    assert str(error) == (
        f"The models hold different tensors: `b` lacks {FIRST} and 294 more. Merge models of one architecture."
    )
    assert error.details.splitlines() == [
        "The models hold different tensors:",
        "`b` lacks",
        *(f"    `{name}`" for name in NAMES),
    ]


def test_of_many_models_a_few_are_named() -> None:
    error = failure({"a": full(1.0)} | {f"m{i}": {"head": torch.ones(1)} for i in range(6)})
    assert re.fullmatch(r"The models .*: `m0` lacks .*; `m3` lacks .*; 2 more models likewise\. Merge.*", str(error))
    assert "`m4`" not in str(error)
    assert len(str(error)) < 1000
    assert error.details.count("\n") == 1 + 6 * 301
    error = failure({"a": {"head": torch.ones(1)}} | {f"m{i}": {"head": torch.ones(2)} for i in range(5)})
    assert str(error).endswith("; 1 more model likewise. Merge models of one architecture.")


def test_shapes_and_values_that_are_no_numbers_are_cut_too() -> None:
    error = failure({"a": full(1.0), "b": full(1.0, 3)})
    end = "`blocks.005.weight` is floating-point (3,), not floating-point (2,) and 294 more. Merge models of one "
    assert end in str(error)
    assert error.details.count("\n") == 302
    error = failure({"a": full(1.0), "b": full(torch.nan)})
    assert "`blocks.005.weight` (NaN) and 294 more. Leave such a model out" in str(error)
    assert error.details.startswith("There are non-finite values.\n`b`:\n    `blocks.000.weight` (NaN)\n")


def test_a_short_list_has_no_details() -> None:
    assert failure({"a": {"w": torch.ones(1)}, "b": {"v": torch.ones(1)}}).details == ""


# Quantized weights: refused where models differ in them, whatever `buffers` says.

Model = dict[str, Tensor]
INTS = torch.arange(6).view(2, 3)


def models(name: str, one: Tensor, other: Tensor, scales: str = "", equal_scales: bool = False) -> dict[str, Model]:
    found: dict[str, Model] = {"a": {name: one}, "b": {name: other}}
    if scales:
        found["a"][scales], found["b"][scales] = torch.ones(2), torch.full((2,), 1.0 if equal_scales else 2.0)
    return found


CASES = {
    "int8 by torch's own name": models("fc.weight", INTS.to(torch.int8), INTS.to(torch.int8) + 1),
    "int8 by a name of its own": models("visual.proj", INTS.to(torch.int8), INTS.to(torch.int8) + 1),
    "bitsandbytes": models("fc.weight", INTS.to(torch.int8), INTS.to(torch.int8) + 1, "fc.SCB"),
    "bitsandbytes in four bits": models("w", INTS.to(torch.uint8), INTS.to(torch.uint8) + 1, "w.absmax"),
    "GPTQ": models("fc.qweight", INTS.int(), INTS.int() + 1, "fc.scales"),
    "compressed-tensors": models("fc.weight_packed", INTS.int(), INTS.int() + 1, "fc.weight_scale"),
    "fp8 with scales": models(
        "fc.weight", INTS.to(torch.float8_e4m3fn), (INTS + 1).to(torch.float8_e4m3fn), "fc.weight_scale_inv"
    ),
    "one of two": models("fc.weight", INTS.to(torch.int8), INTS.float()),
}


@pytest.mark.parametrize("buffers", ["moments", "mean", "first", "refuse"])
@pytest.mark.parametrize("case", CASES)
def test_quantized_weights_are_refused_with_the_way_out(case: str, buffers: Policy) -> None:
    found = CASES[case]
    name = next(iter(found["a"]))
    message = (
        f"In `a` `{name}` is quantized ({str(found['a'][name].dtype).removeprefix('torch.')}): without their scales "
        "these numbers are not weights, and no average or difference of them means anything. Dequantize the models "
        "first, with the library that quantized them, and merge those."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", found, buffers=buffers)


def test_many_are_counted_and_the_base_is_one_of_the_models() -> None:
    base = {f"{i}.weight": INTS.to(torch.int8) for i in range(5)}
    moved = {name: tensor + 1 for name, tensor in base.items()}
    start = "In the base `0.weight`, `1.weight`, `2.weight` and 2 more are quantized (int8): "
    with pytest.raises(WeightsError, match=f"^{re.escape(start)}"):
        merge("ties", {"a": moved, "b": moved}, base)


def test_quantized_weights_that_nobody_moved_stay() -> None:
    frozen = {"fc.weight": INTS.to(torch.int8), "fc.SCB": torch.ones(2)}
    found = merge("uniform", {s: frozen | {"head.weight": torch.full((2,), v)} for s, v in (("a", 1.0), ("b", 2.0))})
    assert torch.equal(found["fc.weight"], frozen["fc.weight"])
    assert found["head.weight"].tolist() == [1.5, 1.5]


def test_fp8_with_one_scale_for_all_is_merged() -> None:
    one, other = INTS.to(torch.float8_e4m3fn), (INTS + 2).to(torch.float8_e4m3fn)
    found = merge("uniform", models("fc.weight", one, other, "fc.weight_scale", equal_scales=True))
    assert torch.equal(found["fc.weight"].float(), INTS.float() + 1)


@pytest.mark.parametrize("name", ["position_ids", "attn.mask", "steps"])
def test_other_integers_are_buffers(name: str) -> None:
    differing = models(name, INTS, INTS + 1)
    with pytest.raises(WeightsError, match=r"is not floating-point and cannot be averaged; take the first source's"):
        merge("uniform", differing)
    assert torch.equal(merge("uniform", differing, buffers="first")[name], INTS)
