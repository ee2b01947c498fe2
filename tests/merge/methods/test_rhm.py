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
from hamdg.merge import ModelSet, merge, merge_with
from hamdg.merge.geometry import norm, task_vectors
from hamdg.merge.methods.rhm import Criterion, Scope, Trimming, kept_fractions
from tests.merge.tools import random_state

State = dict[str, list[float]]

BASE = {"w": torch.tensor([10.0, 0.0, 0.0, 1.0])}
MODELS = {
    "art": {"w": torch.tensor([14.0, -1.0, 0.5, 3.0])},
    "photo": {"w": torch.tensor([13.0, 5.0, -0.25, 0.0])},
    "sketch": {"w": torch.tensor([8.0, -3.0, 0.25, 2.0])},
}
CHOICES = list(
    itertools.product(
        ("tensor", "global"), ("magnitude", "relative", "agreement"), ("mean", "disjoint"), ("none", "match_mean")
    )
)


def reference(
    models: dict[str, State], base: State, keep: float, scope: str, criterion: str, combine: str, length: str
) -> State:
    """RHM with loops over Python numbers: every coordinate is a (tensor, index) pair."""
    coordinates = [(name, i) for name in sorted(base) for i in range(len(base[name]))]
    change = {s: {(n, i): models[s][n][i] - base[n][i] for n, i in coordinates} for s in models}
    fused = dict.fromkeys(coordinates, 0.0)
    voters = dict.fromkeys(coordinates, 0)
    for own in change.values():
        worth = {}
        for name, i in coordinates:
            value = own[name, i]
            score = abs(value)
            if criterion == "relative":
                size = sum(abs(x) for x in base[name]) / len(base[name])
                score /= abs(base[name][i]) + (size if size > 0 else 1.0)
            if criterion == "agreement":
                score *= sum(
                    (c[name, i] > 0) == (value > 0) and (c[name, i] < 0) == (value < 0) for c in change.values()
                )
                score /= len(models)
            worth[name, i] = score
        pools = (
            [coordinates] if scope == "global" else [[c for c in coordinates if c[0] == name] for name in sorted(base)]
        )
        for pool in pools:
            ranked = sorted(pool, key=lambda c: (-worth[c], c))
            for coordinate in ranked[: max(round(keep * len(pool)), keep > 0)]:
                fused[coordinate] += own[coordinate]
                voters[coordinate] += 1
    for c in coordinates:
        fused[c] /= max(voters[c], 1) if combine == "disjoint" else len(models)
    if length == "match_mean":
        mean = [sum(own[c] for own in change.values()) / len(models) for c in coordinates]
        now = math.sqrt(sum(x * x for x in fused.values()))
        factor = math.sqrt(sum(x * x for x in mean)) / now if now else 1.0
        fused = {c: x * factor for c, x in fused.items()}
    return {name: [base[name][i] + fused[name, i] for i in range(len(base[name]))] for name in base}


def as_lists(state: dict[str, Tensor]) -> State:
    return {name: tensor.flatten().tolist() for name, tensor in state.items()}


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("scope", "criterion", "combine", "length"), CHOICES)
def test_equals_the_slow_reference(keep: float, scope: str, criterion: str, combine: str, length: str) -> None:
    base = random_state(0)
    models = {
        name: {k: v + random_state(i + 1, spread=0.1)[k] for k, v in base.items()} for i, name in enumerate("abc")
    }
    merged = merge("rhm", models, base, keep=keep, scope=scope, criterion=criterion, combine=combine, norm=length)
    lists = {name: as_lists(state) for name, state in models.items()}
    expected = reference(lists, as_lists(base), keep, scope, criterion, combine, length)
    assert {name: tensor.shape for name, tensor in merged.items()} == {
        name: tensor.shape for name, tensor in base.items()
    }
    for name, row in as_lists(merged).items():
        assert row == pytest.approx(expected[name], rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.lists(st.integers(-2, 2).map(float), min_size=7, max_size=7), min_size=2, max_size=4),
    keep=st.floats(0, 1),
    scope=st.sampled_from(["tensor", "global"]),
    criterion=st.sampled_from(["magnitude", "agreement"]),
    combine=st.sampled_from(["mean", "disjoint"]),
)
def test_ties_are_broken_as_in_the_slow_reference(
    rows: list[list[float]], keep: float, scope: str, criterion: str, combine: str
) -> None:
    base = {"b": [1.0] * 4, "a": [0.0] * 3}
    models = {f"s{i}": {"b": [1.0 + x for x in row[:4]], "a": row[4:]} for i, row in enumerate(rows)}
    # A tensor that no source moves takes no part in the share; here every tensor is moved.
    models["s0"]["a"][0], models["s0"]["b"][0] = 3.0, 4.0
    tensors = {s: {n: torch.tensor(v, dtype=torch.float64) for n, v in state.items()} for s, state in models.items()}
    start = {n: torch.tensor(v, dtype=torch.float64) for n, v in base.items()}
    merged = merge("rhm", tensors, start, keep=keep, scope=scope, criterion=criterion, combine=combine)
    expected = reference(models, base, keep, scope, criterion, combine, "none")
    for name, row in as_lists(merged).items():
        assert row == pytest.approx(expected[name])


# Task vectors: art (4, -1, .5, 2), photo (3, 5, -.25, -1), sketch (-2, -3, .25, 1); two of four are kept.
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Kept: art (4, 0, 0, 2), photo (3, 5, 0, 0), sketch (-2, -3, 0, 0).
        ({}, [10 + 5 / 3, 2 / 3, 0.0, 1 + 2 / 3]),
        ({"combine": "disjoint"}, [10 + 5 / 3, 1.0, 0.0, 3.0]),
        # |theta_0| + its mean is (12.75, 2.75, 2.75, 3.75): art keeps 1 (.36) and 3 (.53), not 0 (.31).
        ({"criterion": "relative"}, [10.0, 1 / 3, 0.0, 1 + 2 / 3]),
        # Agreement turns sketch's (2, 3, .25, 1) into (2/3, 2, 1/6, 2/3): of the tie the first is kept.
        ({"criterion": "agreement"}, [10 + 5 / 3, 2 / 3, 0.0, 1 + 2 / 3]),
        ({"keep": 1.0}, [10 + 5 / 3, 1 / 3, 1 / 6, 1 + 2 / 3]),
        ({"keep": 0.25, "combine": "disjoint"}, [14.0, 1.0, 0.0, 1.0]),
    ],
)
def test_by_hand(options: dict[str, object], expected: list[float]) -> None:
    assert merge_with("rhm", MODELS, BASE, options)["w"].tolist() == pytest.approx(expected, abs=1e-6)


def test_global_scope_by_hand() -> None:
    base = {"big": torch.zeros(2), "small": torch.zeros(2)}
    models = {"a": {"big": torch.tensor([5.0, 4.0]), "small": torch.tensor([0.2, 0.1])}}
    assert merge("rhm", models, base, scope="global")["small"].tolist() == [0.0, 0.0]
    assert merge("rhm", models, base, scope="global")["big"].tolist() == [5.0, 4.0]
    assert merge("rhm", models, base, scope="tensor")["small"].tolist() == pytest.approx([0.2, 0.0])


def test_match_mean_has_the_norm_of_the_plain_mean() -> None:
    plain = task_vectors({"m": merge("uniform", MODELS, BASE)}, BASE)["m"]
    for keep in (0.25, 0.5):
        merged = task_vectors({"m": merge("rhm", MODELS, BASE, keep=keep, norm="match_mean")}, BASE)["m"]
        assert norm(merged) == pytest.approx(norm(plain), rel=1e-6)


@pytest.mark.parametrize(("scope", "criterion", "combine", "length"), CHOICES)
def test_laws(scope: str, criterion: str, combine: str, length: str) -> None:
    options = {"scope": scope, "criterion": criterion, "combine": combine, "norm": length}
    base = random_state(0)
    models = {
        name: {k: v + random_state(i + 1, spread=0.1)[k] for k, v in base.items()} for i, name in enumerate("abc")
    }

    def run(sources: dict[str, dict[str, Tensor]], keep: float = 0.4) -> dict[str, Tensor]:
        return merge_with("rhm", sources, base, {"keep": keep, **options})

    merged = run(models)
    backwards = run(dict(reversed(models.items())))
    assert all(torch.equal(merged[name], backwards[name]) for name in base), "the order of sources matters"
    everything, nothing = run(models, 1.0), run(models, 0.0)
    mean = merge("uniform", models)
    for name in base:
        torch.testing.assert_close(everything[name], mean[name])
        assert torch.equal(nothing[name], base[name])
    one = run({"a": models["a"]}, 1.0)
    equal = run(dict.fromkeys("abc", models["b"]), 1.0)
    for name in base:
        torch.testing.assert_close(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["b"][name])
    assert all(torch.equal(run({"a": base, "b": base})[name], base[name]) for name in base)
    # Homogeneous: twice as long task vectors give twice as long a merged one.
    doubled = run({s: {k: base[k] + 2 * (v - base[k]) for k, v in state.items()} for s, state in models.items()})
    for name in base:
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))


def test_renaming_the_sources_changes_rounding_at_most() -> None:
    renamed = dict(zip("zyx", MODELS.values(), strict=True))
    torch.testing.assert_close(merge("rhm", renamed, BASE)["w"], merge("rhm", MODELS, BASE)["w"])


def masks_of(
    vectors: dict[str, dict[str, Tensor]],
    base: dict[str, Tensor] | None = None,
    keep: float = 0.5,
    scope: Scope = "tensor",
    criterion: Criterion = "magnitude",
) -> dict[str, dict[str, Tensor]]:
    start = base or {name: torch.zeros_like(tensor) for name, tensor in next(iter(vectors.values())).items()}
    models = {source: {name: start[name] + change for name, change in v.items()} for source, v in vectors.items()}
    model_set = ModelSet(models, start, changes=True)
    trimming = Trimming(model_set, keep, scope, criterion)
    return {
        source: {n: trimming.masks(model_set.tensor_set(n))[source] for n in model_set.names}
        for source in model_set.sources
    }


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.25, 0.3333, 0.5, 1.0])
def test_exactly_the_share_is_kept_even_among_equals(keep: float) -> None:
    vectors = {"a": {"w": torch.ones(30), "v": torch.tensor([0.0, 1.0])}}
    by_tensor = masks_of(vectors, keep=keep)["a"]
    assert int(by_tensor["w"].sum()) == round(keep * 30)
    assert by_tensor["w"][: round(keep * 30)].all()
    overall = masks_of(vectors, keep=keep, scope="global")["a"]
    assert sum(int(mask.sum()) for mask in overall.values()) == round(keep * 32)


def test_frozen_tensors_do_not_count_towards_the_global_share() -> None:
    moved = {"w": torch.tensor([4.0, 3.0, 2.0, 1.0])}
    base = {"w": torch.zeros(4), "frozen": torch.ones(100)}
    merged = merge("rhm", {"a": {**moved, "frozen": torch.ones(100)}}, base, scope="global")
    assert merged["w"].tolist() == [4.0, 3.0, 0.0, 0.0]
    assert torch.equal(merged["frozen"], base["frozen"])


def test_relative_takes_magnitudes_where_the_start_is_all_zero() -> None:
    vectors = {"a": {"w": torch.tensor([1.0, 3.0, 2.0])}}
    masks = masks_of(vectors, keep=0.34, criterion="relative")
    assert masks["a"]["w"].tolist() == [False, True, False]


def test_kept_fractions_by_group() -> None:
    changes = {
        "a": {
            "one.w": torch.tensor([2.0, 1.0]),
            "one.b": torch.tensor([3.0, 3.0, 0.0, 0.0]),
            "two.w": torch.tensor([[1.0]]),
            "none.w": torch.ones(0),
        }
    }
    model_set = ModelSet(
        changes, {name: torch.zeros_like(tensor) for name, tensor in changes["a"].items()}, changes=True
    )
    # Of 2 and 4 entries a half are 1 and 2; of 1 it is 1, though `round` says 0.
    trimming = Trimming(model_set, 0.5, "tensor", "magnitude")
    assert kept_fractions(model_set, trimming, lambda name: name.split(".")[0]) == {"a": {"one": 0.5, "two": 1.0}}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("keep", 1.5, "Expected argument `keep` to be a number between 0 and 1, but got `1.5`."),
        ("keep", -0.1, "Expected argument `keep` to be a number between 0 and 1, but got `-0.1`."),
        ("keep", True, "Expected argument `keep` to be a number between 0 and 1, but got `True`."),
        ("keep", math.nan, "Expected argument `keep` to be a number between 0 and 1, but got `nan`."),
        ("scope", "layer", "Expected argument `scope` to be one of `tensor`, `global`, but got `'layer'`."),
        ("norm", None, "Expected argument `norm` to be one of `none`, `match_mean`, but got `None`."),
    ],
)
def test_wrong_options(option: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("rhm", MODELS, BASE, {option: value})
