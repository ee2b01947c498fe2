from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import merge

OPTIONS: dict[str, dict[str, object]] = {"uniform": {}, "shrunk": {"scale": 0.7}, "rhm": {"keep": 0.5}}
SHAPES = [(), (1,), (0,), (2, 1, 3, 2)]


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"t{i}": torch.randn(shape, generator=generator).to(dtype) for i, shape in enumerate(SHAPES)}
    return {**tensors, "steps": torch.tensor(seed), "flag": torch.tensor([True, False])}


@pytest.mark.parametrize("method", list(OPTIONS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keys_shapes_and_dtypes_are_the_base_s(method: str, dtype: torch.dtype) -> None:
    base = state(0, dtype)
    merged = merge(method, {"a": state(1), "b": state(2)}, base, **OPTIONS[method])
    assert list(merged) == list(base)
    assert {k: (v.dtype, v.shape) for k, v in merged.items()} == {k: (v.dtype, v.shape) for k, v in base.items()}


@pytest.mark.parametrize("method", list(OPTIONS))
def test_inputs_are_neither_changed_nor_shared(method: str) -> None:
    base, models = state(0), {"a": state(1), "b": state(2)}
    models["b"]["t3"] = base["t3"].clone()
    before = {name: {k: v.clone() for k, v in s.items()} for name, s in {**models, "base": base}.items()}
    merged = merge(method, models, base, **OPTIONS[method])
    for tensor in merged.values():
        tensor.zero_()
    after = {**models, "base": base}
    assert all(torch.equal(after[name][k], v) for name, s in before.items() for k, v in s.items())


@pytest.mark.parametrize("method", list(OPTIONS))
def test_the_order_of_the_sources_changes_no_bit(method: str) -> None:
    models = {name: state(i + 1) for i, name in enumerate("cab")}
    one = merge(method, models, state(0), **OPTIONS[method])
    two = merge(method, dict(sorted(models.items())), state(0), **OPTIONS[method])
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("method", list(OPTIONS))
def test_integers_come_from_the_base_and_frozen_tensors_bit_by_bit(method: str) -> None:
    base = {"frozen": torch.tensor([1 / 3, -0.0]), "steps": torch.tensor(3), "w": torch.zeros(2)}
    models = {s: {**base, "steps": torch.tensor(i), "w": torch.ones(2)} for i, s in enumerate("abc")}
    merged = merge(method, models, base, **OPTIONS[method])
    assert merged["steps"].item() == 3
    assert merged["frozen"].view(torch.int32).tolist() == base["frozen"].view(torch.int32).tolist()


def test_without_a_base_the_first_source_by_name_gives_integers_and_dtypes() -> None:
    models = {
        "b": {"w": torch.tensor([3.0]), "steps": torch.tensor(7)},
        "a": {"w": torch.tensor([1.0], dtype=torch.float16), "steps": torch.tensor(5)},
    }
    merged = merge("uniform", models)
    assert (merged["steps"].item(), merged["w"].item(), merged["w"].dtype) == (5, 2.0, torch.float16)


def test_a_tensor_all_sources_share_but_the_base_does_not_is_the_sources() -> None:
    # (x + x + ... + x) / 7 in floating point is not x for many of these numbers.
    shared = torch.randn(100, generator=torch.Generator().manual_seed(0))
    models = {source: {"w": shared.clone()} for source in "abcdefg"}
    base = {"w": torch.zeros(100)}
    assert torch.equal(merge("uniform", models, base)["w"], shared)
    torch.testing.assert_close(merge("shrunk", models, base, scale=1.0)["w"], shared)


def test_double_precision_is_kept() -> None:
    models = {name: {"w": torch.tensor([value], dtype=torch.float64)} for name, value in {"a": 1.0, "b": 1e-12}.items()}
    assert merge("uniform", models)["w"].item() == (1.0 + 1e-12) / 2


def test_parameters_are_accepted_and_the_result_has_no_gradient() -> None:
    models = {name: {"w": torch.nn.Parameter(torch.tensor([float(i)]))} for i, name in enumerate("ab")}
    merged = merge("rhm", models, {"w": torch.nn.Parameter(torch.tensor([1.0]))}, keep=1)
    assert not merged["w"].requires_grad
    assert merged["w"].item() == 0.5


W, V = torch.zeros(2), torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("models", "base", "message"),
    [
        (
            {"b": {"w": W}, "a": {"w": W, "v": V, "u": V}},
            {"w": W, "x": V},
            "The models hold different tensors: the base lacks `u`, `v`; `a` lacks `x`; `b` lacks `u`, `v`, `x`. "
            "Merge models of one architecture.",
        ),
        (
            {"a": {"w": W, "v": V}, "b": {"w": V, "v": V.T}},
            None,
            "Tensors differ from those of `a`: in `b` `w` is floating-point (2, 3), not floating-point (2,), "
            "`v` is floating-point (3, 2), not floating-point (2, 3). Merge models of one architecture.",
        ),
        (
            {"a": {"w": W}, "b": {"w": W.long()}},
            {"w": W},
            "Tensors differ from those of the base: in `b` `w` is int64 (2,), not floating-point (2,). "
            "Merge models of one architecture.",
        ),
        (
            {"a": {"w": W}, "b": {"w": torch.tensor([0.0, float("nan")])}},
            None,
            "Tensor `w` of `b` holds NaN; leave that model out or train it again.",
        ),
        (
            {"a": {"w": W}},
            {"w": torch.tensor([float("-inf"), 0.0])},
            "Tensor `w` of the base holds infinite values; leave that model out or train it again.",
        ),
    ],
)
def test_models_that_do_not_fit(
    models: dict[str, dict[str, Tensor]], base: dict[str, Tensor] | None, message: str
) -> None:
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, base)


def test_no_model() -> None:
    message = "Expected argument `models` to hold at least one model, but got none."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("uniform", {})


def test_no_base_where_one_is_needed() -> None:
    message = "Merge method `rhm` works on the change from a start model; give it as `base`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("rhm", {"a": {"w": W}})
