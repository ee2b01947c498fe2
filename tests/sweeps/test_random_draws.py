"""Random draws of settings: DomainBed's, from the number of the draw, the seed and the key alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hamdg.config.keys import value_at
from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError
from hamdg.sweeps.random_draws import Distribution, drawn
from tests.sweeps.test_expansion import BOTH, ONE, jobs

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

RANGES: dict[str, dict[str, list[Any]]] = {
    "train.lr": {"log10": [-5, -3.5]},
    "train.weight_decay": {"log10": [-6, -2]},
    "data.batch_size": {"log2": [3, 5.5]},
    "train.steps": {"integer": [30, 32]},
    "ham.enrichment.combine": {"choice": ["sum", "mean"]},
    "merge.options.keep": {"uniform": [0.1, 0.9]},
}


def domainbed(draw: int, trial: int, name: str, value: Any) -> Any:
    """Return what DomainBed's `hparams_registry` draws: written after it, with nothing of this package."""
    import hashlib

    def seed_hash(*arguments: object) -> int:
        return int(hashlib.md5(str(arguments).encode("utf-8")).hexdigest(), 16) % (2**31)

    return value(np.random.RandomState(seed_hash(seed_hash(draw, trial), name)))


@pytest.mark.parametrize(("draw", "trial"), [(1, 0), (7, 2), (19, 1)])
def test_draws_are_domainbeds(draw: int, trial: int) -> None:
    ranges = {
        "lr": Distribution("log10", (-5, -3.5)),
        "batch_size": Distribution("log2", (3, 5.5), whole=True),
        "resnet_dropout": Distribution("choice", (0.0, 0.1, 0.5)),
        "rsc_f_drop_factor": Distribution("uniform", (0, 0.5)),
    }
    assert drawn(ranges, draw, trial) == {
        "lr": domainbed(draw, trial, "lr", lambda r: 10 ** r.uniform(-5, -3.5)),
        "batch_size": domainbed(draw, trial, "batch_size", lambda r: int(2 ** r.uniform(3, 5.5))),
        "resnet_dropout": domainbed(draw, trial, "resnet_dropout", lambda r: r.choice([0.0, 0.1, 0.5])),
        "rsc_f_drop_factor": domainbed(draw, trial, "rsc_f_drop_factor", lambda r: r.uniform(0, 0.5)),
    }
    assert drawn(ranges, 0, trial) == {}


def test_the_hash_is_domainbeds_by_its_check_values() -> None:
    assert [seed_hash(0, number) for number in range(4)] == [894182419, 1514274641, 1325548499, 1796103049]


def test_draw_0_is_the_recipe_and_others_follow_from_draw_seed_and_key(sweep_file: SweepFile) -> None:
    random = {"draws": 4, "ranges": RANGES}
    path = sweep_file(**{**ONE, "held_out": ["sketch", "art"], "seeds": [0, 1], "random": random})
    found = jobs(path)
    assert len(found) == 16
    assert [job.variant for job in found[:4]] == [f"HAM, draw {number}" for number in range(4)]
    assert {(job.family, job.origin) for job in found} == {("HAM", "HAM")}
    by = {(job.recipe.held_out, job.recipe.seed, job.draw): job.recipe for job in found}
    default = by["sketch", 0, 0]
    assert (default.train.lr, default.train.steps, default.merge.options) == (0.001, 40, {})
    for seed in (0, 1):
        for draw in (1, 2, 3):
            keys = ("train", "data.batch_size", "merge.options", "ham.enrichment.combine")
            both = [by[domain, seed, draw] for domain in ("sketch", "art_painting")]
            own, other = ([value_at(recipe, key) for key in keys] for recipe in both)
            assert own == other
            assert 30 <= by["sketch", seed, draw].train.steps <= 32
    assert len({by["sketch", seed, draw].train.lr for seed in (0, 1) for draw in range(1, 4)}) == 6
    # One more range changes no other value.
    fewer = {"draws": 4, "ranges": {key: one for key, one in RANGES.items() if key != "train.lr"}}
    again = jobs(sweep_file(**{**ONE, "random": fewer}))
    decays = [job.recipe.train.weight_decay for job in again]
    assert decays == [by["sketch", 0, draw].train.weight_decay for draw in range(4)]


def test_draws_that_come_out_alike_are_made_once_and_none_are_made_of_what_an_algorithm_ignores(
    sweep_file: SweepFile,
) -> None:
    random = {"draws": 12, "ranges": {"ham.enrichment.combine": {"choice": ["sum", "mean"]}}}
    found = jobs(sweep_file(**{**ONE, "variants": BOTH, "random": random}))
    draws = [job.draw for job in found if job.origin == "HAM"]
    assert draws[0] == 0
    assert len(draws) == 2
    assert [(job.variant, job.draw) for job in found if job.origin == "ERM"] == [("ERM", None)]


def test_a_range_whose_values_make_no_other_runs_is_refused(sweep_file: SweepFile) -> None:
    ranges = {"data.cache": {"choice": ["a", "b"]}, "train.lr": {"log10": [-5, -3]}}
    message = (
        r"^No value that was drawn for `data\.cache` makes another run \(in `.*`\), so that its draws would all be "
        r"one; take it out of `random\.ranges`\.$"
    )
    for own in (ranges, {"data.cache": ranges["data.cache"]}):
        with pytest.raises(ConfigError, match=message):
            jobs(sweep_file(**ONE, random={"draws": 3, "ranges": own}))


def test_a_range_may_need_what_another_one_draws(sweep_file: SweepFile) -> None:
    ranges = {
        "history.kind": {"choice": ["swad"]},
        "history.n_s": {"integer": [4, 9]},
        "train.lr": {"choice": [0.001]},  # what it is without
    }
    found = jobs(sweep_file(**{**ONE, "variants": {"ERM": BOTH["ERM"]}}, random={"draws": 4, "ranges": ranges}))
    assert len(found) > 2
