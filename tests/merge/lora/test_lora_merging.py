"""Merged adapters beside what a float64 calculation on whole matrices gives."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.lora.adapter import Adapter, read_adapter
from hamdg.merge.lora.merging import MergedAdapter, factored, merge_adapters

Model = dict[str, Tensor]
SHAPES: dict[str, tuple[int, ...]] = {"fc": (6, 5), "proj": (4, 7), "conv": (4, 3, 2, 2)}


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tensors(seed: int, rank: int, modules: str = "fc proj conv") -> Model:
    found = {}
    for i, module in enumerate(modules.split()):
        outputs, *inputs = SHAPES[module]
        found[f"{module}.lora_A.weight"] = random(rank, *inputs, seed=10 * seed + i)
        found[f"{module}.lora_B.weight"] = random(outputs, rank, *(1 for _ in inputs[1:]), seed=100 * seed + i)
    return found


def adapter(seed: int, rank: int, alpha: float, modules: str = "fc proj conv") -> Adapter:
    return read_adapter("a", tensors(seed, rank, modules), lambda module, rank: alpha / rank)


def adapters() -> dict[str, Adapter]:
    """Return adapters of different ranks and alphas, one of which does not touch every module."""
    return {"a": adapter(1, 2, 4), "b": adapter(2, 1, 3), "c": adapter(3, 3, 1, "fc conv")}


def changes(found: Mapping[str, Adapter]) -> dict[str, Model]:
    """Return what the adapters change, in float64."""
    result = {}
    for source, one in found.items():
        result[source] = {f"{m}.weight": torch.zeros(shape, dtype=torch.float64) for m, shape in SHAPES.items()}
        for module, pair in one.pairs.items():
            up, down = one.tensors[pair.up].double().flatten(1), one.tensors[pair.down].double().flatten(1)
            result[source][f"{module}.weight"] = pair.scale * (up @ down).view(SHAPES[module])
    return result


def change_of(merged: MergedAdapter, module: str) -> Tensor:
    up, down = (merged.tensors[f"{module}.lora_{part}.weight"].double() for part in "BA")
    return (up.flatten(1) @ down.flatten(1)).view(SHAPES[module])


def test_the_mean_of_factors_is_another_thing_by_hand() -> None:
    # (1)(2) = 2 and 2 x (-1)(-3) = 6, so the mean is 4; the mean of the factors would be (0)(-0.5) = 0.
    first = read_adapter(
        "a", {"m.lora_A.weight": torch.tensor([[2.0]]), "m.lora_B.weight": torch.tensor([[1.0]])}, None
    )
    other = {"m.lora_A.weight": torch.tensor([[-3.0]]), "m.lora_B.weight": torch.tensor([[-1.0]])}
    merged = merge_adapters("uniform", {"a": first, "b": read_adapter("b", other, lambda module, rank: 2.0)}, rank=1)
    up, down = merged.tensors["m.lora_B.weight"], merged.tensors["m.lora_A.weight"]
    assert float(up * down) == pytest.approx(4.0)
    # Both factors get their share of it.
    assert abs(float(up)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("method", "weights", "options"),
    [
        ("uniform", None, {}),
        ("weighted", {"a": 1.0, "b": 2.0, "c": 0.5}, {}),
        ("task_arithmetic", {"a": 1.0, "b": -2.0, "c": 0.5}, {"scale": 0.7}),
        ("wise_ft", None, {"alpha": 0.25}),
    ],
)
def test_averages_are_exact_at_the_sum_of_the_ranks(
    method: str, weights: dict[str, float] | None, options: dict[str, object]
) -> None:
    found = adapters()
    merged = merge_adapters(method, found, options, MergeSettings(weights))
    assert merged.rank == 6
    assert merged.error < 1e-6
    share = {"uniform": dict.fromkeys(found, 1 / 3), "wise_ft": dict.fromkeys(found, 0.25 / 3)}.get(method)
    if share is None:
        total = sum(weights.values()) if weights and method == "weighted" else 1 / 0.7
        share = {source: weight / total for source, weight in (weights or {}).items()}
    whole = changes(found)
    for module in SHAPES:
        expected = sum((share[source] * whole[source][f"{module}.weight"] for source in found), torch.zeros(()))
        torch.testing.assert_close(change_of(merged, module), expected, rtol=1e-5, atol=1e-5)
        outputs, *inputs = SHAPES[module]
        assert merged.tensors[f"{module}.lora_A.weight"].shape == (6, *inputs)
        assert merged.tensors[f"{module}.lora_B.weight"].shape == (outputs, 6, *(1 for _ in inputs[1:]))


@pytest.mark.parametrize("method", ["ties", "rhm", "dare", "breadcrumbs", "pcb", "emr", "tsv"])
def test_other_methods_merge_the_changes_as_they_merge_models(method: str) -> None:
    found = adapters()
    whole = {source: {name: change.float() for name, change in own.items()} for source, own in changes(found).items()}
    base = {name: torch.zeros_like(change) for name, change in whole["a"].items()}
    expected = merge(method, whole, base)
    merged = merge_adapters(method, found, rank=12)
    for module in SHAPES:
        assert expected[f"{module}.weight"].any()
        torch.testing.assert_close(
            change_of(merged, module).float(), expected[f"{module}.weight"], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("method", ["uniform", "ties"])
def test_a_smaller_rank_gives_the_nearest_change_and_says_how_near(method: str) -> None:
    found = adapters()
    whole = merge_adapters(method, found, rank=12)
    merged = merge_adapters(method, found, rank=2)
    squares, losses = [], []
    for module in SHAPES:
        exact = change_of(whole, module)
        left, values, right = torch.linalg.svd(exact.flatten(1), full_matrices=False)
        nearest = (left[:, :2] * values[:2] @ right[:2]).view(exact.shape)
        torch.testing.assert_close(change_of(merged, module), nearest, rtol=1e-4, atol=1e-4)
        squares.append(float(values.square().sum()))
        losses.append(float(values[2:].square().sum()))
        assert merged.lost[module] == pytest.approx(math.sqrt(losses[-1] / squares[-1]), rel=1e-4)
    assert merged.error == pytest.approx(math.sqrt(sum(losses) / sum(squares)), rel=1e-4)
    assert merged.error > 0.1


def test_a_change_in_the_span_of_the_factors_is_decomposed_there_as_well_as_anywhere() -> None:
    sources = [(random(30, 3, seed=i), random(3, 20, seed=10 + i)) for i in range(2)]
    change = sum((up @ down for up, down in sources), torch.zeros(())).view(30, 4, 5)
    inside = factored(change, sources, 4)
    outside = factored(change, [(random(30, 1, seed=5), random(1, 20, seed=6))], 4)
    torch.testing.assert_close(inside[0] @ inside[1], outside[0] @ outside[1], rtol=1e-5, atol=1e-5)
    assert inside[2:] == pytest.approx(outside[2:], rel=1e-5)


@pytest.mark.parametrize("method", ["uniform", "ties"])
def test_modules_of_one_shape_are_not_taken_for_one_tensor(method: str) -> None:
    def given(seed: int) -> Adapter:
        blocks = [{f"b{i}.{name}": tensor for name, tensor in tensors(seed + i, 2, "fc").items()} for i in range(12)]
        return read_adapter("a", {name: t for block in blocks for name, t in block.items()}, lambda module, rank: 1.0)

    merged = merge_adapters(method, {"a": given(100), "b": given(200)}, rank=5)
    assert len(merged.tensors) == 24
    for i in range(12):
        own = {s: read_adapter("a", tensors(seed + i, 2, "fc"), None) for s, seed in (("a", 100), ("b", 200))}
        alone = merge_adapters("uniform", own, rank=5)
        if method == "uniform":
            change = merged.tensors[f"b{i}.fc.lora_B.weight"] @ merged.tensors[f"b{i}.fc.lora_A.weight"]
            torch.testing.assert_close(change.double(), change_of(alone, "fc"), rtol=1e-4, atol=1e-4)
    assert len({float(tensor.sum()) for tensor in merged.tensors.values()}) == 24


def test_adapters_that_were_never_trained_stay_zero() -> None:
    fresh = {}
    for source in "ab":
        own = tensors(ord(source), 2, "fc") | {f"fc2{name[2:]}": t for name, t in tensors(7, 2, "fc").items()}
        own |= {name: torch.zeros_like(tensor) for name, tensor in own.items() if "lora_B" in name}
        fresh[source] = read_adapter(source, own, lambda module, rank: 1.0)
    merged = merge_adapters("uniform", fresh)
    assert merged.error == 0
    assert sorted(merged.tensors) == [f"{m}.lora_{part}.weight" for m in ("fc", "fc2") for part in "AB"]
    assert not any(tensor.any() for tensor in merged.tensors.values())


def test_names_of_kohya_s_scripts_with_their_alphas() -> None:
    def given(seed: int, rank: int, alpha: float | None) -> Adapter:
        down, up = tensors(seed, rank, "fc").values()
        own = {"lora_te_fc.lora_down.weight": down, "lora_te_fc.lora_up.weight": up}
        return read_adapter("a", own | ({} if alpha is None else {"lora_te_fc.alpha": torch.tensor(alpha)}), None)

    one, other = given(1, 2, 1.0), given(2, 3, None)
    assert [a.pairs["lora_te_fc"].scale for a in (one, other)] == [0.5, 1.0]
    merged = merge_adapters("uniform", {"a": one, "b": other})
    assert merged.tensors["lora_te_fc.alpha"].item() == merged.rank == 5
    up, down = merged.tensors["lora_te_fc.lora_up.weight"], merged.tensors["lora_te_fc.lora_down.weight"]
    products = [a.factors("lora_te_fc")[0] @ a.factors("lora_te_fc")[1] for a in (one, other)]
    torch.testing.assert_close(up @ down, (products[0] + products[1]) / 2, rtol=1e-5, atol=1e-5)


def test_whole_tensors_beside_the_factors_are_averaged_where_no_base_is_needed() -> None:
    found = {
        source: read_adapter(
            source, tensors(i, 1, "fc") | {"head.weight": torch.full((2,), float(i))}, lambda m, r: 1.0
        )
        for i, source in enumerate("ab")
    }
    assert merge_adapters("uniform", found).tensors["head.weight"].tolist() == [0.5, 0.5]
    message = (
        "`a` holds whole tensors beside its factors (`head.weight`), and merge method `ties` would need their base; "
        "choose an average such as `uniform`, or add each adapter to its model first (PEFT: `merge_and_unload`)."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_adapters("ties", found)


def test_the_dtype_is_that_of_the_factors_unless_another_is_asked_for() -> None:
    half = {
        source: Adapter(one.layout, {name: tensor.half() for name, tensor in one.tensors.items()}, one.pairs)
        for source, one in adapters().items()
    }
    assert {tensor.dtype for tensor in merge_adapters("uniform", half).tensors.values()} == {torch.float16}
    asked = merge_adapters("uniform", half, settings=MergeSettings(dtype=torch.float64))
    assert {tensor.dtype for tensor in asked.tensors.values()} == {torch.float64}
    message = "The merged factors of `conv` hold values that float16 cannot hold; name a wider `dtype` (float32), or"
    with pytest.raises(WeightsError, match=re.escape(message)):
        merge_adapters("task_arithmetic", half, {"scale": 1e12}, MergeSettings(threads=1))


def test_the_dtype_that_is_asked_for_is_that_of_whole_tensors_too() -> None:
    found = {
        source: read_adapter(source, tensors(1, 1, "fc") | {"head": head}, None)
        for source, head in (("a", torch.tensor([1.0, 3.0])), ("b", torch.tensor([2.0, 4.0]).half()))
    }
    with pytest.raises(WeightsError, match=r"^Dtypes differ from those of `a`: in `b` `head` is float16, not float32"):
        merge_adapters("uniform", found)
    for dtype in (torch.float32, torch.float16):
        merged = merge_adapters("uniform", found, settings=MergeSettings(dtype=dtype)).tensors
        assert {tensor.dtype for tensor in merged.values()} == {dtype}
        assert merged["head"].tolist() == [1.5, 3.5]
    large = {"a": read_adapter("a", tensors(1, 1, "fc") | {"head": torch.tensor([1e6])}, None)}
    message = "The merged tensor `head` holds values that float16 cannot hold; name a wider `dtype` (float32), or scale"
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}"):
        merge_adapters("uniform", large, settings=MergeSettings(dtype=torch.float16))


def test_neither_the_order_nor_the_threads_change_a_byte() -> None:
    found = adapters()
    one = merge_adapters("ties", found, settings=MergeSettings(threads=1), rank=3)
    two = merge_adapters("ties", dict(reversed(found.items())), settings=MergeSettings(threads=2), rank=3)
    assert list(one.tensors) == list(two.tensors)
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())
    assert (one.error, one.lost) == (two.error, two.lost)


@pytest.mark.parametrize("rank", [0, -1, True, 2.5])
def test_wrong_ranks(rank: int) -> None:
    message = f"Expected argument `lora_rank` to be an integer of at least 1, but got `{rank!r}`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_adapters("uniform", adapters(), rank=rank)


def test_what_cannot_be_merged() -> None:
    message = (
        "Merge method `fisher` needs gradients of whole models and cannot merge adapters; add each adapter to its "
        "model first (PEFT: `merge_and_unload`), or choose another method."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_adapters("fisher", adapters())
    kohya = read_adapter("b", {"fc.lora_down.weight": torch.ones(1, 5), "fc.lora_up.weight": torch.ones(6, 1)}, None)
    message = "`a` has the names of peft and `b` those of kohya, which do not say which modules are the same; convert"
    with pytest.raises(WeightsError, match=re.escape(message)):
        merge_adapters("uniform", {"a": adapter(1, 1, 1, "fc"), "b": kohya})
    wide = read_adapter("b", {"fc.lora_A.weight": torch.ones(1, 7), "fc.lora_B.weight": torch.ones(6, 1)}, None)
    message = "`a` changes a weight of the shape (6, 5) in `fc`, and `b` one of the shape (6, 7). Merge adapters of"
    for method in ("uniform", "ties"):
        with pytest.raises(WeightsError, match=f"^{re.escape(message)}"):
            merge_adapters(method, {"a": adapter(1, 1, 1, "fc"), "b": wide})
    broken = tensors(1, 1, "fc") | {"fc.lora_A.weight": torch.full((1, 5), torch.nan)}
    with pytest.raises(WeightsError, match=re.escape("`a`: `fc.weight` (NaN)")):
        merge_adapters("uniform", {"a": read_adapter("a", broken, None)})
    message = "A change with non-finite values has no factors; leave out `allow_nonfinite`."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge_adapters("uniform", {"a": read_adapter("a", broken, None)}, settings=MergeSettings(allow_nonfinite=True))


def test_factors_in_memory_are_not_averaged_in_silence() -> None:
    message = (
        "`a` holds factors of an adapter (`fc.lora_A.weight`), and the mean of factors is not the mean of the changes "
        "that they make. Merge the adapters' files (`hamdg merge`, `merge_files`), which merges the changes, or add "
        "each adapter to its model first (PEFT: `merge_and_unload`)."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        merge_with("uniform", {"a": tensors(1, 2), "b": tensors(2, 2)}, None, {}, MergeSettings())
