from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hamdg.json_text import json_text


@dataclass(frozen=True)
class Inner:
    share: float
    path: Path


class Pair(NamedTuple):
    left: Inner
    right: tuple[int, ...]


def test_plain_data_of_every_kind_keeps_its_numbers() -> None:
    value = {"pair": Pair(Inner(1 / 3, Path("a/b")), (1, 2)), 7: [True, None, "\x1b caf\udce9"]}
    text = json_text(value)
    assert json.loads(text) == {
        "pair": {"left": {"share": 1 / 3, "path": "a/b"}, "right": [1, 2]},
        "7": [True, None, "\x1b caf\udce9"],
    }
    assert text.isascii()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_json_has_no_number_for_is_null(number: float) -> None:
    assert json_text([number]) == "[\n  null\n]"


def test_what_is_no_plain_data_is_a_bug() -> None:
    with pytest.raises(TypeError, match="got a `object`"):
        json_text({"a": object()})
    with pytest.raises(TypeError, match="got a `bytes`"):
        json_text(b"a")
