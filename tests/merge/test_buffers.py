from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from hamdg.errors import WeightsError
from hamdg.merge import merge

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


def test_the_merged_layer_normalises_the_union_and_averaged_variances_do_not() -> None:
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


@pytest.mark.parametrize("policy", ["moments", "first", "refuse"])
def test_frozen_statistics_stay_bit_by_bit(policy: str) -> None:
    models = {name: layer([1 / 3], [0.1], 7) for name in "abc"}
    merged = merge("uniform", models, buffers=policy)  # type: ignore[arg-type]
    assert all(torch.equal(merged[name], models["a"][name]) for name in merged)


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
