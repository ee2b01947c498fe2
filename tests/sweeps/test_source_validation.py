from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hamdg.errors import RunDirectoryError
from hamdg.report.estimates import Estimate
from hamdg.sweeps.results import Selection, select


def run(folder: Path, **validation: float) -> Path:
    folder.mkdir()
    facts = {"validation": validation, "opened": ["photo"], "seconds": 1.0, "wrote": {}}
    (folder / "validation.json").write_text(json.dumps(facts))
    return folder


def test_whole_models_are_averaged_over_the_runs_of_a_variant(tmp_path: Path) -> None:
    first = run(tmp_path / "1", zero_shot=0.5, ham=0.75, **{"source/photo": 0.9})
    second = run(tmp_path / "2", zero_shot=0.5, ham=0.25, **{"source/photo": 0.9})
    (found,) = select([("clean", "HAM", first), ("clean", "HAM", second)])
    assert (found.condition, found.variant, found.row) == ("clean", "HAM", "ham")
    assert (found.accuracy.mean, found.accuracy.n) == (0.5, 2)
    assert found.accuracy.standard_error is not None
    assert math.isclose(found.accuracy.standard_error, 0.25)


def test_conditions_and_variants_are_kept_apart(tmp_path: Path) -> None:
    one, two, three = (run(tmp_path / name, ham=value) for name, value in (("1", 0.5), ("2", 0.25), ("3", 1.0)))
    assert select([("clean", "A", one), ("noise", "A", two), ("clean", "B", three)]) == [
        Selection("clean", "A", "ham", Estimate(0.5, None, 1)),
        Selection("noise", "A", "ham", Estimate(0.25, None, 1)),
        Selection("clean", "B", "ham", Estimate(1.0, None, 1)),
    ]


def test_a_run_that_is_not_merged_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"validation\.json` is missing; repeat the run with `--force`\.$"):
        select([("clean", "A", tmp_path)])
