"""What the engine does with the base of methods that work on whole models and yet let the base count."""

from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import WeightsError
from hamdg.merge import CommonStartWarning, list_methods, merge


def test_sources_that_agree_with_each_other_but_not_with_the_base_are_not_frozen() -> None:
    base, tuned = {"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}
    assert merge("wise_ft", {"a": tuned, "b": tuned}, base, alpha=0.25)["w"].item() == 1.0
    assert merge("uniform", {"a": tuned, "b": tuned}, base)["w"].item() == 4.0


def test_lines_scales_the_change_of_a_single_source() -> None:
    base, tuned = {"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}
    assert merge("uniform", {"a": tuned}, base, lines=(0.5, 0.0))["w"].item() == 2.0


def test_a_base_with_faults_is_named() -> None:
    base, tuned = {"w": torch.tensor([float("nan")])}, {"w": torch.tensor([4.0])}
    with pytest.raises(WeightsError, match=re.escape("There are non-finite values. the base: `w` (NaN).")):
        merge("wise_ft", {"a": tuned}, base)


def test_a_base_that_is_far_away_is_warned_of() -> None:
    base, tuned = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    with pytest.warns(CommonStartWarning, match=re.escape("the distance to them is `a` 1.41")):
        merge("wise_ft", {"a": tuned}, base)


def test_methods_say_whether_the_base_counts() -> None:
    known = list_methods()
    assert known["wise_ft"].needs_base
    assert known["wise_ft"].uses_base
    assert known["task_arithmetic"].uses_base
    assert not known["uniform"].uses_base
