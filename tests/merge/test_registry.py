from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hamdg.config import MergeConfig
from hamdg.errors import ConfigError
from hamdg.merge import Option, merge, methods, register, registry

MODELS = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([4.0])}}


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


def test_methods_describe_themselves() -> None:
    known = methods()
    assert list(known) == sorted(known)
    assert {"rhm", "shrunk", "uniform"} <= set(known)
    assert not known["uniform"].needs_base
    assert known["rhm"].needs_base
    assert all(info.summary for info in known.values())
    assert known["rhm"].options["keep"] == Option("keep", "number", (), False, 0.5)
    assert known["shrunk"].options["scale"] == Option("scale", "number", (), True, None)


def test_rhm_has_the_recipe_s_options_and_defaults() -> None:
    recipe = {key: value for key, value in vars(MergeConfig()).items() if key != "method"}
    assert {name: option.default for name, option in methods()["rhm"].options.items()} == recipe


@pytest.mark.usefixtures("forget")
def test_a_method_of_one_s_own() -> None:
    @register("largest_of", needs_base=False)
    def largest_of(
        models: Mapping[str, Mapping[str, Tensor]],
        base: Mapping[str, Tensor] | None,
        *,
        offset: int = 0,
        label: str = "",
        flip: bool = False,
    ) -> dict[str, Tensor]:
        """Take the largest value of every coordinate."""
        first = next(iter(models.values()))
        return {name: torch.stack([m[name] for m in models.values()]).amax(0) + offset for name in first}

    assert methods()["largest_of"].summary == "Take the largest value of every coordinate."
    assert merge("largest_of", MODELS, offset=2)["w"].item() == 6.0
    wrong = {"offset": (1.0, "a whole number"), "label": (3, "a text"), "flip": (1, "a truth value")}
    for option, (value, expected) in wrong.items():
        message = f"Expected argument `{option}` to be {expected}, but got `{value!r}`."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge("largest_of", MODELS, None, **{option: value})


@pytest.mark.usefixtures("forget")
def test_a_name_is_given_once() -> None:
    message = "A merge method `uniform` is registered already; choose another name."
    with pytest.raises(ConfigError, match=re.escape(message)):
        register("uniform", needs_base=False)(lambda models, base: {})


@pytest.mark.usefixtures("forget")
def test_an_option_s_type_must_be_checkable() -> None:
    def strange(models: object, base: object, *, table: list[int] | None = None) -> dict[str, Tensor]:
        return {}

    message = (
        "Option `table` has type `list[int] | None`; use float, int, bool, str or Literal, each `| None` if needed."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        register("strange", needs_base=False)(strange)
    assert "strange" not in methods()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("unifrom", {}, "There is no merge method `unifrom`; did you mean `uniform`?"),
        ("zzz", {}, "There is no merge method `zzz`; known are `rhm`, `shrunk`, `uniform`."),
        ("rhm", {"kep": 0.5}, "Merge method `rhm` has no option `kep`; did you mean `keep`?"),
        ("shrunk", {"zzz": 1}, "Merge method `shrunk` has no option `zzz`; known are `scale`, `norm`."),
        ("uniform", {"keep": 1}, "Merge method `uniform` has no option `keep`; it takes none."),
    ],
)
def test_unknown_names(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge(method, MODELS, None, **options)
