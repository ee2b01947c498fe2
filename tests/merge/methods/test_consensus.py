from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.methods.consensus import tall_mask
from tests.merge.tools import SHAPES, State, random_state, zeros


def reference(columns: list[list[float]], totals: list[float], threshold: float, agree: int) -> list[float]:
    merged = []
    for column, total in zip(columns, totals, strict=True):
        users = sum(abs(change) > threshold * abs(total - change) for change in column)
        merged.append(total if users >= agree else 0.0)
    return merged


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6, 2.0])
@pytest.mark.parametrize("agree", [0, 1, 2, 3])
@pytest.mark.parametrize("total", ["sum", "ties"])
def test_equals_the_slow_reference(threshold: float, agree: int, total: str) -> None:
    models = {source: random_state(i) for i, source in enumerate("abc")}
    base = zeros(models["a"])
    options: dict[str, object] = {"threshold": threshold, "agree": agree, "total": total, "scale": 0.7}
    merged = merge_with("consensus", models, base, options)
    ties = merge("ties", models, base, combine="sum")
    for name, tensor in merged.items():
        columns = [list(column) for column in zip(*(models[s][name].flatten().tolist() for s in "abc"), strict=True)]
        totals = ties[name].flatten().tolist() if total == "ties" else [sum(column) for column in columns]
        expected = [0.7 * x for x in reference(columns, totals, threshold, agree)]
        assert tensor.flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert tensor.shape == SHAPES[name]


# Sums 6, 1, 0, 2; what the sum leads away from a: 2, 2, 1, 0, and from b: 4, 3, 1, 2.
COLUMNS = {"a": [4.0, 3.0, 1.0, 2.0], "b": [2.0, -2.0, -1.0, 0.0]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Uses: a (b's 2 is below .6 * 4); both (2 > .6 * 3); both, of a sum of 0; a alone.
        ({"agree": 2}, [0.0, 1.0, 0.0, 0.0]),
        ({"agree": 1}, [6.0, 1.0, 0.0, 2.0]),
        ({"agree": 2, "threshold": 0.2}, [6.0, 1.0, 0.0, 0.0]),
        # 3 > 2 * 2 and 2 > 2 * 3 are not.
        ({"agree": 1, "threshold": 2}, [0.0, 0.0, 0.0, 2.0]),
        ({"agree": 0, "threshold": 100}, [6.0, 1.0, 0.0, 2.0]),
        ({"agree": 2, "scale": 0.5}, [0.0, 0.5, 0.0, 0.0]),
    ],
)
def test_by_hand(options: dict[str, object], expected: list[float]) -> None:
    models = {source: {"w": torch.tensor(row)} for source, row in COLUMNS.items()}
    merged = merge_with("consensus", models, {"w": torch.zeros(4)}, {"scale": 1, **options})
    assert merged["w"].tolist() == pytest.approx(expected)


def test_the_comparison_is_strict() -> None:
    change, total = torch.tensor([0.0, 0.0, 1.0, 2.0]), torch.tensor([0.0, 5.0, 3.0, 2.0])
    # 0 > 0, 0 > 2.5, 1 > 1 and 2 > 0.
    assert tall_mask(change, total, 0.5).tolist() == [False, False, False, True]


def test_laws() -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, random_state(9)

    def run(sources: dict[str, State], threads: int = 1, **options: object) -> State:
        return merge_with("consensus", sources, base, options, MergeSettings(threads=threads))

    for total in ("sum", "ties"):
        merged = run(models, total=total)
        again = run(dict(reversed(models.items())), 3, total=total)
        doubled = run({s: {n: base[n] + 2 * (m[n] - base[n]) for n in base} for s, m in models.items()}, total=total)
        still = run(dict.fromkeys("ab", base), total=total)
        for name in base:
            assert torch.equal(merged[name], again[name])
            assert torch.equal(still[name], base[name])
            torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))
    one, same = run({"a": models["a"]}, agree=1, scale=1), dict.fromkeys("abc", models["a"])
    equal, milder = (run(same, agree=3, scale=1 / 3, threshold=threshold) for threshold in (0.6, 0.4))
    everything, plain = run(models, agree=0), merge("task_arithmetic", models, base)
    for name in base:
        torch.testing.assert_close(one[name], models["a"][name])
        # Of three equal changes each is half the rest of the sum: 1 > .6 * 2 is not, 1 > .4 * 2 is.
        assert torch.equal(equal[name], base[name])
        torch.testing.assert_close(milder[name], models["a"][name])
        torch.testing.assert_close(everything[name], plain[name])


@pytest.mark.parametrize("total", ["sum", "ties"])
def test_large_tensors_are_put_together_from_their_pieces(total: str) -> None:
    rows = [torch.randn(300_001, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    models, base = {source: {"w": row} for source, row in zip("abc", rows, strict=True)}, {"w": torch.zeros(300_001)}
    merged = merge("consensus", models, base, total=total, scale=1)["w"]
    tau = merge("ties", models, base, combine="sum")["w"] if total == "ties" else rows[0] + rows[1] + rows[2]
    users = sum((row.abs() > (tau - row).abs() * 0.6).int() for row in rows)
    assert torch.equal(merged, tau * (torch.as_tensor(users) >= 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype) -> None:
    base = {**zeros(random_state(9, dtype)), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**random_state(i, dtype), "none": base["none"]} for i, source in enumerate("abc")}
    merged = merge("consensus", models, base)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("consensus", wide, {n: t.double() for n, t in base.items()})
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1}, "Expected argument `threshold` to be a number of at least 0, but got `-1`."),
        ({"agree": 1.5}, "Expected argument `agree` to be an integer of at least 0, but got `1.5`."),
        (
            {"agree": 4},
            "Expected argument `agree` to be at most the number of sources, 3, but got `4`; with it nothing would be "
            "left of any change.",
        ),
        ({"total": "mean"}, "Expected argument `total` to be one of `sum`, `ties`, but got `'mean'`."),
        ({"ties_density": 0.5}, "Option `ties_density` belongs to TIES; set `total` to `ties`, or leave it out."),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    models = {source: random_state(i + 1) for i, source in enumerate("abc")}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("consensus", models, random_state(0), options)


def test_weights_are_refused() -> None:
    models = {source: random_state(i + 1) for i, source in enumerate("ab")}
    with pytest.raises(ConfigError, match="Merge method `consensus` takes no weights"):
        merge("consensus", models, random_state(0), {"a": 1, "b": 2})
