from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import merge, merge_with
from hamdg.merge.geometry import norm, task_vectors

BASE = {"w": torch.tensor([1.0, 1.0]), "v": torch.tensor([0.0])}
MODELS = {
    "a": {"w": torch.tensor([5.0, 1.0]), "v": torch.tensor([0.0])},
    "b": {"w": torch.tensor([3.0, 1.0]), "v": torch.tensor([8.0])},
}


def test_scale_by_hand() -> None:
    merged = merge("shrunk", MODELS, BASE, scale=0.5)
    assert merged["w"].tolist() == [2.5, 1.0]
    assert merged["v"].tolist() == [2.0]


def test_norm_by_hand() -> None:
    # The mean task vector is (3, 0, 4) of norm 5.
    merged = merge("shrunk", MODELS, BASE, norm=10.0)
    assert merged["w"].tolist() == [7.0, 1.0]
    assert merged["v"].tolist() == [8.0]
    assert norm(task_vectors({"merged": merged}, BASE)["merged"]) == 10.0


def test_scale_one_is_the_mean_and_zero_the_base() -> None:
    assert merge("shrunk", MODELS, BASE, scale=1)["v"].item() == 4.0
    for options in ({"scale": 0.0}, {"norm": 0.0}):
        merged = merge_with("shrunk", MODELS, BASE, options)
        assert all(torch.equal(merged[name], BASE[name]) for name in BASE)


def test_opposite_task_vectors_stay_at_the_base_whatever_the_norm() -> None:
    base = {"w": torch.tensor([1.0])}
    models = {"a": {"w": torch.tensor([2.0])}, "b": {"w": torch.tensor([0.0])}}
    assert merge("shrunk", models, base, norm=3.0)["w"].item() == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Expected exactly one of `scale` and `norm`, but got `scale=None` and `norm=None`."),
        (
            {"scale": 1.0, "norm": 2.0},
            "Expected exactly one of `scale` and `norm`, but got `scale=1.0` and `norm=2.0`.",
        ),
        ({"norm": -1.0}, "Expected argument `norm` to be a number of at least 0 or `None`, but got `-1.0`."),
        ({"scale": "big"}, "Expected argument `scale` to be a number or `None`, but got `'big'`."),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with("shrunk", MODELS, BASE, options)
