from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, list_methods, merge, merge_with
from tests.merge.tools import random_state, sign

CHOICES = list(
    itertools.product(("tensor", "global", "row"), ("mass", "count"), ("mean", "sum"), ("weighted", "plain"))
)


def rows_of(shape: tuple[int, ...], size: int) -> list[range]:
    if size == 0:
        return []
    length = size // shape[0] if len(shape) > 1 else size
    return [range(start, start + length) for start in range(0, size, length)]


def reference(
    changes: dict[str, dict[str, Tensor]], options: dict[str, object], weights: dict[str, float]
) -> dict[str, list[float]]:
    """TIES with loops over Python numbers: every entry is a (tensor, index) pair."""
    flat = {s: {n: t.double().flatten().tolist() for n, t in c.items()} for s, c in changes.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in next(iter(changes.values())).items()}
    entries = [(name, i) for name in sorted(shapes) for i in range(math.prod(shapes[name]))]
    pools = {
        "global": [entries],
        "tensor": [[e for e in entries if e[0] == name] for name in sorted(shapes)],
        "row": [[(n, i) for i in row] for n, s in shapes.items() for row in rows_of(s, len(flat["a"][n]))],
    }[str(options["scope"])]
    kept: dict[str, dict[tuple[str, int], float]] = {source: {} for source in flat}
    for source, own in flat.items():
        for pool in pools:
            density = float(str(options["density"]))
            number = max(round(density * len(pool)), density > 0)
            ranked = sorted(pool, key=lambda e: (-abs(own[e[0]][e[1]]), e))
            chosen = set(ranked[:number])
            if options.get("tie_rule") == "threshold" and number:
                last = ranked[number - 1]
                chosen = {e for e in pool if abs(own[e[0]][e[1]]) >= abs(own[last[0]][last[1]])}
            kept[source] |= {e: own[e[0]][e[1]] if e in chosen else 0.0 for e in pool}
    merged: dict[str, list[float]] = {name: [0.0] * len(flat["a"][name]) for name in shapes}
    for entry in entries:
        ballots = []
        for source in flat:
            value, weight = kept[source][entry], weights[source]
            if options["vote"] == "plain":
                weight = sign(weight)
            ballots.append(weight * (sign(value) if options["sign"] == "count" else value))
        winner = sign(sum(ballots))
        agreeing = [s for s in flat if winner and sign(weights[s] * kept[s][entry]) == winner]
        total = sum(weights[s] * kept[s][entry] for s in agreeing)
        if options["combine"] == "mean" and agreeing:
            total /= sum(abs(weights[s]) for s in agreeing)
        merged[entry[0]][entry[1]] = total
    return merged


def changed(base: dict[str, Tensor], change: dict[str, Tensor], factor: float = 1.0) -> dict[str, Tensor]:
    return {name: base[name] + factor * change[name] for name in base}


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.0), (1.0, -1.0, 3.0)])
@pytest.mark.parametrize(("scope", "by", "combine", "vote"), CHOICES)
def test_equals_the_slow_reference(weights: tuple[float, ...], scope: str, by: str, combine: str, vote: str) -> None:
    base = random_state(0)
    models = {source: changed(base, random_state(i + 1)) for i, source in enumerate("abc")}
    changes = {source: {n: models[source][n] - base[n] for n in base} for source in models}
    shares = dict(zip("abc", weights, strict=True))
    for density in (0.0, 0.2, 0.5, 0.93, 1.0):
        options: dict[str, object] = {"density": density, "scope": scope, "sign": by, "combine": combine, "vote": vote}
        merged = merge_with("ties", models, base, {**options, "scale": 0.7}, MergeSettings(weights=shares))
        expected = reference(changes, options, shares)
        for name, tensor in merged.items():
            assert tensor.shape == base[name].shape
            wanted = [0.7 * x for x in expected[name]]
            assert (tensor - base[name]).flatten().tolist() == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.lists(st.integers(-2, 2).map(float), min_size=10, max_size=10), min_size=2, max_size=4),
    density=st.floats(0, 1),
    choice=st.sampled_from(CHOICES),
    tie_rule=st.sampled_from(["exact", "threshold"]),
)
def test_ties_are_broken_as_in_the_slow_reference(
    rows: list[list[float]], density: float, choice: tuple[str, str, str, str], tie_rule: str
) -> None:
    keys = ("scope", "sign", "combine", "vote")
    options: dict[str, object] = {"density": density, "tie_rule": tie_rule, **dict(zip(keys, choice, strict=True))}
    # Tensors that no source moves count nowhere; here every tensor is moved.
    rows[0][0] = rows[0][6] = 3.0
    changes = {
        source: {"m": torch.tensor(row[:6]).double().view(2, 3), "v": torch.tensor(row[6:]).double()}
        for source, row in zip("abcd", rows, strict=False)
    }
    base = {"m": torch.zeros(2, 3, dtype=torch.float64), "v": torch.zeros(4, dtype=torch.float64)}
    merged = merge_with("ties", changes, base, options)
    expected = reference(changes, options, dict.fromkeys(changes, 1.0))
    assert {name: tensor.flatten().tolist() for name, tensor in merged.items()} == {
        name: pytest.approx(row) for name, row in expected.items()
    }


HAND = {
    "a": torch.tensor([4.0, -1.0, 0.5, 2.0]),
    "b": torch.tensor([3.0, 5.0, -0.2, -1.0]),
    "c": torch.tensor([-2.0, -3.0, 0.3, 1.0]),
}


# At one half a keeps (4, 0, 0, 2), b (3, 5, 0, 0), c (-2, -3, 0, 0).
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3.5, 5.0, 0.0, 2.0]),
        ({"combine": "sum"}, [7.0, 5.0, 0.0, 2.0]),
        ({"combine": "sum", "scale": 0.3}, [2.1, 1.5, 0.0, 0.6]),
        # The second entry's votes are one against one: it stays at the base.
        ({"sign": "count"}, [3.5, 0.0, 0.0, 2.0]),
        # One quarter: 4 of a, 5 of b, -3 of c.
        ({"density": 0.25}, [4.0, 5.0, 0.0, 0.0]),
        # Everything: sums 5, 1, .6, 2; a and c agree in the last two.
        ({"density": 1.0}, [3.5, 5.0, 0.4, 1.5]),
        ({"density": 0.0}, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_by_hand(options: dict[str, object], expected: list[float]) -> None:
    models, base = {source: {"w": change} for source, change in HAND.items()}, {"w": torch.zeros(4)}
    merged = merge_with("ties", models, base, {"density": 0.5, **options})
    assert merged["w"].tolist() == pytest.approx(expected)


def test_weights_by_hand() -> None:
    models, base = {source: {"w": change} for source, change in HAND.items()}, {"w": torch.zeros(4)}

    def run(weights: dict[str, float], **options: object) -> list[float]:
        return merge_with("ties", models, base, {"density": 0.5, **options}, MergeSettings(weights=weights))[
            "w"
        ].tolist()

    # With c counting four times the first two entries go to c: votes 4 + 3 - 8 and 5 - 12.
    assert run({"a": 1, "b": 1, "c": 4}) == pytest.approx([-2.0, -3.0, 0.0, 2.0])
    # A plain vote elects plus for both, as without weights; the means are (4 + 2 * 3) / 3 and 5.
    assert run({"a": 1, "b": 2, "c": 4}, vote="plain") == pytest.approx([10 / 3, 5.0, 0.0, 2.0])
    # A weight of 0 leaves the source out, of the election as well; a negative one turns it round.
    assert run({"a": 1, "b": 1, "c": 0}, vote="plain") == pytest.approx([3.5, 5.0, 0.0, 2.0])
    assert run({"a": 0.1, "b": 0, "c": 1}, vote="plain") == pytest.approx([4.0, -3.0, 0.0, 2.0])
    assert run({"a": 1, "b": 0, "c": 0}) == pytest.approx([4.0, 0.0, 0.0, 2.0])
    assert run({"a": -1, "b": 0, "c": 0}) == pytest.approx([-4.0, 0.0, 0.0, -2.0])


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("by", ["mass", "count"])
def test_weights_do_not_change_the_scale_of_a_mean(combine: str, by: str) -> None:
    models, base = {source: {"w": change} for source, change in HAND.items()}, {"w": torch.zeros(4)}
    once = merge("ties", models, base, density=0.5, combine=combine, sign=by)["w"]
    thrice = merge("ties", models, base, dict.fromkeys("abc", 3.0), density=0.5, combine=combine, sign=by)["w"]
    torch.testing.assert_close(thrice, once if combine == "mean" else 3 * once)


@pytest.mark.parametrize(("scope", "by", "combine", "vote"), CHOICES)
def test_laws(scope: str, by: str, combine: str, vote: str) -> None:
    options: dict[str, object] = {"scope": scope, "sign": by, "combine": combine, "vote": vote}
    base = random_state(0)
    changes = {source: random_state(i + 1) for i, source in enumerate("abc")}
    models = {source: changed(base, change) for source, change in changes.items()}

    def run(sources: dict[str, dict[str, Tensor]], density: float = 0.4, threads: int = 1) -> dict[str, Tensor]:
        return merge_with("ties", sources, base, {"density": density, **options}, MergeSettings(threads=threads))

    merged = run(models)
    backwards, crowded = run(dict(reversed(models.items()))), run(models, threads=3)
    doubled = run({source: changed(base, change, 2.0) for source, change in changes.items()})
    one, nothing, same = run({"a": models["a"]}, 1.0), run(models, 0.0), run(dict.fromkeys("abc", models["b"]), 1.0)
    still = run(dict.fromkeys("ab", base))
    for name in base:
        assert torch.equal(merged[name], backwards[name])
        assert torch.equal(merged[name], crowded[name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))
        torch.testing.assert_close(one[name], models["a"][name])
        assert torch.equal(nothing[name], base[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(same[name] - base[name], changes["b"][name] * (3 if combine == "sum" else 1))


@pytest.mark.parametrize("density", [0.0, 1e-3, 0.5, 1.0])
@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_one_source_keeps_its_largest_entries(density: float, scope: str) -> None:
    change = torch.randn(40, 25, generator=torch.Generator().manual_seed(1))
    merged = merge("ties", {"a": {"w": change}}, {"w": torch.zeros(40, 25)}, density=density, scope=scope)["w"]
    kept = merged != 0
    assert torch.equal(merged[kept], change[kept])
    assert int(kept.sum()) == (40 * max(round(density * 25), density > 0) if scope == "row" else round(density * 1000))


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_pieces_are_put_together_in_their_places(scope: str) -> None:
    # Larger than a piece, and no multiple of one; few distinct values, so that ties are the rule.
    generator = torch.Generator().manual_seed(3)
    changes = {s: torch.randint(-9, 10, (401, 701), generator=generator).float() for s in "ab"}
    base = {"w": torch.zeros(401, 701)}
    merged = merge("ties", {s: {"w": c} for s, c in changes.items()}, base, density=0.3, scope=scope)["w"]
    trimmed = []
    for change in changes.values():
        table = change.view(401, 701) if scope == "row" else change.view(1, -1)
        order = torch.sort(table.abs(), dim=1, descending=True, stable=True).indices[:, : round(0.3 * table.shape[1])]
        trimmed.append((table * torch.zeros_like(table).scatter_(1, order, 1.0)).view(401, 701))
    winner = (trimmed[0] + trimmed[1]).sign()
    agreeing = [torch.where(t.sign() == winner, t, torch.zeros(())) for t in trimmed]
    voters = sum((t != 0).float() for t in agreeing)
    assert torch.equal(merged, (agreeing[0] + agreeing[1]) / torch.as_tensor(voters).clamp(min=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype, scope: str) -> None:
    base = random_state(0, dtype)
    models = {source: changed(base, random_state(i + 1, dtype)) for i, source in enumerate("abc")}
    merged = merge("ties", models, base, density=0.3, scope=scope)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("ties", wide, {n: t.double() for n, t in base.items()}, density=0.3, scope=scope)
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


def test_half_precision_does_not_overflow_on_the_way() -> None:
    models = {source: {"w": torch.tensor([30000.0], dtype=torch.float16)} for source in "abcd"}
    merged = merge("ties", models, {"w": torch.zeros(1, dtype=torch.float16)}, density=1.0)
    assert merged["w"].tolist() == [30000.0]


def test_empty_and_frozen_tensors_take_no_part() -> None:
    base = {"w": torch.zeros(4), "none": torch.zeros(0, 3), "frozen": torch.full((100,), 5.0)}
    models = {source: {**base, "w": change} for source, change in HAND.items()}
    merged = merge("ties", models, base, density=0.5)
    assert merged["w"].tolist() == pytest.approx([3.5, 5.0, 0.0, 2.0])
    assert merged["none"].shape == (0, 3)
    assert torch.equal(merged["frozen"], base["frozen"])


def test_inputs_stay_as_they_are() -> None:
    models, base = {source: {"w": change.clone()} for source, change in HAND.items()}, {"w": torch.zeros(4)}
    merge("ties", models, base, {"a": 1, "b": 2, "c": 3}, density=0.5)
    assert all(torch.equal(models[source]["w"], change) for source, change in HAND.items())
    assert base["w"].tolist() == [0.0] * 4


def test_the_default_trims() -> None:
    change = torch.arange(1.0, 11.0)
    merged = merge("ties", {"a": {"w": change}}, {"w": torch.zeros(10)})
    assert merged["w"].tolist() == [0.0] * 8 + [9.0, 10.0]
    assert list_methods()["ties"].options["scope"].default == "global"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("density", 1.2, "Expected argument `density` to be a number between 0 and 1, but got `1.2`."),
        ("density", 20, "Expected argument `density` to be a number between 0 and 1, but got `20`."),
        ("scope", "layer", "Expected argument `scope` to be one of `tensor`, `global`, `row`, but got `'layer'`."),
        ("sign", "max", "Expected argument `sign` to be one of `mass`, `count`, but got `'max'`."),
        ("combine", "dis-mean", "Expected argument `combine` to be one of `mean`, `sum`, but got `'dis-mean'`."),
        ("tie_rule", "first", "Expected argument `tie_rule` to be one of `exact`, `threshold`, but got `'first'`."),
        ("k", 20, "Merge method `ties` has no option `k`; known are `density`, `scope`, `scale`, `sign`, `combine`, "),
    ],
)
def test_wrong_options(option: str, value: object, message: str) -> None:
    models, base = {source: {"w": change} for source, change in HAND.items()}, {"w": torch.zeros(4)}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        merge_with("ties", models, base, {option: value})
