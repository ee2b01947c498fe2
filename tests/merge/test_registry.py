from __future__ import annotations

import re
from typing import Literal, cast

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import (
    MergePlan,
    ModelSet,
    TensorSet,
    global_method,
    list_methods,
    merge,
    merge_with,
    tensorwise_method,
)

MODELS = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([4.0])}}


def test_methods_describe_themselves() -> None:
    known = list_methods()
    assert list(known) == sorted(known)
    assert {"rhm", "shrunk", "uniform"} <= set(known)
    assert not known["uniform"].needs_base
    assert known["rhm"].needs_base
    assert all(info.summary.endswith(".") for info in known.values())
    keep = known["rhm"].options["keep"]
    assert (keep.default, keep.expected) == (0.5, "a number between 0 and 1")
    said = "Share of each change's entries that is kept; exactly `round(keep * n)` of n, at least one unless it is 0."
    assert keep.text == said
    assert known["shrunk"].options["scale"].expected == "a number or `null`"


def test_every_option_of_every_method_is_explained() -> None:
    unexplained = [
        f"{name}.{o.name}" for name, info in list_methods().items() for o in info.options.values() if not o.text
    ]
    assert unexplained == []


def test_every_default_is_allowed() -> None:
    for info in list_methods().values():
        for option in info.options.values():
            if not option.required:
                option.check(option.default)


@pytest.mark.usefixtures("forget")
def test_a_method_of_one_s_own() -> None:
    @tensorwise_method("largest_of", on="models")
    def largest_of(tensor_set: TensorSet, *, offset: int = 0, label: str = "", flip: bool = False) -> Tensor:
        """Take the largest value of every entry."""
        return torch.stack(list(tensor_set.tensors.values())).amax(0) + offset

    assert list_methods()["largest_of"].summary == "Take the largest value of every entry."
    assert merge("largest_of", MODELS, offset=2)["w"].item() == 6.0
    wrong = {"offset": (1.0, "an integer"), "label": (3, "a string"), "flip": (1, "`True` or `False`")}
    for option, (value, expected) in wrong.items():
        message = f"Expected argument `{option}` to be {expected}, but got `{value!r}`."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_with("largest_of", MODELS, None, {option: value})


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(("result", "said"), [(None, "a `NoneType`"), (torch.ones(7), "the shape (7,)")])
def test_a_method_that_gives_no_such_tensor(result: Tensor, said: str) -> None:
    @tensorwise_method("odd", on="models")
    def odd(tensor_set: TensorSet) -> Tensor:
        """Give something else."""
        return result

    message = f"Merge method `odd` gave {said} for `w`; expected is a tensor of the shape (1,)."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge("odd", MODELS)


@pytest.mark.usefixtures("forget")
def test_what_a_method_works_on_is_checked() -> None:
    message = "Expected `on` of the merge method `odd` to be one of ('models', 'changes'), not `tensors`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        tensorwise_method("odd", on=cast("Literal['models']", "tensors"))(lambda tensor_set: tensor_set.like)


@pytest.mark.usefixtures("forget")
def test_a_method_that_sees_everything_first() -> None:
    @global_method("least_norm", on="changes", weights="shares")
    def least_norm(model_set: ModelSet) -> MergePlan:
        """Take the source that moved least, as a whole."""
        squares = model_set.map(lambda tensor_set: {s: float(t.square().sum()) for s, t in tensor_set.tensors.items()})
        winner = min(model_set.sources, key=lambda source: sum(by_source[source] for by_source in squares.values()))
        return MergePlan(lambda tensor_set: tensor_set.tensors[winner], (winner,))

    base = {"v": torch.zeros(1), "w": torch.zeros(1), "bn.running_mean": torch.zeros(1)}
    models = {
        "a": {"v": torch.tensor([0.0]), "w": torch.tensor([3.0]), "bn.running_mean": torch.tensor([5.0])},
        "b": {"v": torch.tensor([1.0]), "w": torch.tensor([2.0]), "bn.running_mean": torch.tensor([7.0])},
    }
    merged = merge("least_norm", models, base)
    assert {name: tensor.item() for name, tensor in merged.items()} == {"v": 1.0, "w": 2.0, "bn.running_mean": 7.0}
    with pytest.raises(ConfigError, match=r"^The weights of `a`, `b` sum to zero; an average needs another sum\.$"):
        merge("least_norm", models, base, {"a": 1.0, "b": -1.0})


@pytest.mark.usefixtures("forget")
def test_an_option_without_default_must_be_given() -> None:
    @tensorwise_method("scaled", on="models")
    def scaled(tensor_set: TensorSet, *, factor: float) -> Tensor:
        """Scale the first source.

        Args:
            factor: What it is multiplied by.
        """
        return next(iter(tensor_set.tensors.values())) * factor

    assert merge("scaled", MODELS, factor=3.0)["w"].item() == 3.0
    message = "Merge method `scaled` needs the option `factor`: What it is multiplied by."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge("scaled", MODELS)


@pytest.mark.usefixtures("forget")
def test_an_option_cannot_have_the_name_of_a_setting() -> None:
    def greedy(tensor_set: TensorSet, *, threads: int = 1) -> Tensor:
        return tensor_set.like

    with pytest.raises(ConfigError, match=r"^No option may be named `threads`: `merge` takes an argument of that"):
        tensorwise_method("greedy", on="models")(greedy)


@pytest.mark.usefixtures("forget")
def test_a_method_cannot_need_what_nobody_knows() -> None:
    known = "validation, holdout, losses, gradients, activations, target"
    message = f"Merge method `x` needs `luck`; what can be needed is {known}."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        global_method("x", on="models", needs=("luck",))(lambda model_set: lambda tensor_set: tensor_set.like)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "option", "text", "value"),
    [
        ("rhm", "keep", "0.25", 0.25),
        ("rhm", "keep", "1", 1),
        ("rhm", "scope", "global", "global"),
        ("shrunk", "scale", "none", None),
        ("shrunk", "scale", "-1e-3", -1e-3),
    ],
)
def test_texts_are_read_as_values(method: str, option: str, text: str, value: object) -> None:
    assert list_methods()[method].options[option].parse(text) == value


def test_a_text_that_is_no_value() -> None:
    with pytest.raises(ConfigError, match=r"^Expected argument `keep` to be a number between 0 and 1, but"):
        list_methods()["rhm"].options["keep"].parse("much")


@pytest.mark.usefixtures("forget")
def test_a_name_is_given_once() -> None:
    message = "A merge method `uniform` is registered already; choose another name."
    with pytest.raises(ConfigError, match=re.escape(message)):
        tensorwise_method("uniform", on="models")(lambda tensor_set: tensor_set.like)


@pytest.mark.usefixtures("forget")
def test_an_option_s_type_must_be_checkable() -> None:
    def strange(tensor_set: TensorSet, *, table: list[int] | None = None) -> Tensor:
        return tensor_set.like

    message = (
        "Option `table` has type `list[int] | None`; use float, int, bool, str or Literal, each `| None` if needed."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        tensorwise_method("strange", on="models")(strange)

    def bare(tensor_set, *, table):  # type: ignore[no-untyped-def]
        return tensor_set.like

    with pytest.raises(ConfigError, match=r"^Option `table` has type `None`; use float, int"):
        tensorwise_method("strange", on="models")(bare)
    assert "strange" not in list_methods()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("unifrom", {}, "There is no merge method `unifrom`; did you mean `uniform`?"),
        ("rhm", {"kep": 0.5}, "Merge method `rhm` has no option `kep`; did you mean `keep`?"),
        ("shrunk", {"zzz": 1}, "Merge method `shrunk` has no option `zzz`; known are `scale`, `norm`."),
        ("uniform", {"keep": 1}, "Merge method `uniform` has no option `keep`; it takes none."),
    ],
)
def test_unknown_names(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_with(method, MODELS, None, options)


@pytest.mark.usefixtures("forget")
def test_a_trial_that_its_dtype_cannot_hold_is_not_shown_to_the_evidence() -> None:
    @global_method("boastful", on="models")
    def boastful(model_set: ModelSet) -> MergePlan:
        """Try something far too large."""
        model_set.complete(lambda tensor_set: tensor_set.tensors["a"] * 1e6)
        return MergePlan(lambda tensor_set: tensor_set.tensors["a"])

    models = {name: {"w": tensors["w"].half()} for name, tensors in MODELS.items()}
    with pytest.raises(WeightsError, match=r"^The merged tensor `w` holds values that float16 cannot hold"):
        merge("boastful", models)
