from __future__ import annotations

import math
import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import random_state


@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 2.0, "b": 0.0, "c": -0.5}])
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, -1.5])
def test_equals_the_slow_reference(weights: dict[str, float] | None, scale: float) -> None:
    base, models = random_state(0), {source: random_state(i + 1) for i, source in enumerate("abc")}
    merged = merge_with("task_arithmetic", models, base, {"scale": scale}, MergeSettings(weights=weights))
    for name, tensor in merged.items():
        expected = []
        for i, start in enumerate(base[name].flatten().tolist()):
            changes = [
                (weights or {}).get(s, 1.0) * (models[s][name].flatten().tolist()[i] - start) for s in sorted(models)
            ]
            expected.append(start + scale * math.fsum(changes))
        assert tensor.flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert tensor.shape == base[name].shape


def test_by_hand() -> None:
    base = {"w": torch.tensor([1.0, 2.0])}
    models = {"a": {"w": torch.tensor([2.0, 4.0])}, "b": {"w": torch.tensor([0.0, 12.0])}}
    # Changes (1, 2) and (-1, 10).
    assert merge("task_arithmetic", models, base)["w"].tolist() == pytest.approx([1.0, 5.6])
    assert merge("task_arithmetic", models, base, scale=1)["w"].tolist() == [1.0, 14.0]
    weighted = merge("task_arithmetic", models, base, {"a": 3, "b": 0.5}, scale=1)
    assert weighted["w"].tolist() == [3.5, 13.0]


def test_laws() -> None:
    base, models = random_state(0), {source: random_state(i + 1) for i, source in enumerate("abc")}
    mean, uniform = merge("task_arithmetic", models, base, scale=1 / 3), merge("uniform", models)
    one = merge("task_arithmetic", {"a": models["a"]}, base, scale=1)
    negated = merge("task_arithmetic", {"a": models["a"]}, base, scale=-1)
    backwards = merge("task_arithmetic", dict(reversed(models.items())), base, scale=1 / 3, threads=3)
    equal = merge("task_arithmetic", dict.fromkeys("abc", models["b"]), base, scale=1 / 3)
    for name in base:
        torch.testing.assert_close(mean[name], uniform[name])
        torch.testing.assert_close(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["b"][name])
        torch.testing.assert_close(negated[name] - base[name], base[name] - one[name])
        assert torch.equal(backwards[name], mean[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype) -> None:
    base, models = random_state(0, dtype), {source: random_state(i + 1, dtype) for i, source in enumerate("abc")}
    merged = merge("task_arithmetic", models, base)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("task_arithmetic", wide, {n: t.double() for n, t in base.items()})
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


def test_large_tensors_are_put_together_from_their_pieces() -> None:
    base, change = torch.zeros(300_001), torch.arange(300_001.0)
    merged = merge("task_arithmetic", {"a": {"w": change}, "b": {"w": change}}, {"w": base}, scale=0.5)
    assert torch.equal(merged["w"], change)


@pytest.mark.parametrize("value", ["1", math.inf, None, True])
def test_a_scale_that_is_no_number(value: object) -> None:
    message = f"Expected argument `scale` to be a number, but got `{value!r}`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("task_arithmetic", {"a": random_state(1)}, random_state(0), {"scale": value})


def test_a_base_is_needed() -> None:
    with pytest.raises(ConfigError, match=re.escape("Merge method `task_arithmetic` works on the change from a start")):
        merge("task_arithmetic", {"a": random_state(1)})
