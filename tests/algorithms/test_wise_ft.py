"""WiSE-FT: the interpolation, head included, and how alpha is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
import torch

from hamdg.algorithms.wise_ft import GRID, best, interpolated
from hamdg.config.reading import read_recipe
from hamdg.errors import ConfigError
from hamdg.merge.files import load_tensors
from hamdg.runs.figures import Lines
from hamdg.runs.steps import read_step_summary, read_validation_by_source
from hamdg.stages.holdout_scores import HoldoutScores

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

    Runs = Callable[..., Done]

HEAD = ("--model.head=trained", "--history.kind=last", "--train.lr=0.03")


def test_the_interpolation_by_hand() -> None:
    base, tuned = {"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([5.0, 2.0])}
    assert torch.equal(interpolated(base, tuned, 0.25)["w"], torch.tensor([2.0, -1.0]))
    assert torch.equal(interpolated(base, tuned, 0.0)["w"], base["w"])
    assert torch.equal(interpolated(base, tuned, 1.0)["w"], tuned["w"])


def test_the_best_alpha_has_the_highest_mean_over_domains_and_of_equal_ones_is_the_smallest() -> None:
    assert GRID == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert best({0.0: {"a": 0.5, "b": 0.5}, 0.5: {"a": 0.9, "b": 0.3}, 1.0: {"a": 1.0, "b": 0.0}}) == 0.5
    assert best({1.0: {"a": 0.5}, 0.9: {"a": 0.5}, 0.1: {"a": 0.25}}) == 0.9
    assert best({alpha: {"a": 0.25} for alpha in GRID}) == 0.0


def test_alpha_is_chosen_by_the_sources_and_the_head_is_interpolated_too(done: Runs) -> None:
    own = done("wise_ft", *HEAD)
    context = own.context()
    facts = read_step_summary(own.run.step("merge"))["facts"]
    scores = {float(alpha): one for alpha, one in cast("dict[str, dict[str, float]]", facts["scores"]).items()}
    assert tuple(scores) == GRID
    assert facts["alpha"] == best(scores)

    base, tuned = context.base(), context.step("train").history().last["pooled"]
    merged = context.step("merge").load("merged")
    assert not torch.equal(tuned["head.weight"], base["head.weight"])
    alpha = best(scores)
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (1 - alpha) * base[name] + alpha * tuned[name], rtol=1e-5, atol=1e-6)
    # What the grid says of its ends and of the result, the validation says of their rows.
    validation = read_validation_by_source(own.run)
    assert validation["zero_shot"] == scores[0.0]
    assert validation["fine_tuned"] == scores[1.0]
    assert validation["wise_ft"] == scores[alpha]
    assert torch.equal(load_tensors(own.run.head)["weight"], merged["head.weight"])


def test_the_page_draws_the_grid(done: Runs) -> None:
    summary = read_step_summary(done("wise_ft", *HEAD).run.step("merge"))
    figure = cast("Lines", summary["figures"][0])
    scores = cast("dict[str, dict[str, float]]", summary["facts"]["scores"])
    drawn = {one["label"]: one["y"] for one in figure["series"]}
    assert list(drawn) == ["art_painting", "cartoon", "photo", "mean"]
    assert drawn["photo"] == [100 * own["photo"] for own in scores.values()]
    assert drawn["mean"][3] == pytest.approx(100 * sum(scores["0.3"].values()) / 3)
    assert all(one["x"] == list(GRID) for one in figure["series"])


def test_a_number_fixes_alpha_opens_no_domain_and_shares_the_training(done: Runs) -> None:
    own = done("wise_ft", *HEAD, "--wise_ft.alpha=0.3")
    summary = read_step_summary(own.run.step("merge"))
    assert (summary["opened"], summary["reads"]) == ([], [])
    assert (summary["facts"]["alpha"], summary["facts"]["scores"]) == (0.3, {})
    context = own.context()
    base, tuned = context.base(), context.step("train").history().last["pooled"]
    merged = context.step("merge").load("merged")
    torch.testing.assert_close(merged["head.weight"], torch.lerp(base["head.weight"], tuned["head.weight"], 0.3))
    chosen = done("wise_ft", *HEAD).context().step("train").history().last["pooled"]
    assert all(torch.equal(tuned[name], tensor) for name, tensor in chosen.items())


def test_scores_on_hold_out_sets_are_those_of_the_validation(done: Runs) -> None:
    own = done("erm")
    context = own.context()
    entries = {entry.key: entry for entry in context.algorithm.entries(context)}
    scores, validation = HoldoutScores(context), read_validation_by_source(own.run)
    for key in ("erm", "zero_shot", "erm"):
        assert scores.by_domain(entries[key].weights) == validation[key]
        assert scores.mean(entries[key].weights) == pytest.approx(sum(validation[key].values()) / 3)


@pytest.mark.parametrize("alpha", ["-0.1", "1.5"])
def test_an_alpha_outside_of_its_range_is_refused(alpha: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"Expected `wise_ft.alpha` to be a number between 0 and 1, but got `{alpha}`"
    ):
        read_recipe(None, ["--algorithm=wise_ft", f"--wise_ft.alpha={alpha}"])
