"""The search over merges: toys whose scores are known, so that what each rule chooses can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import list_methods, merge, merge_with
from hamdg.merge.aliases import ALIASES
from hamdg.merge.candidates import Candidate, grid, neighbors, searchable, split_names
from hamdg.merge.search import Found, Rule, Scored, Scorer, find, paired_error

# One number each; the changes from the base are 1, 2 and 6.
BASE = {"w": torch.tensor([100.0], dtype=torch.float64)}
MODELS = {name: {"w": BASE["w"] + change} for name, change in {"a": 1.0, "b": 2.0, "c": 6.0}.items()}


class Right:
    """Finds a model right on a source if its change from the base is one of some numbers."""

    def __init__(self, right: Mapping[str, Sequence[float]]) -> None:
        self.right = right
        self.found: Found | None = None

    def outcomes(self, weights: Mapping[str, Tensor], source: str) -> list[float]:
        change = float(weights["w"] - BASE["w"])
        return [float(any(math.isclose(change, one) for one in self.right[source]))] * 4

    def searched(self, found: Found) -> None:
        self.found = found


# With alpha .5 the pairs (b, c), (a, c) and (a, b) give 2, 1.75 and .75; the plain average of all is 3.
EVIDENCE = {"a": (2.0, 3.0), "b": (1.75, 3.0), "c": (0.75, 3.0)}


@pytest.mark.parametrize(("by", "change", "method"), [("leave_one_out", 1.5, "wise_ft"), ("in_domain", 3, "uniform")])
def test_each_rule_chooses_what_it_scores_best(by: Rule, change: float, method: str) -> None:
    evidence = Right(EVIDENCE)
    merged = merge("search", MODELS, BASE, evidence=evidence, by=by, methods="wise_ft", budget=8)
    assert float(merged["w"] - BASE["w"]) == pytest.approx(change)
    assert evidence.found is not None
    assert evidence.found.chosen.candidate == Candidate(method)
    assert evidence.found.chosen.score(by) == 1


def test_the_merge_is_that_of_the_chosen_method_buffers_included() -> None:
    models = {
        name: {**own, "bn.running_mean": torch.tensor([float(place)]), "bn.running_var": torch.ones(1)}
        for place, (name, own) in enumerate(MODELS.items())
    }
    base = {**BASE, "bn.running_mean": torch.tensor([5.0]), "bn.running_var": torch.ones(1)}
    found = merge("search", models, base, evidence=Right(EVIDENCE), methods="wise_ft", budget=8)
    wanted = merge("wise_ft", models, base)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in wanted.items()
    }


# With the same change of 1 from each source, a sum of three with the factor .3 gives .9, and so it must without one.
ALIKE = {name: {"w": BASE["w"] + 1.0} for name in "abc"}


def test_a_sum_over_fewer_sources_is_scaled_to_go_as_far() -> None:
    evidence = Right(dict.fromkeys("abc", (0.9,)))
    merged = merge("search", ALIKE, BASE, evidence=evidence, methods="task_arithmetic", budget=6)
    assert float(merged["w"] - BASE["w"]) == pytest.approx(0.9)
    assert evidence.found is not None
    assert evidence.found.chosen.candidate == Candidate("task_arithmetic")


# Without what is drawn at random, which is another for two sources than for three.
_OF_ALIASES: dict[str, dict[str, object]] = {
    "dare_linear": {"drop_rate": 0.0, "scale": 0.6},
    "dare_ties": {"drop_rate": 0.0},
    "della_linear": {"drop_rate": 0.0, "window": 0.0},
}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("task_arithmetic", {"scale": 0.7}),
        ("breadcrumbs", {"beta": 0.5}),
        ("consensus", {"threshold": 0.2}),
        ("ties", {"combine": "sum", "density": 1.0}),
        ("breadcrumbs_ties", {"combine": "sum", "scale": 0.3}),
        ("dare", {"drop_rate": 0.0}),
        ("dare", {"drop_rate": 0.0, "then": "ties", "ties_combine": "sum"}),
        ("della", {"drop_rate": 0.0, "window": 0.0, "then": "task_arithmetic"}),
        ("della", {"drop_rate": 0.0, "window": 0.0, "combine": "sum"}),
        # Other names, which fix or change what is a sum.
        *((name, _OF_ALIASES.get(name, {})) for name in ALIASES),
        # No sums.
        ("ties", {"density": 1.0, "scale": 0.5}),
        ("dare", {"drop_rate": 0.0, "then": "ties", "scale": 0.5}),
        ("shrunk", {"scale": 0.5}),
        ("wise_ft", {"alpha": 0.4}),
    ],
)
def test_sources_that_agree_give_the_same_with_one_of_them_left_out(method: str, options: dict[str, object]) -> None:
    change = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    base = {
        "w": torch.zeros(4, dtype=torch.float64),
        "bn.running_mean": torch.zeros(1),
        "bn.running_var": torch.ones(1),
    }
    model = {"w": change, "bn.running_mean": torch.ones(1), "bn.running_var": torch.ones(1)}
    fewer = Candidate(method, options).scaled(3 / 2)
    whole = merge_with(method, dict.fromkeys("abc", model), base, options)
    found = merge_with(fewer.method, dict.fromkeys("ab", model), base, fewer.options)
    torch.testing.assert_close(found, whole)
    assert float(whole["w"].abs().sum()) > 0


def plain(by: Rule = "leave_one_out", best: float = 0.47) -> tuple[Scorer, list[Candidate]]:
    """Return what scores interpolations by their distance from one, and the list of what it was asked."""
    asked: list[Candidate] = []

    def measure(candidate: Candidate) -> Mapping[Rule, Mapping[str, Sequence[float]]]:
        asked.append(candidate)
        alpha = 1.0 if candidate.method == "uniform" else candidate.options.get("alpha", 0.5)
        assert isinstance(alpha, float)
        return {by: {"a": [-abs(alpha - best)]}}

    return Scorer(measure), asked


@pytest.mark.parametrize("budget", [1, 2, 7, 20])
def test_the_budget_is_the_number_of_merges_and_the_average_is_the_first(budget: int) -> None:
    score, asked = plain()
    found = find(score, searchable(["wise_ft"]), budget, "leave_one_out")
    assert len(found.scored) == len(asked) == len({one.key for one in asked}) == budget
    assert found.average.candidate == Candidate("uniform")


def test_no_point_of_the_grid_is_lost_where_refinement_begins() -> None:
    score, asked = plain()
    infos = searchable(["wise_ft"])
    find(score, infos, 1000, "leave_one_out")
    assert {one.key for one in grid(infos)} <= {one.key for one in asked}
    # Two thirds of the budget, the average among them, are the first points of the grid.
    score, asked = plain()
    find(score, infos, 6, "leave_one_out")
    assert asked[:4] == list(grid(infos))[:4]
    assert asked[4] not in list(grid(infos))


def test_a_score_that_is_no_number_is_not_taken_for_one() -> None:
    def measure(candidate: Candidate) -> Mapping[Rule, Mapping[str, Sequence[float]]]:
        return {"in_domain": {"a": [0.5 if candidate.method == "uniform" else math.nan]}}

    found = find(Scorer(measure), searchable(["wise_ft"]), 3, "in_domain")
    assert found.chosen is found.average
    assert found.refused["wise_ft {}"] == "`wise_ft` scores nan on the hold-out set of `a`; scores must be finite."


def test_a_search_ends_where_nothing_new_lies_near() -> None:
    score, asked = plain()
    found = find(score, searchable(["wise_ft"]), 1000, "leave_one_out")
    assert len(found.scored) == len(asked) < 30


def test_refinement_comes_nearer_than_the_grid() -> None:
    score, _ = plain()
    found = find(score, searchable(["wise_ft"]), 12, "leave_one_out")
    alpha = found.chosen.candidate.options["alpha"]
    assert isinstance(alpha, float)
    assert abs(alpha - 0.47) < 0.03  # .5, the nearest point of the grid, is .03 away


def test_what_was_scored_before_is_not_scored_again_and_changes_nothing() -> None:
    score, asked = plain()
    first = find(score, searchable(["wise_ft"]), 9, "leave_one_out")
    asked.clear()
    again = find(score, searchable(["wise_ft"]), 9, "leave_one_out")
    assert not asked
    assert again == first


def test_scores_from_before_change_nothing_of_what_a_larger_budget_chooses() -> None:
    infos, (fresh, _), (score, asked) = searchable(["wise_ft"]), plain(best=0.76), plain(best=0.76)
    find(score, infos, 3, "leave_one_out")
    tried = len(asked)
    found = find(score, infos, 9, "leave_one_out")
    assert found == find(fresh, infos, 9, "leave_one_out")
    # Near .5, the first point of the grid, .45 was tried; of the whole grid .8 is the best.
    assert score.known.keys() - {one.candidate.key for one in found.scored} == {'wise_ft {"alpha": 0.45}'}
    assert len(asked) - tried == 7


def test_the_paired_error_by_hand() -> None:
    # Differences 0, 1, 0, 0: variance 1/4, of the mean 1/16; a second source without differences halves the root.
    first, second = [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]
    assert paired_error({"a": first}, {"a": second}) == 0.25
    assert paired_error({"a": first, "b": first}, {"a": second, "b": first}) == 0.125
    # Of a single number nothing is known.
    assert paired_error({"a": [0.5]}, {"a": [0.1]}) == 0


def scored(method: str, score: float, error: float, **options: object) -> Scored:
    return Scored(Candidate(method, options), {"in_domain": {"a": score}}, {"in_domain": error})


def test_the_average_is_kept_within_one_standard_error_and_the_simpler_of_equals_is_taken() -> None:
    average = scored("uniform", 0.5, 0.0)
    near, far = scored("ties", 0.75, 0.25), scored("ties", 0.75, 0.2)
    assert Found("in_domain", [average, near], {}).chosen is average
    assert Found("in_domain", [average, far], {}).chosen is far
    simpler = scored("wise_ft", 0.75, 0.2, alpha=0.4)
    assert Found("in_domain", [average, far, simpler], {}).chosen is simpler
    assert Found("in_domain", [average, scored("ties", 0.75, 0.2, density=0.1), far], {}).chosen is far


def test_all_methods_that_need_no_data_are_tried_from_the_simplest() -> None:
    names = [info.name for info in searchable()]
    suitable = {name for name, one in list_methods().items() if not (one.needs or one.target or one.trajectory)}
    assert set(names) == suitable - {"weighted"}
    assert names[0] == "uniform"
    assert [info.name for info in searchable(["ties", "weighted"])] == ["uniform", "weighted", "ties"]
    points = list(grid(searchable()))
    assert len({one.key for one in points}) == len(points)
    assert [one.method for one in points[: len(names)]] == names
    for one in points:
        known = list_methods()[one.method].options
        assert all(value != known[name].default for name, value in one.options.items())


def test_neighbors_lie_halfway_to_what_was_tried() -> None:
    start = Candidate("wise_ft", {"alpha": 0.6})
    assert [one.options.get("alpha", 0.5) for one in neighbors(start, [])] == [0.55, 0.7, 0.5, 0.8]
    tried = [start, Candidate("wise_ft", {"alpha": 0.7})]
    assert [one.options.get("alpha", 0.5) for one in neighbors(start, tried)] == [0.55, 0.65, 0.5, 0.7]
    # Beyond the last of the grid as far as the range goes.
    last = Candidate("wise_ft", {"alpha": 0.8})
    assert [one.options["alpha"] for one in neighbors(last, [])] == [0.7, 0.6, 1.0]
    words = [one.options for one in neighbors(Candidate("geometric_median"), [])]
    assert words == [{"scope": "tensor"}]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("tie", r"^There is no merge method `tie`; did you mean `ties`\?$"),
        (
            "fisher",
            r"^A search cannot try the merge method `fisher`, which needs gradients of data; it tries breadcrumbs",
        ),
        ("sma", r"^A search cannot try the merge method `sma`, which goes along the checkpoints of one trajectory;"),
        ("search", r"^A search cannot try the merge method `search`, which needs holdout of data;"),
        (
            "ties,,uniform",
            r"^Expected methods to be names such as `ties,wise_ft`, or `all`, but got `ties,,uniform`\.$",
        ),
    ],
)
def test_methods_that_cannot_be_tried_are_refused(methods: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        merge("search", MODELS, BASE, evidence=Right(EVIDENCE), methods=methods)


def test_names_are_separated_by_commas() -> None:
    assert split_names("ties, wise_ft") == ["ties", "wise_ft"]
    assert split_names("all") == []


def test_one_source_cannot_be_left_out() -> None:
    with pytest.raises(ConfigError, match=r"^Merge method `search` leaves one source out at a time and needs two"):
        merge("search", {"a": MODELS["a"]}, BASE, evidence=Right(EVIDENCE))
    found = merge("search", {"a": MODELS["a"]}, BASE, evidence=Right(EVIDENCE), by="in_domain", budget=1)
    assert torch.equal(found["w"], MODELS["a"]["w"])


def test_layers_cannot_be_scaled_beside_a_search() -> None:
    with pytest.raises(ConfigError, match=r"^Merge method `search` makes whole models, which `lines` cannot"):
        merge("search", MODELS, BASE, evidence=Right(EVIDENCE), lines=(1.0, 0.0))


def test_methods_that_cannot_merge_these_models_are_told_and_cost_nothing() -> None:
    evidence = Right(EVIDENCE)
    merge("search", MODELS, BASE, evidence=evidence, methods="slerp,wise_ft", budget=4)
    assert evidence.found is not None
    assert len(evidence.found.scored) == 4
    assert "expected exactly two, but got 3" in evidence.found.refused["slerp {}"]
