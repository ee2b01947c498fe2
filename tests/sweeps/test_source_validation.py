from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hamdg.config.recipe import Recipe
from hamdg.errors import RunDirectoryError
from hamdg.report.estimates import Estimate
from hamdg.sweeps.jobs import Job
from hamdg.sweeps.results import Selection, select


def run(folder: Path, **validation: float) -> Path:
    folder.mkdir()
    facts = {"validation": validation, "opened": ["photo"], "seconds": 1.0, "wrote": {}}
    (folder / "validation.json").write_text(json.dumps(facts))
    return folder


def job(variant: str = "HAM", condition: str = "clean", seed: int = 0, held_out: str = "sketch") -> Job:
    return Job(condition, variant, Recipe(seed=seed, held_out=held_out), "validate")


def test_whole_models_are_averaged_over_seeds(tmp_path: Path) -> None:
    first = run(tmp_path / "1", zero_shot=0.5, ham=0.75, **{"source/photo": 0.9})
    second = run(tmp_path / "2", zero_shot=0.5, ham=0.25, **{"source/photo": 0.9})
    (found,) = select([(job(seed=0), first), (job(seed=1), second)])
    assert (found.condition, found.variant, found.row) == ("clean", "HAM", "ham")
    assert (found.accuracy.mean, found.accuracy.n) == (0.5, 2)
    assert found.accuracy.standard_error is not None
    assert math.isclose(found.accuracy.standard_error, 0.25)


def of_domains(folder: Path, values: dict[tuple[int, str], float]) -> Estimate:
    """Return the estimate of runs by seed and held-out domain."""
    folder.mkdir()
    runs = [
        (job(seed=seed, held_out=name), run(folder / f"{seed}-{name}", ham=value))
        for (seed, name), value in values.items()
    ]
    (found,) = select(runs)
    return found.accuracy


def test_domains_are_averaged_in_each_seed_so_that_the_error_is_over_seeds(tmp_path: Path) -> None:
    one_seed = {(0, "art"): 0.25, (0, "sketch"): 0.75}
    assert of_domains(tmp_path / "one", one_seed) == Estimate(0.5, None, 1)
    # Means of 0.5 and 0.75 by hand: their standard deviation (n - 1) is 0.1768, over the root of 2 that is 0.125.
    both = of_domains(tmp_path / "both", {**one_seed, (1, "art"): 0.5, (1, "sketch"): 1.0})
    assert (both.mean, both.n, round(both.standard_error or 0.0, 9)) == (0.625, 2, 0.125)
    # A seed without one of the domains is left out.
    assert of_domains(tmp_path / "more", {**one_seed, (1, "art"): 1.0}) == Estimate(0.5, None, 1)
    # Where every seed lacks one, numbers of different domains have no error.
    assert of_domains(tmp_path / "apart", {(0, "art"): 0.25, (1, "sketch"): 0.75}) == Estimate(0.5, None, 2)


def test_conditions_and_variants_are_kept_apart(tmp_path: Path) -> None:
    one, two, three = (run(tmp_path / name, ham=value) for name, value in (("1", 0.5), ("2", 0.25), ("3", 1.0)))
    assert select([(job("A"), one), (job("A", "noise"), two), (job("B"), three)]) == [
        Selection("clean", "A", "ham", Estimate(0.5, None, 1)),
        Selection("noise", "A", "ham", Estimate(0.25, None, 1)),
        Selection("clean", "B", "ham", Estimate(1.0, None, 1)),
    ]


def test_a_run_that_is_not_merged_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"validation\.json` is missing; repeat the run with `--force`\.$"):
        select([(job(), tmp_path)])
