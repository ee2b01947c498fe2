from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.dmm import steps
from hamdg.algorithms.dmm.arrangement import arrange
from hamdg.algorithms.dmm.similarity import (
    MEASURES,
    departure,
    similar_groups,
    start_alike,
    statistics_nearness,
    task_vector_cosines,
    weight_cosines,
)
from hamdg.config.algorithms.dmm import GroupsConfig


def model(weight: list[float], mean: float = 0.0, variance: float = 1.0) -> dict[str, Tensor]:
    return {
        "fc.weight": torch.tensor(weight),
        "bn.running_mean": torch.tensor([mean, mean]),
        "bn.running_var": torch.tensor([variance, variance]),
        "bn.num_batches_tracked": torch.tensor(7),
    }


START = model([1.0, 1.0])


def test_cosines_by_hand() -> None:
    models = {"a": model([2.0, 1.0]), "b": model([1.0, 3.0]), "c": model([0.0, 1.0])}
    vectors = task_vector_cosines(models, START)
    assert vectors == {("a", "b"): 0.0, ("a", "c"): -1.0, ("b", "c"): 0.0}
    weights = weight_cosines(models, START)
    assert weights["a", "b"] == pytest.approx(5 / math.sqrt(50))
    assert weights["b", "c"] == pytest.approx(3 / math.sqrt(10))


def test_the_nearness_of_statistics_by_hand() -> None:
    # ((0 - 3)^2 + (1 - 2)^2) / ((1 + 4) / 2) = 4, the same in both channels.
    models = {"a": model([0.0, 0.0], mean=0.0, variance=1.0), "b": model([9.0, 9.0], mean=3.0, variance=4.0)}
    assert statistics_nearness(models, START) == {("a", "b"): pytest.approx(1 / 5)}
    assert statistics_nearness({"a": models["a"], "b": models["a"]}, START) == {("a", "b"): 1.0}


def test_statistics_without_any_variance_are_as_near_as_their_means() -> None:
    models = {"a": model([0.0, 0.0], 0.0, 0.0), "b": model([0.0, 0.0], 1.0, 0.0), "c": model([0.0, 0.0], 0.0, 0.0)}
    found = statistics_nearness(models, START)
    assert found == {("a", "b"): 0.5, ("a", "c"): 1.0, ("b", "c"): 0.5}


@pytest.mark.parametrize("name", MEASURES)
def test_the_order_of_models_does_not_matter(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {
        one: model(torch.randn(2, generator=generator).tolist(), mean=i, variance=1 + i) for i, one in enumerate("abc")
    }
    measure = MEASURES[name]  # type: ignore[index]
    assert measure(models, START) == measure(dict(reversed(models.items())), START)


def planted(groups: list[set[str]]) -> dict[tuple[str, str], float]:
    names = sorted(name for group in groups for name in group)
    return {pair: 0.9 if any(set(pair) <= group for group in groups) else 0.1 for pair in combinations(names, 2)}


def test_planted_groups_are_found_the_largest_first() -> None:
    pairs = planted([{"b", "d"}, {"a", "c", "f"}, {"e"}])
    assert similar_groups(["f", "e", "d", "c", "b", "a"], pairs, 0.5) == [["a", "c", "f"], ["b", "d"], ["e"]]
    shuffled = dict(reversed(pairs.items()))
    assert similar_groups(list("abcdef"), shuffled, 0.5) == [["a", "c", "f"], ["b", "d"], ["e"]]


def test_a_chain_of_similar_pairs_is_one_group() -> None:
    assert similar_groups(list("abc"), {("a", "b"): 0.6, ("b", "c"): 0.6, ("a", "c"): -1.0}, 0.5) == [["a", "b", "c"]]


def test_the_threshold_itself_is_not_similar_and_ties_go_to_the_more_alike() -> None:
    assert similar_groups(list("ab"), {("a", "b"): 0.5}, 0.5) == [["a"], ["b"]]
    pairs = planted([{"a", "b"}, {"c", "d"}]) | {("c", "d"): 0.95}
    assert similar_groups(list("abcd"), pairs, 0.5) == [["c", "d"], ["a", "b"]]


def test_one_group_is_merged_and_nobody_teaches() -> None:
    found = arrange([["a", "b"]], merge_all=False)
    assert (found.models, found.student, found.teachers, found.itself) == (
        {"group-1": ["a", "b"]},
        ["a", "b"],
        [],
        "group-1",
    )
    assert arrange([["a", "b"]], merge_all=True) == found


def test_the_largest_group_learns_from_the_others() -> None:
    found = arrange([["b", "c", "e"], ["a", "d"], ["f"]], merge_all=False)
    assert found.models == {"group-1": ["b", "c", "e"], "group-2": ["a", "d"], "f": ["f"]}
    assert (found.student, found.teachers, found.itself) == (["b", "c", "e"], ["group-2", "f"], "group-1")


@pytest.mark.parametrize("merge_all", [False, True])
def test_without_a_main_group_all_are_merged_and_all_teach(merge_all: bool) -> None:
    found = arrange([["a"], ["b"], ["c"]], merge_all)
    assert found.models == {"a": ["a"], "b": ["b"], "c": ["c"]}
    assert (found.student, found.teachers, found.itself) == (["a", "b", "c"], ["a", "b", "c"], None)


def test_every_group_may_teach_the_merge_of_all() -> None:
    found = arrange([["b", "c"], ["a"]], merge_all=True)
    assert found.models == {"group-1": ["b", "c"], "a": ["a"]}
    assert (found.student, found.teachers, found.itself) == (["a", "b", "c"], ["group-1", "a"], None)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([["a", "b"]], "no client is divergent: all are merged, and nothing is distilled"),
        ([["a"], ["b"]], "all clients are merged; distilled into the merge: `a`, `b`"),
        ([["a", "c"], ["b"]], "merged: `a`, `c`; distilled into the merge: `b`"),
    ],
)
def test_what_becomes_of_the_groups_is_said(
    groups: list[list[str]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps._say(arrange(groups, merge_all=False), groups)
    shown = capsys.readouterr().out
    assert f"groups of similar clients: {'; '.join(', '.join(group) for group in groups)}" in shown
    assert said in shown


def test_how_far_clients_went_and_whether_they_began_alike() -> None:
    # |(3, 4)| and |(0, 0)|, from a start of length sqrt(2).
    models = {"a": model([4.0, 5.0], mean=100.0), "b": model([1.0, 1.0])}
    assert departure(models, START) == pytest.approx(2.5 / math.sqrt(2))
    assert start_alike({"a": START, "b": model([1.0, 1.0])})
    assert not start_alike({"a": START, "b": model([1.0, 1.5])})


def test_every_measure_can_be_named() -> None:
    assert GroupsConfig().similarity in MEASURES
