from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from hamdg.errors import WeightsError
from hamdg.merge.files.prefixes import find_prefix

PATH = Path("x.ckpt")
LIKE = ("visual.w", "visual.b", "logit_scale")


def found(
    names: Collection[str], named: str | None = None, like: Collection[str] | None = None, checkpoint: bool = True
) -> str:
    return find_prefix(PATH, names, named=named, like=like, checkpoint=checkpoint)


def under(*prefixes: str, names: tuple[str, ...] = LIKE) -> list[str]:
    return [prefix + name for prefix in prefixes for name in names]


@pytest.mark.parametrize("prefix", ["", "model.", "net.clip.", "module.model._orig_mod."])
def test_the_prefix_with_all_names_of_the_model_is_found(prefix: str) -> None:
    assert found([*under(prefix), "loss.weight", "visual.other"], like=LIKE) == prefix
    assert found(under(prefix), like=LIKE, checkpoint=False) == prefix


def test_a_plain_file_s_prefix_goes_only_where_all_names_share_it() -> None:
    whole = [*under("model."), "text.w"]
    assert found(whole, like=LIKE, checkpoint=False) == ""
    # The tower's names are in the file of the whole model, but the file is not that of a tower.
    assert found(LIKE, like=("w", "b"), checkpoint=False) == ""
    assert found(under("module.", names=("w", "c")), like=("w", "b"), checkpoint=False) == "module."


def test_without_a_model_to_compare_with_a_checkpoint_s_names_share_their_first_part() -> None:
    assert found(under("model.")) == "model."
    # Only the first part: a tower's checkpoint keeps `visual.`.
    assert found(["model.visual.w", "model.visual.b"]) == "model."
    assert found(under("model._orig_mod.")) == "model._orig_mod."
    assert found([]) == ""


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_go_from_plain_files(prefix: str) -> None:
    assert found(under(prefix), checkpoint=False) == prefix
    assert found([*under(prefix), "w"], checkpoint=False) == ""


def test_plain_files_keep_other_prefixes() -> None:
    assert found(["visual.w", "visual.b"], checkpoint=False) == ""
    assert found([], checkpoint=False) == ""


@pytest.mark.parametrize("named", ["ema", "ema."])
def test_a_named_prefix_is_taken_with_or_without_its_dot(named: str) -> None:
    assert found(under("ema.", "model."), named=named) == "ema."
    assert found(under("ema.", "model."), named=named, like=("other",)) == "ema."


def test_an_empty_prefix_takes_all_names() -> None:
    assert found(under("ema.", "model."), named="") == ""


def test_two_prefixes_that_fit() -> None:
    message = (
        "The names of the model are found under 2 prefixes in `x.ckpt`: `ema.`, `model.`. "
        "Name one of these as `prefix`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        found(under("model.", "ema."), like=LIKE)


def test_no_prefix_that_fits() -> None:
    message = (
        "No prefix in `x.ckpt` has all names of the model: the nearest, `model.`, lacks `visual.b`. Merge models of "
        "one architecture, or name another `prefix`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        found([*under("model.", names=("visual.w", "logit_scale")), "ema.visual.w"], like=LIKE)


def test_names_of_another_model() -> None:
    message = (
        "No prefix in `x.ckpt` has all names of the model: its names begin with `bias`, `net.`. Merge models of one "
        "architecture, or name the `prefix`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        found(["net.c", "net.d", "bias"], like=LIKE)


@pytest.mark.parametrize("other", ["loss.weight", "scale"])
def test_a_checkpoint_whose_names_share_nothing(other: str) -> None:
    beginning = "`loss.`, `model.`" if "." in other else "`model.`, `scale`"
    message = (
        f"The names in the checkpoint `x.ckpt` share no prefix; they begin with {beginning}. Name the model's as "
        "`prefix` (an empty one takes all names as they are), or give a base to compare with."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        found([*under("model."), other])


def test_a_named_prefix_that_is_not_there() -> None:
    message = (
        "No name in `x.ckpt` begins with `mode.`; they begin with `ema.`, `model.`. Name one of these as `prefix`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        found(under("ema.", "model."), named="mode")


def test_long_lists_of_names_are_cut_and_kept() -> None:
    with pytest.raises(WeightsError, match=r"lacks `p00`, .*`p05` and 14 more\. Merge models") as caught:
        found(["model.w"], like=[*(f"p{i:02}" for i in range(20)), "w"])
    assert caught.value.details.count("    `p") == 20
