from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import CommonStartWarning, MergeSettings, merge, merge_with

W, V = torch.zeros(2), torch.zeros(2, 3)
NAN, INFINITE = float("nan"), float("-inf")


def test_a_tensor_all_sources_share_but_the_base_does_not_is_the_sources() -> None:
    # (x + x + ... + x) / 7 in floating point is not x for many of these numbers.
    shared = torch.randn(100, generator=torch.Generator().manual_seed(0))
    models = {source: {"w": shared.clone()} for source in "abcdefg"}
    base = {"w": torch.zeros(100)}
    assert torch.equal(merge("uniform", models, base)["w"], shared)
    torch.testing.assert_close(merge("shrunk", models, base, scale=1.0)["w"], shared)


def test_changes_too_small_to_square_are_changes() -> None:
    base = {"w": torch.zeros(2)}
    models = {"a": {"w": torch.tensor([1e-30, 0.0])}, "b": {"w": torch.zeros(2)}}
    assert merge("task_arithmetic", models, base, scale=1.0)["w"].tolist() == pytest.approx([1e-30, 0.0], rel=1e-6)
    assert merge("uniform", models)["w"].tolist() == pytest.approx([5e-31, 0.0], rel=1e-6)


def test_double_precision_is_kept_and_can_be_asked_for() -> None:
    models = {name: {"w": torch.tensor([value], dtype=torch.float64)} for name, value in {"a": 1.0, "b": 1e-12}.items()}
    assert merge("uniform", models)["w"].item() == (1.0 + 1e-12) / 2
    single = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([2.0**-25])}, "c": {"w": torch.tensor([-1.0])}}
    assert merge("uniform", single)["w"].item() == 0.0
    assert merge("uniform", single, precision="fp64")["w"].item() == pytest.approx(2.0**-25 / 3)


def test_the_dtype_of_the_result_can_be_named() -> None:
    models = {
        "a": {"w": torch.tensor([1.0]), "n": torch.tensor(2)},
        "b": {"w": torch.tensor([2.0]), "n": torch.tensor(2)},
    }
    merged = merge("uniform", models, dtype=torch.bfloat16)
    assert (merged["w"].dtype, merged["n"].dtype) == (torch.bfloat16, torch.int64)
    mixed = {"a": {"w": torch.tensor([1.0]).half()}, "b": {"w": torch.tensor([2.0])}}
    assert merge("uniform", mixed, dtype=torch.float32)["w"].item() == 1.5


def test_a_result_that_its_dtype_cannot_hold() -> None:
    base = {"w": torch.tensor([0.0]).half()}
    models = {"a": {"w": torch.tensor([60_000.0]).half()}}
    message = (
        "The merged tensor `w` holds values that float16 cannot hold; name a wider `dtype` (float32), or scale the "
        "change down."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("task_arithmetic", models, base, scale=2.0)
    wide = merge("task_arithmetic", models, base, scale=2.0, dtype=torch.float32)
    assert wide["w"].item() == 120_000.0


def test_a_mean_that_single_precision_cannot_compute_is_one_in_double() -> None:
    # 3e38 + 3e38 is more than fp32 holds; half of it is not.
    models = {source: {"w": torch.tensor([3e38, value])} for source, value in (("a", 1.0), ("b", 2.0))}
    message = (
        "The merged tensor `w` overflows fp32 while it is computed; set `precision` to `fp64`, or scale the change "
        "down."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models)
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, dtype=torch.float64)
    assert merge("uniform", models, precision="fp64")["w"].tolist() == [torch.tensor(3e38).item(), 1.5]
    brief = {source: {"w": model["w"].bfloat16()} for source, model in models.items()}
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", brief)
    assert merge("uniform", brief, precision="fp64")["w"].dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "how"), [(torch.float32, "name a wider `dtype` (float64), or "), (None, "")])
def test_a_change_that_no_precision_makes_fit(dtype: torch.dtype | None, how: str) -> None:
    largest = 2e38 if dtype else 1e308
    base = {"w": torch.tensor([largest], dtype=dtype or torch.float64)}
    models = {"a": {"w": -0.5 * base["w"]}}
    kind = "float32" if dtype else "float64"
    message = f"The merged tensor `w` holds values that {kind} cannot hold; {how}scale the change down."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("task_arithmetic", models, base, precision="fp64", scale=3.0)


def test_lines_scales_the_change_by_depth() -> None:
    base = {f"blocks.{i}.w": torch.zeros(1) for i in range(3)}
    models = {"a": {name: torch.ones(1) for name in base}, "b": {name: 3 * torch.ones(1) for name in base}}
    expected = [0.5 * 2, 0.75 * 2, 1.0 * 2]
    for method in ("uniform", "shrunk"):
        options: dict[str, object] = {"scale": 1.0} if method == "shrunk" else {}
        merged = merge_with(method, models, base, options, MergeSettings(lines=(0.5, 0.5)))
        assert [tensor.item() for tensor in merged.values()] == expected
    with pytest.raises(ConfigError, match=r"^The setting `lines` works on the change from a start model; give it as"):
        merge("uniform", models, lines=(0.5, 0.5))


def test_threads_change_no_bit_and_torch_s_number_of_threads_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    models = {s: {f"t{i}": torch.randn(50, 40, generator=generator) for i in range(9)} for s in "abc"}
    base = {name: torch.randn(50, 40, generator=generator) for name in models["a"]}
    before = torch.get_num_threads()
    one = merge("ties", models, base, threads=1)
    four = merge("ties", models, base, threads=4)
    assert all(torch.equal(one[name], four[name]) for name in base)
    assert torch.get_num_threads() == before


def test_as_many_threads_as_torch_uses_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def pool(threads: int, thread_name_prefix: str) -> ThreadPoolExecutor:
        seen.append(threads)
        return ThreadPoolExecutor(threads, thread_name_prefix)

    monkeypatch.setattr("hamdg.merge.model_set.ThreadPoolExecutor", pool)
    models = {source: {name: torch.randn(4) for name in ("v", "w")} for source in "ab"}
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        merge("uniform", models)
    finally:
        torch.set_num_threads(before)
    merge("uniform", models, threads=2)
    assert seen == [3, 2]


def test_tied_tensors_are_merged_once_and_tied_again() -> None:
    def model(value: float) -> dict[str, Tensor]:
        shared = torch.full((4,), value)
        return {"head.w": shared, "embed.w": shared, "other.w": torch.full((4,), value)}

    models = {"a": model(1.0), "b": model(2.0)}
    apart = {name: tensor.clone() for name, tensor in model(0.0).items()}
    merged = merge("rhm", models, apart, keep=0.5, scope="global")
    assert merged["head.w"] is merged["embed.w"]
    assert merged["other.w"] is not merged["embed.w"]
    # Four of eight entries are kept, not six of twelve: `embed.w` comes first, `other.w` has no room left.
    assert merged["embed.w"].tolist() == [1.5] * 4
    assert merged["other.w"].tolist() == [0.0] * 4


def test_tensors_that_are_tied_in_one_model_only_are_merged_apart() -> None:
    shared = torch.ones(2)
    models = {"a": {"x": shared, "y": shared}, "b": {"x": torch.ones(2), "y": torch.zeros(2)}}
    merged = merge("uniform", models)
    assert merged["x"].tolist() == [1.0, 1.0]
    assert merged["y"].tolist() == [0.5, 0.5]


def test_a_base_far_from_the_sources_is_measured_and_told() -> None:
    base = {"w": torch.tensor([3.0, 4.0])}
    models = {"near": {"w": torch.tensor([3.0, 4.1])}, "far": {"w": torch.tensor([3.0, -1.0])}}
    message = (
        "The base may not be the start that the sources have in common: measured in its own norm, the distance to them "
        "is `far` 1.00; fine-tuned models usually stay below 0.7. Check `base`."
    )
    for method in ("task_arithmetic", "rhm"):
        with pytest.warns(CommonStartWarning, match=f"^{re.escape(message)}$"):
            merge(method, models, base)


def test_non_finite_values_can_be_let_through() -> None:
    models = {"a": {"w": torch.tensor([1.0, NAN])}, "b": {"w": torch.tensor([3.0, 1.0])}}
    merged = merge("uniform", models, allow_nonfinite=True)["w"]
    assert merged[0].item() == 2.0
    assert merged[1].isnan()


def test_large_finite_values_are_no_fault() -> None:
    models = {"a": {"w": torch.tensor([3e38, 1.0])}, "b": {"w": torch.tensor([-3e38, 1.0])}}
    assert merge("uniform", models)["w"].tolist() == [0.0, 1.0]


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
            {"a": {"w": W.half(), "v": V.half()}, "b": {"w": W, "v": V}},
            None,
            "Dtypes differ from those of `a`: in `b` `w` is float32, not float16 (and 1 more). Name the result's with "
            "`dtype`, for instance `float32`.",
        ),
    ],
)
def test_models_that_do_not_fit(
    models: dict[str, dict[str, Tensor]], base: dict[str, Tensor] | None, message: str
) -> None:
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, base)


@pytest.mark.parametrize("method", ["uniform", "task_arithmetic", "rhm"])
def test_values_that_are_no_numbers_are_all_named(method: str) -> None:
    models = {
        "a": {"v": torch.tensor([NAN]), "w": torch.tensor([INFINITE, 1.0])},
        "b": {"v": torch.zeros(1), "w": torch.tensor([1.0, NAN])},
    }
    message = (
        "There are non-finite values. `a`: `v` (NaN), `w` (infinite values); `b`: `w` (NaN). Leave such a "
        "model out or train it again (`allow_nonfinite` merges all the same)."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge(method, models, {"v": torch.ones(1), "w": torch.ones(2)})


def test_a_base_that_holds_no_numbers_is_named_alone() -> None:
    with pytest.raises(WeightsError, match=re.escape("non-finite values. the base: `w` (NaN). Leave")):
        merge("task_arithmetic", {"a": {"w": torch.zeros(1)}}, {"w": torch.tensor([NAN])})


@pytest.mark.parametrize(
    ("method", "weights", "message"),
    [
        (
            "uniform",
            {"a": 1.0, "b": 1.0},
            "Merge method `uniform` takes no weights; leave `weights` out or choose another method.",
        ),
        (
            "task_arithmetic",
            {"a": 1.0},
            "Expected argument `weights` to hold one number for each of `a`, `b`, but `b` has no weight.",
        ),
        (
            "task_arithmetic",
            {"a": 1.0, "b": 1.0, "c": 2.0},
            "Expected argument `weights` to hold one number for each of `a`, `b`, but `c` is not a source.",
        ),
        ("task_arithmetic", {"a": 1.0, "b": NAN}, "Expected the weight of `b` to be a number, but got `nan`."),
    ],
)
def test_wrong_weights(method: str, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge(method, {"a": {"w": W}, "b": {"w": W}}, {"w": W}, weights)


def test_no_model() -> None:
    message = "Expected argument `models` to hold at least one model, but got none."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("uniform", {})


def test_no_base_where_one_is_needed() -> None:
    message = "Merge method `rhm` works on the change from a start model; give it as `base`."
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge("rhm", {"a": {"w": W}})


def test_three_names_that_models_tie_in_pairs_are_one_tensor() -> None:
    # `a` holds b and c in one memory, `b` holds a and b; all three are equal in each.
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    shared, also_shared = one.clone(), other.clone()
    models = {"a": {"a": one, "b": shared, "c": shared}, "b": {"a": also_shared, "b": also_shared, "c": other}}
    merged = merge("uniform", models)
    assert [tensor.tolist() for tensor in merged.values()] == [[2.0, 3.0]] * 3
    assert merged["a"].data_ptr() == merged["b"].data_ptr() == merged["c"].data_ptr()


def test_values_of_the_base_that_are_no_numbers_are_not_called_an_overflow() -> None:
    models = {"a": {"w": torch.tensor([1.0, 2.0])}, "b": {"w": torch.tensor([2.0, 1.0])}}
    with pytest.raises(WeightsError, match=re.escape("There are non-finite values. the base: `w` (NaN).")):
        merge("slerp", models, {"w": torch.tensor([torch.nan, 1.0])}, space="changes")
