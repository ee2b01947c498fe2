"""How sure a difference between two models is, beside leaving out one image after another."""

from __future__ import annotations

import numpy as np
import pytest

from hamdg.report.gaps import gap_to
from hamdg.runs.averages import Average, average
from hamdg.runs.predictions import Predictions, TargetPredictions
from hamdg.runs.record import Record


@pytest.mark.parametrize("kind", ["arithmetic", "harmonic"])
def test_the_error_of_a_paired_difference_is_that_of_its_mean(ham: Record, kind: Average) -> None:
    rng = np.random.default_rng(0)
    right = {
        name: {"ham": rng.random(400) < own, "erm_sma": rng.random(400) < other}
        for name, own, other in (("cartoon", 0.9, 0.8), ("sketch", 0.3, 0.25))
    }
    predictions = Predictions(
        {
            name: TargetPredictions(
                np.zeros(400, np.int64),
                {key: np.where(answers, 0, 1) for key, answers in both.items()},
                {key: np.full(400, 0.5, np.float32) for key in both},
            )
            for name, both in right.items()
        }
    )

    def difference(left_out: str = "", position: int = 0) -> float:
        means = {}
        for key in ("ham", "erm_sma"):
            kept = [np.delete(right[name][key], position) if name == left_out else right[name][key] for name in right]
            means[key] = average([float(one.mean()) for one in kept], kind)
        return means["ham"] - means["erm_sma"]

    without = [np.array([difference(name, position) for position in range(400)]) for name in right]
    variance = sum(399 / 400 * ((one - one.mean()) ** 2).sum() for one in without)

    record = ham | {"average": kind}
    rows = {row["key"]: row for row in record["rows"]}
    rows["ham"]["held_out"], rows["erm_sma"]["held_out"] = difference() + 0.2, 0.2
    found = gap_to(record, predictions, rows["erm_sma"])
    assert found is not None
    assert found.paired
    assert found.value == pytest.approx(difference())
    assert found.error == pytest.approx(variance**0.5, rel=0.01)
