from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hamdg.errors import ConfigError, HamdgError, WeightsError
from hamdg.merge import merge, merge_files
from hamdg.merge.buffers import Policy
from hamdg.merge.settings import Precision

Models = dict[str, dict[str, Tensor]]
W = torch.ones(2)
ROLES = "`models` has a source's name on the outside and the tensors' names on the inside."
SPARSE = torch.eye(2).to_sparse()


def refused(call: Callable[[], object]) -> HamdgError:
    with pytest.raises(HamdgError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            [{"w": W}],
            "Expected argument `models` to be a mapping from the sources' names to mappings of tensors, but got a "
            '`list`; write `{"art": ..., "photo": ...}`.',
        ),
        ({1: {"w": W}}, "Expected the names of the sources to be texts, but got `1`."),
        ({"w": W}, f"Expected `w` to be a mapping from names to tensors, but got a `Tensor`; {ROLES}"),
        (
            {"a": iter([("w", W)])},
            f"Expected `a` to be a mapping from names to tensors, but got a `list_iterator`; {ROLES}",
        ),
        (
            {"a": nn.Linear(2, 2)},
            "Expected `a` to be a mapping from names to tensors, but got a `Linear`; give its `state_dict()`.",
        ),
        (
            {"a": "a.safetensors"},
            "Expected `a` to be a mapping from names to tensors, but got a `str`; open the file with `open_tensors`, "
            "or use `merge_files`.",
        ),
        ({"a": {1: W}}, "Expected the names of tensors to be texts, but `a` has `1`."),
    ],
)
def test_models_that_are_something_else(models: object, message: str) -> None:
    error = refused(lambda: merge("uniform", cast("Models", models)))
    assert isinstance(error, ConfigError)
    assert str(error) == message


def test_a_base_that_is_something_else() -> None:
    error = refused(lambda: merge("ties", {"a": {"w": W}}, cast("dict[str, Tensor]", nn.Linear(2, 2))))
    assert str(error).startswith(
        "Expected the base to be a mapping from names to tensors, but got a `Linear`; give its"
    )


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (None, "`NoneType`"),
        ({"w": W}, "`dict`"),
        (SPARSE, "sparse or quantized one"),
        (torch.ones(2, device="meta"), "tensor without values, on the device `meta`"),
    ],
)
def test_tensors_that_are_none(tensor: object, kind: str) -> None:
    error = refused(lambda: merge("uniform", cast("Models", {"a": {"w": W}, "b": {"w": tensor}})))
    assert isinstance(error, WeightsError)
    assert str(error) == f"`w` in `b` is not a plain tensor but a {kind}; leave it out or convert it."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda models: merge("weighted", models, weights=cast("dict[str, float]", [1, 2])),
            "Expected argument `weights` to be a mapping from the sources' names to numbers, but got `[1, 2]`; write "
            '`{"art": 1, "photo": 2}`.',
        ),
        (
            lambda models: merge("uniform", models, buffers=cast("Policy", "median")),
            "Expected argument `buffers` to be one of ('moments', 'mean', 'first', 'refuse'), but got `'median'`.",
        ),
        (
            lambda models: merge("uniform", models, precision=cast("Precision", "fp16")),
            "Expected argument `precision` to be one of ('fp32', 'fp64'), but got `'fp16'`.",
        ),
        (
            lambda models: merge("uniform", models, dtype=torch.int8),
            "Expected argument `dtype` to be a floating-point dtype such as `torch.float32`, but got `torch.int8`.",
        ),
        (
            lambda models: merge("uniform", models, dtype=cast("torch.dtype", "float16")),
            "Expected argument `dtype` to be a floating-point dtype such as `torch.float32`, but got `'float16'`.",
        ),
        (
            lambda models: merge("ties", models, models["a"], lines=cast("tuple[float, float]", 0.5)),
            "Expected argument `lines` to be two numbers, alpha and beta, but got `0.5`.",
        ),
        (
            lambda models: merge("ties", models, models["a"], lines=(0.5, float("nan"))),
            "Expected argument `lines` to be two numbers, alpha and beta, but got `(0.5, nan)`.",
        ),
        (
            lambda models: merge("uniform", models, threads=0),
            "Expected argument `threads` to be an integer of at least 1, but got `0`.",
        ),
        (
            lambda models: merge(cast("str", None), models),
            "Expected argument `method` to be the name of a merge method, but got `None`.",
        ),
    ],
)
def test_settings_that_are_no_choice(call: Callable[[Models], object], message: str) -> None:
    error = refused(lambda: call({"a": {"w": W}, "b": {"w": 2 * W}}))
    assert isinstance(error, ConfigError)
    assert str(error) == message


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_a_device_that_is_not_there(device: str) -> None:
    said = str(refused(lambda: merge("uniform", {"a": {"w": W}}, device=device)))
    assert re.fullmatch(rf"The device `{device}` cannot be used \(.+\); leave `device` out for the CPU\.", said)


def test_weights_that_sum_to_zero_but_for_rounding() -> None:
    models = {"a": {"w": W}, "b": {"w": 2 * W}}
    error = refused(lambda: merge("weighted", models, weights={"a": 0.1 + 0.2, "b": -0.3}))
    assert str(error) == "The weights of `a`, `b` sum to zero; an average needs another sum."
    assert merge("weighted", models, weights={"a": 1.001, "b": -1.0})["w"].tolist() == pytest.approx([-999.0] * 2)


@pytest.mark.parametrize("weight", [1e308, 10**400])
def test_weights_whose_sum_no_number_can_hold(weight: float) -> None:
    error = refused(lambda: merge("weighted", {"a": {"w": W}, "b": {"w": W}}, weights={"a": weight, "b": weight}))
    assert str(error) == "The weight of `a` is larger than 1e+300; divide all weights by a number."


def test_a_weight_that_no_float_can_hold() -> None:
    weights = cast("dict[str, float]", {"a": Fraction(1, 10**400), "b": 1})
    error = refused(lambda: merge("weighted", {"a": {"w": W}, "b": {"w": W}}, weights=weights))
    assert str(error).endswith(" is too small; multiply all weights by a number.")


def test_files_that_are_no_paths(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    said = str(refused(lambda: merge_files("uniform", cast("dict[str, Path]", ["a.pt"]), out)))
    assert said.startswith(
        "Expected argument `paths` to be a mapping from the sources' names to files, but got `['a.pt']`"
    )
    said = str(refused(lambda: merge_files("uniform", cast("dict[str, Path]", {"a": {"w": W}}), out)))
    assert said == "Expected the path of a file for `a`, but got a `dict`; tensors in memory are merged by `merge`."


def test_values_that_are_no_numbers_stop_no_method_that_may_go_on() -> None:
    base = {"w": torch.zeros(3, 4)}
    models = {"a": {"w": torch.full((3, 4), float("nan"))}, "b": {"w": torch.ones(3, 4)}}
    for inter in ("total", "normalized", "pairs"):
        assert merge("pcb", models, base, allow_nonfinite=True, inter=inter)["w"].shape == (3, 4)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_models_without_tensors(names: str) -> None:
    error = refused(lambda: merge("uniform", {name: {} for name in names}))
    assert str(error).startswith("The models hold no tensors; there is nothing to merge.")


def test_a_dictionary_that_changes_during_a_merge_changes_nothing() -> None:
    models = {source: {"v": value * W, "w": 2 * value * W} for source, value in {"a": 1.0, "b": 3.0}.items()}
    base = {"v": W, "w": W}

    class Emptied:
        def loss(self, source: str) -> float:
            for model in (*models.values(), base):
                model.clear()
            return 1.0

    merged = merge("swad", models, base, evidence=Emptied())
    assert {name: tensor.tolist() for name, tensor in merged.items()} == {"v": [2.0, 2.0], "w": [4.0, 4.0]}
    assert not any(models.values())


def test_numbers_of_other_libraries_are_weights() -> None:
    models = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([5.0])}}
    weights = {"a": np.float32(1), "b": np.int64(3)}
    assert merge("weighted", models, None, weights)["w"].item() == 4.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", ["task_arithmetic", "ties", "dare", "della", "breadcrumbs", "breadcrumbs_ties", "pcb"]
)
def test_a_factor_that_single_precision_cannot_hold(method: str) -> None:
    models = {"a": {"w": W}, "b": {"w": 2 * W}}
    error = refused(lambda: merge(method, models, {"w": 0 * W}, {"a": 1e39, "b": 1}))
    assert isinstance(error, ConfigError)
    assert str(error) == "The weight of `a` is larger than 1e+38; divide all weights by a number."
