from __future__ import annotations

import math
import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from tests.merge.tools import SHAPES, State, random_state, sign, zeros


def reference(rows: list[list[float]], density: float, tail: float, inter: str, weights: list[float]) -> list[float]:
    """PCB of one pool of entries, in Python numbers."""
    number, size = len(rows), len(rows[0])
    if size == 0:
        return []
    cut = min(round(tail * size), (size - 1) // 2)
    clamped, scaled = [], []
    for row in rows:
        order = sorted(map(abs, row))
        low, high = order[cut], order[size - 1 - cut]
        sizes = [min(max(abs(x), low), high) for x in row]
        clamped.append([sign(x) * s for x, s in zip(row, sizes, strict=True)])
        scaled.append(
            [sign(x) * ((s - low) / (high - low) if high > low else 1) for x, s in zip(row, sizes, strict=True)]
        )
    shares = []
    for i, row in enumerate(rows):
        scores = []
        for e in range(size):
            if inter == "total":
                agreement = math.tanh(row[e] * sum(other[e] for other in rows))
            elif inter == "normalized":
                agreement = math.tanh(row[e] * sum(other[e] for other in scaled))
            else:
                agreement = sum(math.tanh(scaled[i][e] * other[e]) for other in scaled)
            scores.append(max(0.0, math.exp(number * scaled[i][e] ** 2) * agreement))
        count = max(1, round(density * size)) if density else 0
        floor = sorted(scores, reverse=True)[count - 1] if count else math.inf
        ceiling = max(scores)
        if ceiling > floor:
            shares.append([max(0.0, score - floor) / (ceiling - floor) for score in scores])
        else:
            shares.append([float(score == ceiling > 0 and count > 0) for score in scores])
    merged = []
    for e in range(size):
        total = sum(weights[i] * shares[i][e] * clamped[i][e] for i in range(number))
        divisor = sum(share[e] for share in shares)
        merged.append(total / divisor if divisor else 0.0)
    return merged


@pytest.mark.parametrize("inter", ["total", "normalized", "pairs"])
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.0)])
def test_equals_the_slow_reference(inter: str, scope: str, density: float, weights: tuple[float, ...]) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    pools = [sorted(SHAPES)] if scope == "global" else [[name] for name in SHAPES]
    for tail in (1e-4, 0.1, 0.49):
        options: dict[str, object] = {"inter": inter, "scope": scope, "density": density, "tail": tail, "scale": 0.7}
        factors = dict(zip("abc", weights, strict=True))
        merged = merge_with("pcb", models, zeros(models["a"]), options, MergeSettings(weights=factors))
        for pool in pools:
            rows = [[x for name in pool for x in models[s][name].flatten().tolist()] for s in "abc"]
            expected = [0.7 * x for x in reference(rows, density, tail, inter, list(weights))]
            found = [x for name in pool for x in merged[name].flatten().tolist()]
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert {name: tuple(tensor.shape) for name, tensor in merged.items()} == SHAPES


def test_by_hand() -> None:
    # n is (0, .5, 1) for both, the sums are (0, 4, 6), the scores tanh 0, e^.5 tanh 8 and e^2 tanh 18, so that the
    # shares are (0, r, 1) with r = e^.5 tanh 8 / e^2 for both.
    models = {"a": {"w": torch.tensor([1.0, 2.0, 3.0])}, "b": {"w": torch.tensor([-1.0, 2.0, 3.0])}}
    base = {"w": torch.zeros(3)}
    merged = merge("pcb", models, base, density=1.0, tail=0)
    assert merged["w"].tolist() == pytest.approx([0.0, 2.0, 3.0])
    # The weights show once a counts three times: (3 r 2 + r 2) / 2 r = 4 and (3 * 3 + 3) / 2 = 6.
    weighted = merge("pcb", models, base, {"a": 3, "b": 1}, density=1.0, tail=0)
    assert weighted["w"].tolist() == pytest.approx([0.0, 4.0, 6.0])
    # Two thirds are two entries, the second of which is the floor.
    assert merge("pcb", models, base, density=0.667, tail=0)["w"].tolist() == pytest.approx([0.0, 0.0, 3.0])


def test_shares_by_hand() -> None:
    # n is (0, .5, 1) for both, the sums are (3, -2.5, 10). Scores of a: tanh 3, a negative one that counts as zero, and
    # e^2 tanh 30; of b: tanh 6, e^.5 tanh 11.25 and e^2 tanh 70. The lowest of a source has no share, the highest all:
    # shares of a are (r, 0, 1), of b (0, q, 1).
    models = {"a": {"w": torch.tensor([1.0, 2.0, 3.0])}, "b": {"w": torch.tensor([2.0, -4.5, 7.0])}}
    merged = merge("pcb", models, {"w": torch.zeros(3)}, density=1.0, tail=0)
    assert merged["w"].tolist() == pytest.approx([1.0, -4.5, 5.0])
    # At two thirds of the entries the first of a is the floor, as the second of b is.
    trimmed = merge("pcb", models, {"w": torch.zeros(3)}, density=0.667, tail=0)
    assert trimmed["w"].tolist() == pytest.approx([0.0, 0.0, 5.0])


@pytest.mark.parametrize("inter", ["total", "normalized", "pairs"])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_tensors_of_one_entry_and_equal_magnitudes_work(inter: str, scope: str) -> None:
    state = {"one": torch.tensor([2.0]), "same": torch.tensor([2.0, -2.0, 2.0])}
    merged = merge("pcb", {"a": state, "b": state}, zeros(state), inter=inter, scope=scope)
    assert merged["one"].tolist() == [2.0]
    assert merged["same"].tolist() == [2.0, -2.0, 2.0]


@pytest.mark.parametrize("inter", ["total", "normalized", "pairs"])
def test_laws(inter: str) -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, zeros(random_state(9))

    def run(sources: dict[str, State], threads: int = 1, **options: object) -> State:
        return merge_with("pcb", sources, base, {"inter": inter, **options}, MergeSettings(threads=threads))

    merged, again = run(models), run(dict(reversed(models.items())), 3)
    nothing, still = run(models, density=0), run(dict.fromkeys("ab", base))
    everything = run(dict.fromkeys("xyz", models["a"]), density=1.0, tail=0)
    twice = run(models, scale=2)
    for name in base:
        assert torch.equal(merged[name], again[name])
        assert torch.equal(nothing[name], base[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(twice[name], 2 * merged[name])
        # Equal sources, nothing dropped or clamped: the mean of equal entries, wherever one has a share.
        shared = everything[name] != 0
        torch.testing.assert_close(everything[name][shared], models["a"][name][shared])
    assert sum(int((tensor == 0).sum()) for tensor in everything.values()) <= 1


def test_about_the_density_survives() -> None:
    change = {"w": torch.randn(300_001, generator=torch.Generator().manual_seed(0))}
    merged = merge("pcb", {"a": change}, zeros(change), threads=2)["w"]
    kept = merged != 0
    assert int(kept.sum()) == round(0.1 * 300_001) - 1
    assert float(change["w"][kept].abs().min()) > float(change["w"][~kept].abs().max())


def test_many_sources_do_not_overflow() -> None:
    state = {"w": torch.randn(50, generator=torch.Generator().manual_seed(0))}
    merged = merge("pcb", {f"s{i}": state for i in range(200)}, zeros(state))["w"]
    assert bool(torch.isfinite(merged).all())
    assert merged.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype) -> None:
    base = {**zeros(random_state(9, dtype)), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**random_state(i, dtype), "none": base["none"]} for i, source in enumerate("abc")}
    merged = merge("pcb", models, base, density=0.3)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("pcb", wide, {n: t.double() for n, t in base.items()}, density=0.3)
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(
            tensor, exact[name].to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 2e-3, atol=1e-5
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 2}, "Expected argument `density` to be a number between 0 and 1, but got `2`."),
        ({"tail": 0.5}, "Expected argument `tail` to be a number of at least 0 and below 0.5, but got `0.5`."),
        ({"inter": "sum"}, "Expected argument `inter` to be one of `total`, `normalized`, `pairs`, but got `'sum'`."),
        ({"scope": "row"}, "Expected argument `scope` to be one of `tensor`, `global`, but got `'row'`."),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("pcb", {"a": random_state(1)}, random_state(0), options)
