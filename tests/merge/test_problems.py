"""Messages about many tensors: short, with the whole list beside them."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge import merge

NAMES = [f"blocks.{i:03}.weight" for i in range(300)]
FIRST = ", ".join(f"`{name}`" for name in NAMES[:6])


def full(value: float, size: int = 2) -> dict[str, Tensor]:
    return {name: torch.full((size,), value) for name in NAMES} | {"head": torch.ones(1)}


def failure(models: dict[str, dict[str, Tensor]]) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        merge("uniform", models)
    return caught.value


def test_of_three_hundred_lacking_tensors_a_few_are_named_and_all_are_kept() -> None:
    error = failure({"a": full(1.0), "b": {"head": torch.ones(1)}})
    assert str(error) == (
        f"The models hold different tensors: `b` lacks {FIRST} and 294 more. Merge models of one architecture."
    )
    assert error.details.splitlines() == [
        "The models hold different tensors:",
        "`b` lacks",
        *(f"    `{name}`" for name in NAMES),
    ]


def test_of_many_models_a_few_are_named() -> None:
    error = failure({"a": full(1.0)} | {f"m{i}": {"head": torch.ones(1)} for i in range(6)})
    assert re.fullmatch(r"The models .*: `m0` lacks .*; `m3` lacks .*; 2 more models likewise\. Merge.*", str(error))
    assert "`m4`" not in str(error)
    assert len(str(error)) < 1000
    assert error.details.count("\n") == 1 + 6 * 301
    error = failure({"a": {"head": torch.ones(1)}} | {f"m{i}": {"head": torch.ones(2)} for i in range(5)})
    assert str(error).endswith("; 1 more model likewise. Merge models of one architecture.")


def test_shapes_and_values_that_are_no_numbers_are_cut_too() -> None:
    error = failure({"a": full(1.0), "b": full(1.0, 3)})
    end = "`blocks.005.weight` is floating-point (3,), not floating-point (2,) and 294 more. Merge models of one "
    assert end in str(error)
    assert error.details.count("\n") == 302
    error = failure({"a": full(1.0), "b": full(torch.nan)})
    assert "`blocks.005.weight` (NaN) and 294 more. Leave such a model out" in str(error)
    assert error.details.startswith("There are values that are no numbers.\n`b`:\n    `blocks.000.weight` (NaN)\n")


def test_a_short_list_has_no_details() -> None:
    assert failure({"a": {"w": torch.ones(1)}, "b": {"v": torch.ones(1)}}).details == ""
