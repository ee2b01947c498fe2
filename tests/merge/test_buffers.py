from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import (
    BufferShares,
    MergePlan,
    MergeSettings,
    TensorSet,
    global_method,
    merge,
    merge_with,
    tensorwise_method,
)

Model = dict[str, Tensor]


def layer(mean: list[float], variance: list[float], batches: int | None) -> Model:
    state = {"bn.running_mean": torch.tensor(mean), "bn.running_var": torch.tensor(variance)}
    return state if batches is None else {**state, "bn.num_batches_tracked": torch.tensor(batches)}


def test_pooled_moments_by_hand() -> None:
    # Shares 1/4 and 3/4: mu = 0.25 * 0 + 0.75 * 4 = 3; var = 0.25 * (1 + 9) + 0.75 * (2 + 1) = 4.75.
    merged = merge("uniform", {"a": layer([0.0], [1.0], 10), "b": layer([4.0], [2.0], 30)})
    assert merged["bn.running_mean"].tolist() == [3.0]
    assert merged["bn.running_var"].tolist() == [4.75]
    assert merged["bn.num_batches_tracked"].item() == 40


def test_pooled_moments_are_those_of_all_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(n, 5, generator=generator, dtype=torch.float64) * (i + 1) + i for i, n in enumerate((3, 7, 11))
    ]
    models = {
        f"s{i}": {
            "running_mean": part.mean(0),
            "running_var": part.var(0, correction=0),
            "num_batches_tracked": torch.tensor(len(part)),
        }
        for i, part in enumerate(parts)
    }
    merged = merge("uniform", models)
    union = torch.cat(parts)
    torch.testing.assert_close(merged["running_mean"], union.mean(0))
    torch.testing.assert_close(merged["running_var"], union.var(0, correction=0))
    # Pooling is associative: two first, then the third.
    pair = merge("uniform", {name: models[name] for name in ("s0", "s1")})
    again = merge("uniform", {"pair": pair, "s2": models["s2"]})
    for name in merged:
        torch.testing.assert_close(again[name], merged[name])


def test_the_merged_layer_normalizes_the_union_and_averaged_variances_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(64, 3, 4, 4, generator=generator) + 3 * i for i in range(2)]
    models = {}
    for i, part in enumerate(parts):
        norm = nn.BatchNorm2d(3, momentum=None)
        norm(part)
        models[f"s{i}"] = norm.state_dict()
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict(merge("uniform", models))
    out = norm.eval()(torch.cat(parts))
    assert out.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert out.var().item() == pytest.approx(1.0, abs=1e-2)
    norm.running_var = torch.stack([model["running_var"] for model in models.values()]).mean(0)
    assert norm(torch.cat(parts)).var().item() > 2.0


@pytest.mark.parametrize("batches", [None, 0])
def test_without_counts_the_shares_are_equal(batches: int | None) -> None:
    merged = merge("uniform", {"a": layer([0.0], [1.0], batches), "b": layer([4.0], [3.0], batches)})
    # (1 + 3) / 2 + (0 - 4)^2 / 4
    assert merged["bn.running_var"].tolist() == [6.0]


def statistics(merged: Mapping[str, Tensor]) -> list[float]:
    return [tensor.item() for tensor in merged.values()]


def test_shares_are_weights_times_counters() -> None:
    # 3 x 10 against 1 x 30: one half each; mu = 2, var = (1 + 4 + 2 + 4) / 2. A third of b's batches counts.
    models = {"a": layer([0.0], [1.0], 10), "b": layer([4.0], [2.0], 30)}
    assert statistics(merge("weighted", models, weights={"a": 3, "b": 1})) == [2.0, 5.5, 20]


def test_the_base_counts_by_its_share_alone() -> None:
    # 1/4 of the base's, 3/4 of the source's, whose counter went on from there: mu = 3, var = (1 + 9 + 3 (2 + 1)) / 4.
    base, models = layer([0.0], [1.0], 0), {"a": layer([4.0], [2.0], 100)}
    assert statistics(merge("wise_ft", models, base, alpha=0.75)) == [3.0, 4.75, 75]


def test_task_arithmetic_leaves_to_the_base_what_its_factors_leave() -> None:
    base = {"w": torch.ones(1), **layer([0.0], [1.0], 4)}
    models = {name: {"w": torch.ones(1), **layer([8.0], [1.0], 4)} for name in "ab"}
    for scale, expected in {0.25: 4.0, 0.5: 8.0, 2.0: 8.0, 0.0: 0.0, -1.0: 0.0}.items():
        merged = merge("task_arithmetic", models, base, scale=scale)
        assert merged["bn.running_mean"].item() == expected, scale


def test_along_a_trajectory_weights_count_alone() -> None:
    # Shares 1/4, 1/4, 1/2: mu = 3, var = 1 + (9 + 1 + 2 x 4) / 4, and the mean of the counters.
    states = {f"step-{i}": layer([mean], [1.0], 20 * i) for i, mean in ((1, 0.0), (2, 2.0), (3, 5.0))}
    assert statistics(merge("ema", states, decay=0.5)) == [3.0, 5.5, 45]
    assert statistics(merge("sma", states, start=0.5)) == [3.5, 3.25, 50]


def test_running_means_are_those_of_torch_s_moving_average() -> None:
    norm = nn.BatchNorm1d(4)
    fold = torch.optim.swa_utils.get_ema_multi_avg_fn(0.7)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(norm, multi_avg_fn=fold, use_buffers=True)
    states = {}
    for step in range(4):
        norm(torch.randn(8, 4, generator=torch.Generator().manual_seed(step)) + step)
        averaged.update_parameters(norm)
        states[f"step-{step}"] = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    expected = averaged.module.state_dict()["running_mean"]
    torch.testing.assert_close(merge("ema", states, decay=0.7)["running_mean"], expected)


def test_lines_scales_the_share_that_the_sources_have() -> None:
    base = {"blocks.0.w": torch.ones(1), "blocks.1.w": torch.ones(1)}
    names = ("blocks.0.bn.running_mean", "blocks.1.bn.running_mean")
    models = {"a": base | {name: torch.tensor([8.0]) for name in names}}
    base |= {name: torch.tensor([0.0]) for name in names}
    merged = merge("task_arithmetic", models, base, scale=0.5, lines=(0.0, 1.0))
    assert [merged[name].item() for name in names] == [0.0, 4.0]


def test_other_policies_look_at_models_that_have_a_share() -> None:
    base, models = layer([0.0], [1.0], 0), {"a": layer([4.0], [2.0], 1), "b": layer([4.0], [2.0], 1)}
    assert statistics(merge("ties", models, base, buffers="refuse")) == [4.0, 2.0, 1]
    with pytest.raises(WeightsError, match=r"^The models differ in the buffer `bn\.running_mean`"):
        merge("wise_ft", models, base, buffers="refuse")
    assert statistics(merge("wise_ft", models, base, buffers="first")) == [4.0, 2.0, 1]
    assert statistics(merge("wise_ft", models, base, alpha=0, buffers="first")) == [0.0, 1.0, 0]


def test_integers_of_the_base_are_not_mixed_with_those_of_the_sources() -> None:
    merged = merge("wise_ft", {"a": {"ids": torch.arange(3)}}, {"ids": torch.arange(3) + 1})
    assert merged["ids"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("forget")
def test_a_method_of_one_s_own_states_its_shares() -> None:
    def half(weights: Mapping[str, float], *, part: float, base: bool) -> BufferShares:
        """Mix a part of the last source's statistics and the rest of the base's."""
        return BufferShares({max(weights): part}, (1 - part) * base)

    @tensorwise_method("to_the_last", on="changes", buffers=half)
    def to_the_last(tensor_set: TensorSet, *, part: float = 0.5) -> Tensor:
        """Go a part of the way to the last source."""
        return part * tensor_set.tensors[max(tensor_set.tensors)]

    @tensorwise_method("silent", on="changes")
    def silent(tensor_set: TensorSet) -> Tensor:
        """State nothing."""
        return next(iter(tensor_set.tensors.values()))

    base, models = layer([0.0], [1.0], None), {"a": layer([4.0], [1.0], None), "b": layer([8.0], [1.0], None)}
    assert merge("to_the_last", models, base)["bn.running_mean"].item() == 4.0
    assert merge("to_the_last", models, base, part=0.25)["bn.running_mean"].item() == 2.0
    assert merge("silent", models, base)["bn.running_mean"].item() == 6.0


@pytest.mark.usefixtures("forget")
def test_wrong_statements_about_buffers() -> None:
    def depends(weights: Mapping[str, float], *, part: float) -> BufferShares:
        return BufferShares(weights, part)

    message = "The buffers of the merge method `odd` take `part`, which is not an option of it."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        tensorwise_method("odd", on="models", buffers=depends)(lambda tensor_set: tensor_set.like)

    stated = {
        "plain": ({"a": 1.0}, "states a `dict` for its buffers; expected are `BufferShares`."),
        "stranger": (BufferShares({"c": 1.0}), "states a share of buffers for `c`, which is not a source."),
        "nan": (BufferShares({"a": float("nan")}), "states `nan` as the share of `a` in the buffers."),
        "inf": (BufferShares({"a": 1.0}, float("inf")), "states `inf` as the share of the base in the buffers."),
    }
    for name, (shares, text) in stated.items():
        global_method(name, on="models")(
            lambda model_set, shares=shares: MergePlan(lambda tensor_set: tensor_set.like, buffers=shares)
        )
        message = f"Merge method `{name}` {text}"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_with(name, {"a": layer([4.0], [1.0], None)}, None, {}, MergeSettings())


def test_a_source_that_saw_no_batch_has_no_say() -> None:
    merged = merge("uniform", {"a": layer([0.0], [1.0], 0), "b": layer([4.0], [3.0], 5)})
    assert {name: tensor.tolist() for name, tensor in merged.items()} == {
        "bn.running_mean": [4.0],
        "bn.running_var": [3.0],
        "bn.num_batches_tracked": 5,
    }


def test_the_first_source_by_name() -> None:
    models = {"b": layer([4.0], [3.0], 5), "a": layer([0.0], [1.0], 7)}
    merged = merge("uniform", models, buffers="first")
    assert {name: tensor.tolist() for name, tensor in merged.items()} == {
        "bn.running_mean": [0.0],
        "bn.running_var": [1.0],
        "bn.num_batches_tracked": 7,
    }


def test_refusing() -> None:
    models = {"a": layer([0.0], [1.0], 7), "b": layer([0.0], [3.0], 7)}
    message = (
        "The models differ in the buffer `bn.running_var`; choose `buffers` to be `moments` (pool them) or `first` "
        "(those of the first source)."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, buffers="refuse")


@pytest.mark.parametrize("policy", ["moments", "mean", "first", "refuse"])
def test_frozen_statistics_stay_bit_by_bit(policy: str) -> None:
    models = {name: layer([1 / 3], [0.1], 7) for name in "abc"}
    merged = merge("uniform", models, buffers=policy)  # type: ignore[arg-type]
    assert all(torch.equal(merged[name], models["a"][name]) for name in merged)


def test_plain_means_by_hand() -> None:
    models = {"a": layer([0.0], [1.0], 10), "b": layer([4.0], [3.0], 30)}
    merged = merge("uniform", models, buffers="mean")
    # Neither the numbers of batches nor the distance of the means counts.
    assert merged["bn.running_mean"].tolist() == [2.0]
    assert merged["bn.running_var"].tolist() == [2.0]
    assert int(merged["bn.num_batches_tracked"]) == 40
    half = merge("wise_ft", {"a": models["a"]}, base=models["b"], buffers="mean", alpha=0.25)
    assert half["bn.running_mean"].tolist() == [3.0]
    assert half["bn.running_var"].tolist() == [2.5]


def test_integers_that_count_nothing() -> None:
    same = {"ids": torch.arange(3), "mask": torch.tensor([True, False])}
    merged = merge("uniform", {"a": same, "b": {name: tensor.clone() for name, tensor in same.items()}})
    assert all(torch.equal(merged[name], same[name]) for name in same)
    other = {"ids": torch.arange(3) + 1, "mask": same["mask"]}
    message = (
        "The models differ in `ids`, which is not floating-point and cannot be averaged; take the first source's with "
        "`buffers` set to `first`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", {"a": same, "b": other})
    assert merge("uniform", {"a": same, "b": other}, buffers="first")["ids"].tolist() == [0, 1, 2]


def test_a_variance_without_its_mean() -> None:
    models = {name: {"bn.running_var": torch.tensor([value])} for name, value in {"a": 1.0, "b": 2.0}.items()}
    with pytest.raises(WeightsError, match=re.escape("`bn.running_var` cannot be pooled without `bn.running_mean`")):
        merge("uniform", models)


def test_half_precision_statistics_are_pooled_in_double() -> None:
    models = {
        name: {"bn.running_mean": torch.tensor([value]).half(), "bn.running_var": torch.tensor([60_000.0]).half()}
        for name, value in {"a": 0.0, "b": 1.0}.items()
    }
    merged = merge("uniform", models)
    assert merged["bn.running_var"].item() == 60_000.0
    assert merged["bn.running_mean"].dtype == torch.float16


def test_statistics_are_rounded_once_to_the_dtype_that_is_asked_for() -> None:
    # In fp16 the mean 1.00048828125 would be 1, and a variance of 250,001 infinite.
    models = {
        "a": {"bn.running_mean": torch.tensor([1.0, 0.0]).half(), "bn.running_var": torch.ones(2).half()},
        "b": {"bn.running_mean": torch.tensor([1.0009765625, 1000.0]).half(), "bn.running_var": torch.ones(2).half()},
    }
    merged = merge("uniform", models, dtype=torch.float32)
    assert merged["bn.running_mean"].tolist() == [1.00048828125, 500.0]
    assert merged["bn.running_var"][1].item() == 250_001.0


@pytest.mark.parametrize("frozen", [True, False])
def test_a_dtype_that_cannot_hold_statistics_is_an_error(frozen: bool) -> None:
    message = (
        "The merged tensor `bn.running_var` holds values that float8_e4m3fn cannot hold; name a wider `dtype` "
        "(float32), or leave out the model whose statistics are so large."
    )
    models = {"a": layer([0.0], [1000.0], None), "b": layer([0.0], [1000.0 if frozen else 2000.0], None)}
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge("uniform", models, dtype=torch.float8_e4m3fn)
    halves = {"a": layer([0.0], [1.0], None), "b": layer([1000.0], [1.0], None)}
    with pytest.raises(WeightsError, match=r"^The merged tensor `bn\.running_var` holds values that float16 cannot"):
        merge("uniform", halves, dtype=torch.float16)


def test_statistics_of_the_base_that_are_no_numbers_are_named() -> None:
    models, base = {"a": layer([0.0], [1.0], None), "b": layer([1.0], [1.0], None)}, layer([torch.nan], [1.0], None)
    with pytest.raises(WeightsError, match=re.escape("values. the base: `bn.running_mean` (NaN).")):
        merge("wise_ft", models, base)
    # A base that takes no part may hold anything.
    assert merge("wise_ft", models, base, alpha=1.0)["bn.running_mean"].tolist() == [0.5]
