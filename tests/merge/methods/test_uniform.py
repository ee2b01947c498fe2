from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.merge import merge

NUMBERS = st.floats(-1e4, 1e4, width=32)


def test_mean_by_hand() -> None:
    models = {"a": {"w": torch.tensor([1.0, 2.0])}, "b": {"w": torch.tensor([3.0, -4.0])}}
    assert merge("uniform", models)["w"].tolist() == [2.0, -1.0]


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=5))
def test_equals_a_loop_in_double_precision(rows: list[list[float]]) -> None:
    models = {f"s{i}": {"w": torch.tensor(row, dtype=torch.float64)} for i, row in enumerate(rows)}
    expected = [sum(row[i] for row in rows) / len(rows) for i in range(4)]
    assert merge("uniform", models)["w"].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_half_precision_is_summed_in_single() -> None:
    # In fp16 the sum of these two overflows; in bf16 adding 1/256 to 1 changes nothing.
    large = {"a": {"w": torch.tensor([60_000.0]).half()}, "b": {"w": torch.tensor([60_064.0]).half()}}
    assert merge("uniform", large)["w"].item() == 60_032.0
    fine = {f"s{i}": {"w": torch.tensor([1.0 if i == 0 else 1 / 256]).bfloat16()} for i in range(9)}
    assert merge("uniform", fine)["w"].item() == torch.tensor((1 + 8 / 256) / 9).bfloat16().item()


def test_the_base_gives_the_order_of_names_but_no_value() -> None:
    base = {"v": torch.tensor([100.0]), "w": torch.tensor([100.0])}
    models = {s: {"w": torch.tensor([x]), "v": torch.tensor([x])} for s, x in {"a": 1.0, "b": 2.0}.items()}
    merged = merge("uniform", models, base)
    assert list(merged) == ["v", "w"]
    assert merged["w"].item() == 1.5
