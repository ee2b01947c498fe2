"""A sweep's file becomes runs: domains, seeds, grids, what is included, excluded and left out twice."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.keys import value_at
from hamdg.errors import ConfigError
from hamdg.runs.identity import run_directory
from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.sweep_file import read_sweep

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile

DOMAINS = ["art_painting", "cartoon", "photo", "sketch"]
BOTH = {"HAM": {"recipe": "ham.yaml"}, "ERM": {"recipe": "erm.yaml"}}
# One variant on one domain with one seed.
ONE: dict[str, object] = {
    "held_out": ["sketch"],
    "seeds": [0],
    "conditions": None,
    "variants": {"HAM": {"recipe": "ham.yaml"}},
}

# An item of `include` that is a variant of its own.
NEW: dict[str, object] = {"variant": "new", "recipe": "erm.yaml"}


def jobs(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path, threads=1)


def names(path: Path) -> list[str]:
    return [job.variant for job in jobs(path)]


def values(path: Path, key: str) -> list[object]:
    return [value_at(job.recipe, key) for job in jobs(path)]


def test_all_domains_and_a_number_of_seeds(sweep_file: SweepFile) -> None:
    found = jobs(sweep_file(**{**ONE, "held_out": "all", "seeds": 2}))
    assert [(job.recipe.held_out, job.recipe.seed) for job in found] == [
        (name, seed) for name in DOMAINS for seed in (0, 1)
    ]
    assert [job.recipe.held_out for job in jobs(sweep_file(**{**ONE, "held_out": "art"}))] == ["art_painting"]
    both = jobs(sweep_file(**{**ONE, "held_out": ["sketch+photo", "cartoon"]}))
    assert [job.recipe.held_out for job in both] == ["photo+sketch", "cartoon"]


def test_a_variant_may_have_more_seeds_and_domains_than_the_others(sweep_file: SweepFile) -> None:
    more = [{"variant": "HAM", "seeds": [3]}, {"variant": "HAM", "seeds": [0], "held_out": ["photo"]}]
    found = jobs(sweep_file(**{**ONE, "variants": BOTH, "include": more}))
    assert {(job.variant, job.recipe.held_out, job.recipe.seed) for job in found} == {
        ("HAM", "sketch", 0), ("ERM", "sketch", 0), ("HAM", "sketch", 3), ("HAM", "photo", 0),
    }  # fmt: skip
    again = jobs(sweep_file(**{**ONE, "include": [{"variant": "HAM", "seeds": [0, 1]}]}))
    assert [job.recipe.seed for job in again] == [0, 1]


def test_a_condition_may_hold_out_domains_of_its_own(sweep_file: SweepFile) -> None:
    own = {"held_out": ["art", "photo+sketch"], "train.lr": 0.1}
    conditions = {"a": {}, "b": own, "c": {"held_out": "all", "train.lr": 0.2}}
    path = sweep_file(**{**ONE, "conditions": conditions})
    found = [(job.condition, job.recipe.held_out, job.recipe.train.lr == 0.1) for job in jobs(path)]
    assert found[:3] == [("a", "sketch", False), ("b", "art_painting", True), ("b", "photo+sketch", True)]
    assert found[3:] == [("c", name, False) for name in DOMAINS]


def test_all_are_those_of_each_variants_benchmark_without_what_it_excludes(sweep_file: SweepFile) -> None:
    variants = {
        "mini": {"recipe": "erm.yaml", "set": {"excluded": ["cartoon"]}},
        "terra": {"recipe": "erm.yaml", "set": {"benchmark": "terra"}},
    }
    found = jobs(sweep_file(**{**ONE, "held_out": "all", "variants": variants}))
    places = {name: [job.recipe.held_out for job in found if job.variant == name] for name in variants}
    assert places["mini"] == ["art_painting", "photo", "sketch"]
    assert len(places["terra"]) == 4
    assert not set(places["terra"]) & set(DOMAINS)


def test_a_grid_is_crossed_with_the_variants_that_use_its_keys(sweep_file: SweepFile) -> None:
    grid = {"train.lr": [0.001, 1e-5], "merge.options.keep": [0.2, 0.5], "ham.enrichment.enabled": [True, False]}
    path = sweep_file(**{**ONE, "variants": BOTH, "grid": grid})
    assert names(path) == [
        *(f"HAM, lr={lr}, keep={keep}, enabled={on}" for lr in ("0.001", "1e-05") for keep in (0.2, 0.5)
          for on in ("true", "false")),
        "ERM, lr=0.001",
        "ERM, lr=1e-05",
    ]  # fmt: skip
    found = jobs(path)
    assert [value_at(job.recipe, "train.lr") for job in found] == [0.001] * 4 + [1e-5] * 4 + [0.001, 1e-5]
    assert [job.recipe.merge.options for job in found[:3]] == [{"keep": 0.2}, {"keep": 0.2}, {"keep": 0.5}]
    assert {job.origin for job in found} == {"HAM", "ERM"}
    assert found[0].recipe.label == found[0].variant
    assert len({run_directory(job.recipe) for job in found}) == 10


def test_keys_of_one_name_are_told_apart_and_lists_are_values(sweep_file: SweepFile) -> None:
    grid = {"ham.harmonization.weight": [0.5], "train.weight_decay": [0.1], "model.prompts": [["a {}."], ["the {}."]]}
    first, second = names(sweep_file(**{**ONE, "grid": grid}))
    assert first == 'HAM, weight=0.5, weight_decay=0.1, prompts=["a {}."]'
    assert second.endswith('prompts=["the {}."]')
    grid = {"ham.harmonization.weight": [0.5], "coral.weight": [1.0], "algorithm": ["ham", "coral"]}
    assert names(sweep_file(**{**ONE, "grid": grid})) == [
        "HAM, algorithm=ham, harmonization.weight=0.5",
        "HAM, algorithm=coral, coral.weight=1.0",
    ]


def test_an_algorithm_of_a_grid_brings_its_own_keys(sweep_file: SweepFile) -> None:
    grid = {"algorithm": ["erm", "coral"], "coral.weight": [1.0, 2.0], "train.steps": [30.0]}
    path = sweep_file(**{**ONE, "grid": grid})
    assert names(path) == [
        "HAM, algorithm=erm, steps=30",
        "HAM, algorithm=coral, weight=1.0, steps=30",
        "HAM, algorithm=coral, weight=2.0, steps=30",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"train.lrr": [1]}}, "there is no key `train.lrr` in `grid`; did you mean `train.lr`?"),
        ({"grid": {"ham.enrichmnt.enabled": [True]}}, "did you mean `ham.enrichment.enabled`?"),
        ({"grid": {"enrichment.enabled": [True]}}, "in `grid` any more; write `ham.enrichment.enabled`."),
        ({"grid": {"train": [1]}}, "`train` is a section; name one of its keys, such as `train.steps`, `train.lr`."),
        ({"grid": {"train.lr": [1, "fast"]}}, 'expected `grid.train.lr.1` to be a number above 0, but got `"fast"`.'),
        ({"grid": {"train.lr": [1, 1.0]}}, "`grid.train.lr` holds `1.0` twice; every run is made once, so keep one."),
        ({"grid": {"train.lr": []}}, "`grid.train.lr` is empty; give the values that `train.lr` is to have."),
        ({"grid": {"train.lr": 1}}, "expected `grid.train.lr` to be a list of values, but got `1`."),
        ({"grid": {"seed": [1]}}, "`seed` is given by `seeds` of the sweep; leave it out of `grid`."),
        (
            {"grid": {"runtime.precision": ["fp32", "bf16"]}},
            "`runtime.precision` does not define a run, so that all of `grid.runtime.precision` would be one; leave it "
            "out.",
        ),
        (
            {"grid": {"train.lr": [1]}, "conditions": {"a": {"train.lr": 2}}},
            "`train.lr` stands in `grid` and in `conditions.a`; take it out of one of them.",
        ),
        ({"random": {"draws": 2}}, "`random` lacks `ranges`; it is `{draws: N, ranges: {...}}`."),
        ({"random": {"draws": 0, "ranges": {}}}, "expected `random.draws` to be an integer between 1 and 10,000"),
        ({"random": {"draws": 2, "ranges": {"train.lrr": {}}}}, "there is no key `train.lrr` in `random.ranges`"),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"log": [1, 2]}}}},
            "there is no distribution `log` in `random.ranges.train.lr`; did you mean `log2`?",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"uniform": [1, 2], "choice": [1]}}}},
            "`random.ranges.train.lr` must be one of `uniform`, `log10`, `log2`, `integer`, `choice` with its values",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"uniform": [2, 1]}}}},
            "`random.ranges.train.lr.uniform` must be its two ends, `[low, high]`, the smaller one first.",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"uniform": [-1, 1]}}}},
            "expected `random.ranges.train.lr.uniform` to be a number above 0, but got `-1.0`.",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.steps": {"integer": [1.5, 3]}}}},
            "expected `random.ranges.train.steps.integer.0` to be an integer, but got `1.5`.",
        ),
        (
            {"random": {"draws": 2, "ranges": {"ham.enrichment.combine": {"choice": ["sum", "meen"]}}}},
            "expected `random.ranges.ham.enrichment.combine.choice.1` to be one of `",
        ),
        ({"include": [{"set": {}}]}, "`include.0` lacks `variant`, the name of a variant, new or known."),
        ({"include": [{"variant": "HAM"}]}, "`include.0` repeats the variant `HAM`; say under `set` what"),
        (
            {"include": [{"variant": "HMA", "set": {"train.lr": 1}}]},
            "`HMA` is not one of `variants`, and a new one needs `recipe`; did you mean `HAM`?",
        ),
        (
            {"include": [{"variant": "HAM", "recipe": "erm.yaml"}]},
            "`HAM` is one of `variants`, whose recipe it takes; leave `recipe` out, or give another name.",
        ),
        (
            {"include": [{"variant": "HAM", "set": {"train.lr": 1}, "conditions": ["claen"]}]},
            "there is no condition `claen`; did you mean `clean`?",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"log10": [-5, 4000]}}}},
            "`random.ranges.train.lr.log10` goes up to 4000.0, a power that no number can hold",
        ),
        (
            {"include": [{"variant": "HAM", "set": {"train.lr": 1}, "seeds": []}]},
            "`include.0.seeds` is empty, so that nothing would be made; leave it out for that of the sweep.",
        ),
        (
            {"include": [{"variant": "HAM", "set": {"train.lr": 1}, "held_out": []}]},
            "`include.0.held_out` is empty, so that nothing would be made; leave it out for that of the sweep.",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.lr": {"uniform": [0, math.inf]}}}},
            "`random.ranges.train.lr.uniform` is from 0.0 to inf, too wide to draw from; give finite ends, closer",
        ),
        (
            {"random": {"draws": 2, "ranges": {"train.steps": {"integer": [1, 10**30]}}}},
            "`random.ranges.train.steps.integer` is from 1 to 1000000000000000000000000000000, too wide to draw from",
        ),
        (
            {"include": [NEW, {**NEW, "recipe": "ham.yaml", "seeds": [1]}]},
            "`include` has two variants `new` that differ in `recipe`; give one of them another name.",
        ),
        ({"include": [NEW, {**NEW, "set": {"train.lr": 1}}]}, "two variants `new` that differ in `set`;"),
        ({"include": [NEW, {**NEW, "rows": {"erm": "x"}}]}, "two variants `new` that differ in `rows`;"),
        (
            {"include": [{"variant": "HAM", "set": {"train.lr": 1}, "rows": {"ham": "x"}}]},
            "`include.0.rows` would not be used: the rows are those of the variant `HAM`; leave it out.",
        ),
        ({"exclude": [{}]}, "`exclude.0` is empty, so that it would exclude all runs; name a variant, for instance."),
        ({"exclude": [{"varaint": "HAM"}]}, "there is no key `varaint` in `exclude.0`; did you mean `variant`?"),
        (
            {"leave_out": "pairs", "until": "validate"},
            "`leave_out: pairs` is for results on held-out domains, which `until: validate` has none of; drop either.",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(sweep_file: SweepFile, changes: dict[str, object], message: str) -> None:
    path = sweep_file(**{**ONE, **changes})
    with pytest.raises(ConfigError, match=rf"^{re.escape(f'`{path}`')}, line \d+: .*{re.escape(message)}"):
        read_sweep(path)


def test_the_line_is_that_of_the_key(sweep_file: SweepFile) -> None:
    path = sweep_file(**{**ONE, "grid": {"train.lr": [0.1], "train.stepz": [1, 2]}})
    line = path.read_text().splitlines().index("  train.stepz:") + 1
    with pytest.raises(ConfigError, match=f"^`{re.escape(str(path))}`, line {line}: there is no key `train.stepz`"):
        read_sweep(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": {"tracking.project": ["a", "b"]}},
        {"grid": {"evaluate.lines": [0, 3]}},
        {"grid": {"train.lr": [0.1, 0.2], "coral.weight": [0.1, 0.2]}},
        {"random": {"draws": 2, "ranges": {"coral.weight": {"uniform": [0.1, 0.2]}}}},
    ],
)
def test_a_key_that_no_variant_uses_is_not_dropped_silently(
    sweep_file: SweepFile, changes: dict[str, dict[str, dict[str, object]]]
) -> None:
    path = sweep_file(**{**ONE, **changes})
    with pytest.raises(ConfigError, match=r"^No variant of the sweep uses `(tracking|evaluate|coral)\.\w+` \(in `.*"):
        jobs(path)


def test_an_option_that_a_merge_method_lacks_is_named_with_its_variant(sweep_file: SweepFile) -> None:
    path = sweep_file(**{**ONE, "grid": {"merge.options.kep": [0.1]}})
    message = "Variant `HAM, kep=0.1`, condition `clean`, held out `sketch`, seed 0: "
    with pytest.raises(ConfigError, match=rf"^{re.escape(message)}.*did you mean `merge\.options\.keep`\?"):
        jobs(path)


def test_what_is_included_stands_beside_the_grid(sweep_file: SweepFile) -> None:
    include = [
        {"variant": "HAM", "set": {"train.lr": 0.5, "train.steps": 70}, "held_out": "photo", "seeds": [9]},
        {"variant": "experts", "recipe": "mini/experts", "seeds": 1},
    ]
    path = sweep_file(**{**ONE, "grid": {"train.lr": [0.1, 0.2]}, "include": include})
    found = [(job.variant, job.origin, job.recipe.held_out, job.recipe.seed) for job in jobs(path)]
    assert sorted(found) == [
        ("HAM, lr=0.1", "HAM", "sketch", 0),
        ("HAM, lr=0.2", "HAM", "sketch", 0),
        ("HAM, lr=0.5, steps=70", "HAM", "photo", 9),
        ("experts", "experts", "sketch", 0),
    ]


def test_a_new_variant_may_be_included_again_on_other_seeds(sweep_file: SweepFile) -> None:
    path = sweep_file(**ONE, include=[{**NEW, "seeds": [0]}, {**NEW, "seeds": [4], "held_out": "photo"}])
    found = [(job.recipe.held_out, job.recipe.seed) for job in jobs(path) if job.variant == "new"]
    assert sorted(found) == [("photo", 4), ("sketch", 0)]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ({"variant": "ERM"}, 8),
        ({"variant": "HAM"}, 4),
        ({"variant": "HAM, lr=0.1"}, 8),
        ({"variant": ["HAM, lr=0.1", "ERM"], "held_out": "art"}, 8),
        ({"held_out": "Art Painting", "seed": 1}, 9),
        ({"train.lr": 0.1, "seed": [0, 1]}, 8),
        ({"algorithm": "ham", "seed": 0}, 8),  # what the recipe says, or leaves at its default
        ({"train.steps": 40, "held_out": "sketch"}, 8),
        ({"held_out": ["sketch + art", "Art Painting"]}, 6),
    ],
)
def test_what_is_excluded_is_left_out(sweep_file: SweepFile, entry: dict[str, object], left: int) -> None:
    variants = {"HAM": {"recipe": "ham.yaml"}}
    path = sweep_file(
        **{**ONE, "held_out": ["sketch", "art"], "seeds": 2, "variants": variants},
        grid={"train.lr": [0.1, 0.2]},
        include=[{"variant": "ERM", "recipe": "erm.yaml"}],
        exclude=[entry],
    )
    assert len(jobs(path)) == left


def test_an_option_of_the_merge_method_excludes_what_gives_it(sweep_file: SweepFile) -> None:
    include = [{"variant": "pruned", "recipe": "ham.yaml", "set": {"merge.options.keep": 0.2}}]
    path = sweep_file(**ONE, include=include, exclude=[{"merge.options.keep": 0.2}])
    assert names(path) == ["HAM"]
    assert names(sweep_file(**ONE, include=include, exclude=[{"merge.options.keep": None}])) == ["pruned"]


def test_an_exclusion_that_fits_nothing_is_named(sweep_file: SweepFile) -> None:
    path = sweep_file(**ONE, exclude=[{"variant": "HAM", "seed": 4}])
    with pytest.raises(ConfigError, match=r"`exclude\.0` fits no run; correct it, or leave it out\.$"):
        jobs(path)
    with pytest.raises(ConfigError, match="excludes all of its runs; leave some"):
        jobs(sweep_file(**ONE, exclude=[{"variant": "HAM"}]))


def test_domains_that_are_held_out_together_are_excluded_in_any_order(sweep_file: SweepFile) -> None:
    path = sweep_file(**{**ONE, "held_out": ["sketch+photo", "art"]}, exclude=[{"held_out": "Sketch + photo"}])
    assert [job.recipe.held_out for job in jobs(path)] == ["art_painting"]


def test_rows_of_a_variant_whose_runs_are_all_excluded_are_no_mistake(sweep_file: SweepFile) -> None:
    variants = {"HAM": {"recipe": "ham.yaml", "rows": {"ham": "HAM"}}, "ERM": {"recipe": "erm.yaml"}}
    assert names(sweep_file(**{**ONE, "variants": variants}, exclude=[{"variant": "HAM"}])) == ["ERM"]


def test_a_run_that_two_conditions_share_is_to_be_excluded_under_one(sweep_file: SweepFile) -> None:
    changes = {**ONE, "variants": BOTH, "conditions": {"all": {}, "half": {"ham.enrichment.enabled": False}}}
    message = (
        "`ERM` (half, sketch, seed 0) is the same run as `ERM` (all); leave it out by `exclude: [{variant: ERM, "
        "condition: half}]`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        jobs(sweep_file(**changes))
    assert len(jobs(sweep_file(**changes, exclude=[{"variant": "ERM", "condition": "half"}]))) == 3


def test_what_is_excluded_need_not_make_sense(sweep_file: SweepFile) -> None:
    grid = {"merge.method": ["ties", "rhm"], "merge.options.keep": [0.2]}
    with pytest.raises(ConfigError, match="Variant `HAM, method=ties, keep="):
        jobs(sweep_file(**ONE, grid={**grid, "merge.options.criterion": ["magnitude"]}))
    exclude = [{"merge.method": "ties"}]
    assert len(names(sweep_file(**ONE, grid={**grid, "merge.options.criterion": ["magnitude"]}, exclude=exclude))) == 1


def test_pairs_are_domainbeds_test_domains_one_and_two_at_a_time(sweep_file: SweepFile) -> None:
    found = jobs(sweep_file(**{**ONE, "held_out": "all"}, leave_out="pairs"))
    singles = [job.recipe.held_out for job in found if not job.is_pair]
    pairs = [job.recipe.held_out for job in found if job.is_pair]
    assert singles == DOMAINS
    assert pairs == [f"{one}+{other}" for place, one in enumerate(DOMAINS) for other in DOMAINS[place + 1 :]]
    some = jobs(sweep_file(**{**ONE, "held_out": ["photo"]}, leave_out="pairs"))
    assert [job.recipe.held_out for job in some] == ["photo", "art_painting+photo", "cartoon+photo", "photo+sketch"]
    with pytest.raises(ConfigError, match=r"takes single domains, but `held_out` names `photo\+sketch`; take it out"):
        jobs(sweep_file(**{**ONE, "held_out": ["photo+sketch"]}, leave_out="pairs"))


def test_controls_and_pages_are_those_of_single_runs_unless_switched_off(sweep_file: SweepFile) -> None:
    (own,) = jobs(sweep_file(**ONE, controls=None, reports=None))
    assert own.recipe.controls.erm
    assert own.recipe.runtime.report
    assert "--controls" not in own.command
    (bare,) = jobs(sweep_file(**ONE))
    assert not bare.recipe.controls.erm
    assert not bare.recipe.runtime.report
    assert "--controls.erm=false" in bare.command


def test_two_variants_of_one_name_are_refused(sweep_file: SweepFile) -> None:
    variants = {"HAM": {"recipe": "ham.yaml"}, "HAM, lr=0.5": {"recipe": "erm.yaml"}}
    include = [{"variant": "HAM", "set": {"train.lr": 0.5}}]
    with pytest.raises(ConfigError, match=r"has two variants called `HAM, lr=0\.5`; give one of them another name"):
        jobs(sweep_file(**{**ONE, "variants": variants, "include": include}))


def test_only_rows_that_are_shown_are_measured_where_the_sweep_says_so(sweep_file: SweepFile) -> None:
    shown = {"HAM": {"recipe": "ham.yaml", "rows": {"source/*": "mean expert", "ham": "HAM"}}}
    assert values(sweep_file(**{**ONE, "variants": shown}), "evaluate.rows") == [None]
    asked = sweep_file(**{**ONE, "variants": shown, "only_shown": True})
    assert values(asked, "evaluate.rows") == [["source/*", "ham"]]
    assert "evaluate" not in jobs(asked)[0].command
    assert values(sweep_file(**{**ONE, "only_shown": True}), "evaluate.rows") == [None]
    own = {"HAM": {**shown["HAM"], "set": {"evaluate.rows": ["shrunk"]}}}
    assert values(sweep_file(**{**ONE, "variants": own, "only_shown": True}), "evaluate.rows") == [["shrunk"]]


def test_what_is_for_pages_alone_is_not_measured_where_there_are_none(sweep_file: SweepFile) -> None:
    assert values(sweep_file(**ONE), "evaluate.lines") == [0]
    assert values(sweep_file(**{**ONE, "reports": True}), "evaluate.lines") == [5]
    asked = {"HAM": {"recipe": "ham.yaml", "set": {"evaluate.lines": 3}}}
    assert values(sweep_file(**{**ONE, "variants": asked}), "evaluate.lines") == [3]
