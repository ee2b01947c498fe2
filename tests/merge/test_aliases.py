"""mergekit's names for methods of ours: the same numbers as the options that they mean, and one identity."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, list_methods, merge, merge_files, merge_with, tensorwise_method
from hamdg.merge.aliases import ALIASES, elsewhere
from hamdg.merge.files import read_provenance, save_tensors
from hamdg.merge.model_set import TensorSet
from hamdg.merge.registry import get_method

MEANT: dict[str, tuple[str, dict[str, object]]] = {
    "linear": ("weighted", {}),
    "dare_linear": ("dare", {"then": "task_arithmetic", "rescale": "l1", "scale": 1.0}),
    "dare_ties": ("dare", {"then": "ties", "rescale": "l1", "scale": 1.0, "ties_combine": "sum"}),
    "della_linear": ("della", {"then": "task_arithmetic", "rescale": "l1", "scale": 1.0, "window": 0.3}),
}


def model(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(8, 6, generator=generator), "b": torch.randn(5, generator=generator)}


MODELS, BASE = {name: model(ord(name)) for name in "abc"}, model(0)


def test_every_alias_is_here_and_none_is_a_method() -> None:
    assert set(ALIASES) == set(MEANT)
    assert not set(ALIASES) & set(list_methods())


@pytest.mark.parametrize("alias", MEANT)
def test_an_alias_gives_the_same_bytes_in_memory_and_in_files(alias: str, tmp_path: Path) -> None:
    method, options = MEANT[alias]
    weights = {"a": 1.0, "b": 0.5, "c": 2.0}
    settings = MergeSettings(weights=weights)
    found = merge_with(alias, MODELS, BASE, settings=settings)
    expected = merge_with(method, MODELS, BASE, options, settings)
    assert all(torch.equal(found[name], expected[name]) for name in BASE)
    paths = {name: tmp_path / f"{name}.safetensors" for name in MODELS}
    for name, path in paths.items():
        save_tensors(path, MODELS[name])
    save_tensors(tmp_path / "base.safetensors", BASE)
    both: dict[str, dict[str, object]] = {alias: {}, method: options}
    for name, given in both.items():
        merge_files(name, paths, tmp_path / f"{name}-out.safetensors", tmp_path / "base.safetensors", options=given)
    # The header, too, is the same: it has our name and all options.
    assert (tmp_path / f"{alias}-out.safetensors").read_bytes() == (tmp_path / f"{method}-out.safetensors").read_bytes()


def test_the_header_of_adapters_has_our_name_too(tmp_path: Path) -> None:
    paths = {}
    for seed, name in enumerate("ab"):
        paths[name] = tmp_path / name
        paths[name].mkdir()
        generator = torch.Generator().manual_seed(seed)
        start = "base_model.model.fc.lora_"
        shapes = {f"{start}A.weight": (2, 6), f"{start}B.weight": (4, 2)}
        factors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        save_tensors(paths[name] / "adapter_model.safetensors", factors)
        settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["fc"]}
        (paths[name] / "adapter_config.json").write_text(json.dumps(settings))
    out = merge_files("dare_linear", paths, tmp_path / "out" / "adapter_model.safetensors", options={"drop_rate": 0.5})
    recorded = read_provenance(out)
    assert recorded is not None
    assert (recorded.method, recorded.options["then"], recorded.options["rescale"]) == ("dare", "task_arithmetic", "l1")


def test_what_is_given_counts_more_than_what_the_name_means() -> None:
    found = merge("dare_ties", MODELS, BASE, drop_rate=0.5, scale=0.3, ties_combine="mean", rescale="expectation")
    expected = merge("dare", MODELS, BASE, drop_rate=0.5, scale=0.3, then="ties")
    assert torch.equal(found["w"], expected["w"])


def test_numbers_by_hand() -> None:
    # Without dropping, mergekit sums the weighted changes, in its `ties` those that agree with the elected sign.
    models = {"a": {"w": torch.tensor([1.0, 2.0])}, "b": {"w": torch.tensor([3.0, -1.0])}}
    base = {"w": torch.tensor([0.0, 0.0])}
    assert merge("dare_linear", models, base, {"a": 2, "b": 0.5}, drop_rate=0)["w"].tolist() == [3.5, 3.5]
    assert merge("dare_ties", models, base, drop_rate=0)["w"].tolist() == [4.0, 2.0]
    assert merge("della_linear", models, base, drop_rate=0, window=0)["w"].tolist() == [4.0, 1.0]
    assert merge("breadcrumbs_ties", models, base, beta=0, gamma=1)["w"].tolist() == [4.0, 2.0]
    assert merge("linear", models, weights={"a": 3, "b": 1})["w"].tolist() == [1.5, 1.25]


@pytest.mark.parametrize(
    ("alias", "option", "said"),
    [
        ("dare_ties", "then", "known are `drop_rate`, `rescale`, `seed`, `scale`, `ties_density`, `ties_scope`, "),
        ("dare_linear", "ties_sign", "known are `drop_rate`, `rescale`, `seed`, `scale`."),
        ("della_linear", "combine", "known are `drop_rate`, `window`, `scale`, `rescale`, `seed`."),
        ("dare_ties", "density", "mergekit's `density` is 1 - `drop_rate`."),
        ("della_linear", "epsilon", "mergekit's `epsilon` is half of `window`."),
        ("linear", "normalize", "it takes none."),
        ("breadcrumbs_ties", "density", "mergekit's `density` is `gamma` - `beta`, and its `gamma` is 1 - `gamma`."),
        ("ties", "lambda", "mergekit's `lambda` is `scale`."),
    ],
)
def test_options_that_an_alias_does_not_have(alias: str, option: str, said: str) -> None:
    message = f"Merge method `{alias}` has no option `{option}`; {said}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        merge_with(alias, MODELS, BASE, {option: 0.5})


def test_words_of_mergekit_name_options_that_there_are() -> None:
    for method, info in list_methods().items():
        for word in ("density", "lambda", "epsilon", "normalize", "gamma"):
            for name in re.findall(r"`(\w+)`", elsewhere(method, word).partition(" is ")[2]):
                assert name in {*info.options, "mean", "sum"}, (method, word, name)
                assert word not in info.options, f"{method} has `{word}` itself"


def test_a_misspelled_alias_is_reported_and_its_name_is_taken() -> None:
    with pytest.raises(ConfigError, match=r"^There is no merge method `dare_tiess`; did you mean `dare_ties`\?$"):
        get_method("dare_tiess")

    def nothing(tensor_set: TensorSet) -> Tensor:
        """Do nothing."""
        return tensor_set.like

    with pytest.raises(ConfigError, match=r"^A merge method `linear` is registered already; choose another name\.$"):
        tensorwise_method("linear", on="models")(nothing)


def test_settings_of_an_alias_are_those_of_its_method() -> None:
    message = "Merge method `dare_ties` works on the change from a start model; give it as `base`."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge("dare_ties", MODELS)
    assert get_method("linear").weights == "shares"
